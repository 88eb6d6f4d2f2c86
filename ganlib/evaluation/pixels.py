"""What pixels alone say of images beside real ones of the same kind: how sharp they are, and how different."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganlib.evaluation.confidence import SPLITS, deletion_error
from ganlib.evaluation.sharpness import LEAST_SIDE, laplacian_variance

NOTHING = 1e-12
"""Of a sharpness or a spread, which no two images that differ at all come near: what rounding leaves of none."""


@dataclass(frozen=True)
class PixelStatistics:
    """Sums over images, float64: `count`; of grey levels, 0 to 255, the sum [H * W * C] and the sum of all squares,
    both exact; the sum of `laplacian_variance`, 0 of images too small to have one."""

    count: int
    total: NDArray[np.float64]
    squares: float
    edges: float

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> PixelStatistics:
        """From uint8 [n, H, W, C]."""
        flat = images.reshape(len(images), -1)
        squares = sum(float(np.square(row, dtype=np.float64).sum()) for row in flat)  # an image's floats at a time
        edges = laplacian_variance(images).sum() if min(images.shape[1:3]) >= LEAST_SIDE else 0.0
        return cls(len(images), flat.sum(0, dtype=np.float64), squares, float(edges))

    def __add__(self, other: PixelStatistics) -> PixelStatistics:
        return PixelStatistics(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
            self.edges + other.edges,
        )

    def __sub__(self, other: PixelStatistics) -> PixelStatistics:
        """What is left of a whole without one of its parts."""
        return PixelStatistics(
            self.count - other.count,
            self.total - other.total,
            self.squares - other.squares,
            self.edges - other.edges,
        )

    @property
    def sharpness(self) -> float:
        """The mean of `laplacian_variance`."""
        return self.edges / self.count

    @property
    def spread(self) -> float:
        """The root mean square distance between two images, but for a factor of sqrt(2): sqrt of the trace of the
        covariance, unbiased. Two images and more."""
        between = self.squares - float(self.total @ self.total) / self.count
        return float(np.sqrt(max(between, 0.0) / (self.count - 1)) / 255)


class PixelSplits:
    """`PixelStatistics` of `count` images, taken block by block, in `SPLITS` splits by their number."""

    def __init__(self, count: int):
        self.count, self._seen = count, 0
        self._splits: dict[int, PixelStatistics] = {}

    def add(self, images: NDArray[np.uint8]) -> None:
        """The next images, uint8 [n, H, W, C]."""
        owners = (self._seen + np.arange(len(images))) * SPLITS // self.count
        self._seen += len(images)
        for owner in np.unique(owners):
            part = PixelStatistics.of(images[owners == owner])
            held = self._splits.get(owner)
            self._splits[owner] = part if held is None else held + part

    @property
    def whole(self) -> PixelStatistics:
        """Of all images that were added, one and more."""
        first, *rest = self._splits.values()
        return sum(rest, start=first)

    def metrics(self, real: PixelStatistics) -> dict[str, float]:
        """`sharpness`, the mean `laplacian_variance` over that of `real`; `pixel_variety`, the root mean square
        distance between two images over that between two real ones; and the standard error of each, `NAME_se`, by
        leaving out a split at a time (`deletion_error`).

        Both are 1 of images as sharp and as different as real ones are. Blur lessens the first. Where all outputs are
        one image the second is 0, and it is less than 1 where each is the mean of what it could be. {} of less than
        `2 * SPLITS` images on either side, which say nothing; without what real images have none of.
        """
        whole = self.whole
        if min(whole.count, real.count) < 2 * SPLITS:
            return {}
        figures: Mapping[str, Callable[[PixelStatistics], float]] = {
            "sharpness": lambda images: images.sharpness / real.sharpness,
            "pixel_variety": lambda images: images.spread / real.spread,
        }
        units = {"sharpness": real.sharpness, "pixel_variety": real.spread}
        found: dict[str, float] = {}
        for name, figure in figures.items():
            if units[name] < NOTHING:
                continue
            found[name] = figure(whole)
            found[f"{name}_se"] = deletion_error([figure(whole - part) for part in self._splits.values()])
        return found
