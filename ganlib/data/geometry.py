"""Pictures of any size to squares of one size, and where a place in the picture goes by that."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganlib.data.preparation import Fit
from ganlib.data.sources.base import BadRecordError

RESIZING = "the square first, then torch's lanczos"
"""What `Placement.apply` does: another text where it makes other pixels of the same picture."""


def resize(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """uint8 [H, W, C] -> [height, width, C] by the antialiased Lanczos filter of three lobes.

    Pillow's LANCZOS to one grey level, in half its time: torch computes it in integers, alike on every processor.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    import torch  # seconds, which sources that are only looked at do not need
    import torch.nn.functional as F

    image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    return F.interpolate(image, (height, width), mode="lanczos", antialias=True)[0].permute(1, 2, 0).numpy()


class Placement(NamedTuple):
    """Where a picture of width x height pixels goes in a square of `size`.

    source: the part that is kept: left, top, right, bottom in its pixels. target: the part of the square it fills.
    """

    source: tuple[int, int, int, int]
    target: tuple[int, int, int, int]
    size: int

    @classmethod
    def of(cls, width: int, height: int, size: int, fit: Fit) -> Placement:
        """The centre square to the whole ("crop"), or the whole to a centred part, rounded to whole pixels ("pad")."""
        if fit == "crop":
            short = min(width, height)
            left, top = (width - short) // 2, (height - short) // 2
            return cls((left, top, left + short, top + short), (0, 0, size, size), size)
        long = max(width, height)
        wide, high = (max(1, round(side * size / long)) for side in (width, height))
        left, top = (size - wide) // 2, (size - high) // 2
        return cls((0, 0, width, height), (left, top, left + wide, top + high), size)

    def apply(self, image: Image.Image, channels: int) -> NDArray[np.uint8]:
        """uint8 [size, size, channels]: the picture in its place, on black; grey is Rec. 601 luma.

        What is kept is cropped first, and then resized by `resize`; where the sizes agree the pixels stay as they are.
        """
        mode = "L" if channels == 1 else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        if self.source != (0, 0, *image.size):
            image = image.crop(self.source)
        left, top, right, bottom = self.target
        wide, high = right - left, bottom - top
        pixels = resize(np.array(image).reshape(image.height, image.width, channels), high, wide)
        if (wide, high) == (self.size, self.size):
            return pixels
        square = np.zeros((self.size, self.size, channels), np.uint8)
        square[top:bottom, left:right] = pixels
        return square

    def points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """[..., 2] x, y in the picture's pixels -> the same in shares of the square's sides; not clipped.

        Coordinates are those of a plane on which pixel i covers i to i + 1.
        """
        source, target = np.array(self.source, np.float64), np.array(self.target, np.float64)
        scale = (target[2:] - target[:2]) / (source[2:] - source[:2])
        return ((points - source[:2]) * scale + target[:2]) / self.size

    def box(self, box: tuple[float, float, float, float]) -> NDArray[np.float32]:
        """A box (x, y, width, height, in the picture's pixels) as shares of the square, cut where the picture ends.

        Returns float32 [4].

        Raises BadRecordError for a box that has no area, or none of it in the square.
        """
        x, y, width, height = box
        if not (np.isfinite(box).all() and width > 0 and height > 0):
            raise BadRecordError("its box has no area")
        corners = self.points(np.array([[x, y], [x + width, y + height]], np.float64))
        (left, top), (right, bottom) = np.clip(corners, *self._bounds)
        if right <= left or bottom <= top:
            raise BadRecordError("its box lies outside the picture")
        return np.array([left, top, right - left, bottom - top], np.float32)

    def keypoints(self, keypoints: NDArray[np.float32]) -> NDArray[np.float32]:
        """[K, 3] x, y in the picture's pixels and 1 where seen -> float32 [K, 3] as shares of the square.

        A point that is not seen, or falls outside the picture as it stands there, is three zeros.
        """
        placed = self.points(np.asarray(keypoints[:, :2], np.float64))
        with np.errstate(invalid="ignore"):  # a part that is not seen may be at NaN
            low, high = self._bounds
            inside = ((placed >= low) & (placed <= high)).all(axis=1) & (keypoints[:, 2] > 0)
        seen = np.concatenate([placed, np.ones((len(placed), 1))], axis=1)
        return np.where(inside[:, None], seen, 0).astype(np.float32)

    @property
    def _bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The corners of the part of the square that the picture fills, as shares of its sides."""
        target = np.array(self.target, np.float64) / self.size
        return target[:2], target[2:]


def fit(image: Image.Image, size: int, channels: int, how: Fit = "crop") -> NDArray[np.uint8]:
    """The picture brought to uint8 [size, size, channels]; see Preparation's `fit`."""
    return Placement.of(image.width, image.height, size, how).apply(image, channels)
