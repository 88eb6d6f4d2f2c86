"""Augmentation: chance variations of real images, drawn for each image by itself, made on the training device."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from ganlib.data.columns import Columns
from ganlib.devices import sent
from ganlib.draws import stream_generator
from ganlib.errors import UserError

# Rec. 601 luma, to the digits that torchvision has it in.
_LUMA = (0.2989, 0.587, 0.114)


class Draw(IntEnum):
    """What the numbers of one image are for; each image has them all, so that turning one on moves no other."""

    MIRROR = 0
    CROP_Y = 1
    CROP_X = 2
    ROTATION = 3
    SCALE = 4
    JITTER_Y = 5
    JITTER_X = 6
    BRIGHTNESS = 7
    CONTRAST = 8
    SATURATION = 9
    HUE = 10


def draw_augmentation(seed: int, index: int, batch: int) -> Tensor:
    """float64 [batch, len(Draw)] from U[0, 1), on the CPU: the chances of global batch `index`."""
    generator = stream_generator("cpu", seed, "augment", index)
    return torch.rand(batch, len(Draw), dtype=torch.float64, generator=generator)


class Augment(BaseModel):
    """What may happen to an image; all of it is off by default. It happens in this order.

    rotation: about the centre, by U[-rotation, rotation] degrees. scale: about the centre, by U[1 - scale, 1 + scale].
    jitter_crop: enlarged by this factor, to whole pixels, then cropped to the size it had, at a random place; 1.1171875
    is the 286 to 256 of pix2pix (Isola et al. 2016), 1 is off. These three are one bilinear resampling; beyond the
    border is the image reflected.
    crop_padding: padded by so many reflected pixels on each side (the border pixel is repeated), then cropped to the
    size it had, at a random place. mirror: left for right, with probability 1/2. Both move pixels and change none.
    brightness, contrast, saturation: by U[1 - x, 1 + x] each: brightness multiplies values in [0, 1], contrast their
    distance from the image's mean luma, saturation their distance from each pixel's luma. hue: turned by U[-x, x] turns
    of the colour circle. Values are clipped to the range after each. Grey images have neither saturation nor hue.

    The partner of a pair moves as the image does; its colours stay. Boxes and keypoints follow: a box is the smallest
    upright one about the moved corners, clipped to the image (of no width or height where it has left); a keypoint that
    has left is unseen. Names stay with their keypoints: mirrored, a "left eye" is still called so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mirror: bool = False
    crop_padding: int = Field(0, ge=0)
    rotation: float = Field(0, ge=0, le=180)
    scale: float = Field(0, ge=0, lt=1)
    jitter_crop: float = Field(1, ge=1, le=4)
    brightness: float = Field(0, ge=0, le=1)
    contrast: float = Field(0, ge=0, le=1)
    saturation: float = Field(0, ge=0, le=1)
    hue: float = Field(0, ge=0, le=0.5)

    @property
    def active(self) -> bool:
        """Whether any of it is on."""
        return self != Augment()

    def check(self, columns: Columns, height: int, width: int) -> None:
        """Raises UserError where it cannot be done to such a dataset."""
        if self.active and columns.dtype == "float32":
            raise UserError("points of a density cannot be augmented as images are; leave every augmentation off")
        if self.crop_padding > min(height, width):
            raise UserError(
                f"augment.crop_padding={self.crop_padding} is more than images of {height}x{width} have to reflect; "
                f"give at most {min(height, width)}"
            )

    def apply(
        self, views: Sequence[Tensor], draws: Tensor, boxes: Tensor | None = None, keypoints: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor | None, Tensor | None]:
        """The augmented (views, boxes, keypoints), on the device of the views; what is given stays as it is.

        views: float32 [n, C, H, W] in [-1, 1] each: the image, and its partner where there is one. draws: float64
        [n, len(Draw)] in [0, 1) on the CPU, of `draw_augmentation`. boxes [n, 4], keypoints [n, K, 3]: as in Batch.
        """
        views = list(views)
        if not len(draws):
            return views, boxes, keypoints
        height, width = views[0].shape[2:]
        device = views[0].device
        places = None  # where what was at (x, y) comes to be, [n, 3, 3], in pixels from the centre
        if self.rotation or self.scale or self.jitter_crop > 1:
            places = self._warp(draws, height, width)
            grid = sent(_grid(places, views[0].shape), device)
            views = [_resample(view, grid) for view in views]
        if self.crop_padding or self.mirror:
            move, rows, columns = self._move(draws, height, width)
            places = move if places is None else move @ places
            there, across = sent(rows, device), sent(columns, device)
            views = [_gather(view, there, across) for view in views]
        if places is not None:
            shares = sent(_in_shares(places, height, width).float(), device)
            boxes = None if boxes is None else _move_boxes(boxes, shares)
            keypoints = None if keypoints is None else _move_keypoints(keypoints, shares)
        if self.brightness or self.contrast or self.saturation or self.hue:
            views[0] = self._recolour(views[0], sent(draws.float(), device))
        return views, boxes, keypoints

    def _warp(self, draws: Tensor, height: int, width: int) -> Tensor:
        """float64 [n, 3, 3]: rotation (positive: counter-clockwise as seen, y being downwards), scale, jitter-crop."""
        angle = torch.deg2rad(_around(0, self.rotation, draws[:, Draw.ROTATION]))
        factor = _around(1, self.scale, draws[:, Draw.SCALE])
        cos, sin = factor * angle.cos(), factor * angle.sin()
        turn = _affine(cos, sin, -sin, cos)
        zooms, shifts = [], []
        for side, draw in ((width, Draw.JITTER_X), (height, Draw.JITTER_Y)):
            enlarged = round(side * self.jitter_crop)
            offset = (draws[:, draw] * (enlarged - side + 1)).floor()
            zooms.append(torch.full_like(offset, enlarged / side))
            shifts.append((enlarged - side) / 2 - offset)
        nothing = torch.zeros_like(angle)
        return _affine(zooms[0], nothing, nothing, zooms[1], *shifts) @ turn

    def _move(self, draws: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Crop, then mirror: float64 [n, 3, 3], and int64 [n, H], [n, W]: the row and column that each pixel is of."""
        choices = 2 * self.crop_padding + 1
        down, right = ((draws[:, [Draw.CROP_Y, Draw.CROP_X]] * choices).floor() - self.crop_padding).unbind(1)
        mirrored = (draws[:, Draw.MIRROR] < 0.5) & self.mirror
        one, nothing = torch.ones_like(down), torch.zeros_like(down)
        sign = torch.where(mirrored, -one, one)
        move = _affine(sign, nothing, nothing, one, -sign * right, -down)
        across = torch.arange(width)
        across = torch.where(mirrored[:, None], width - 1 - across, across)
        rows = _reflected(torch.arange(height) + down.long()[:, None], height)
        return move, rows, _reflected(across + right.long()[:, None], width)

    def _recolour(self, images: Tensor, draws: Tensor) -> Tensor:
        """The four changes of colour; `draws` float32 on the device of the images."""
        draws = draws[:, :, None, None, None]
        pixels = images.contiguous().add(1).mul_(0.5)  # one colour after the other: three times as fast on a CPU
        if self.brightness:
            pixels = pixels.mul_(_around(1, self.brightness, draws[:, Draw.BRIGHTNESS])).clamp_(0, 1)
        if self.contrast:
            mean = _luma(pixels).mean((2, 3), keepdim=True)
            pixels = torch.lerp(mean, pixels, _around(1, self.contrast, draws[:, Draw.CONTRAST])).clamp_(0, 1)
        if self.saturation and pixels.shape[1] == 3:
            factor = _around(1, self.saturation, draws[:, Draw.SATURATION])
            pixels = torch.lerp(_luma(pixels), pixels, factor).clamp_(0, 1)
        if self.hue and pixels.shape[1] == 3:
            pixels = _turn_hue(pixels, _around(0, self.hue, draws[:, Draw.HUE])).clamp_(0, 1)
        return pixels.mul_(2).sub_(1).contiguous(memory_format=torch.channels_last)


def _around(centre: float, reach: float, draws: Tensor) -> Tensor:
    """U[0, 1) -> U[centre - reach, centre + reach)."""
    return centre + reach * (2 * draws - 1)


def _affine(xx: Tensor, xy: Tensor, yx: Tensor, yy: Tensor, x: Tensor | None = None, y: Tensor | None = None) -> Tensor:
    """[n, 3, 3] of ((xx, xy, x), (yx, yy, y), (0, 0, 1)); x and y default to 0."""
    nothing, one = torch.zeros_like(xx), torch.ones_like(xx)
    x, y = (nothing if shift is None else shift for shift in (x, y))
    return torch.stack([xx, xy, x, yx, yy, y, nothing, nothing, one], 1).view(-1, 3, 3)


def _grid(places: Tensor, shape: Sequence[int]) -> Tensor:
    """float32 [n, H, W, 2] for grid_sample: it wants to know, in sides from -1 to 1, where each pixel comes from."""
    height, width = shape[2:]
    pixels = torch.diag(torch.tensor([width / 2, height / 2, 1], dtype=places.dtype))
    theta = pixels.inverse() @ places.inverse() @ pixels
    return F.affine_grid(theta[:, :2].float(), list(shape), align_corners=False)


def _resample(images: Tensor, grid: Tensor) -> Tensor:
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return moved.contiguous(memory_format=torch.channels_last)


def _reflected(positions: Tensor, side: int) -> Tensor:
    """Positions from -side to 2 side - 1, reflected about the edges into 0..side - 1."""
    positions = torch.where(positions < 0, -1 - positions, positions)
    return torch.where(positions >= side, 2 * side - 1 - positions, positions)


def _gather(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """[n, C, H, W], channels-last: pixel (y, x) of image i is the one at rows[i, y], columns[i, x] of `images`."""
    count, _, height, width = images.shape
    flat = images.permute(0, 2, 3, 1).reshape(count * height * width, -1)
    starts = torch.arange(count, device=images.device)[:, None, None] * (height * width)
    chosen = starts + rows[:, :, None] * width + columns[:, None, :]
    return flat.index_select(0, chosen.flatten()).view(count, height, width, -1).permute(0, 3, 1, 2)


def _in_shares(places: Tensor, height: int, width: int) -> Tensor:
    """The same map [n, 3, 3] for positions as shares of the sides, from the corner at the top left."""
    sides = torch.tensor([[width, 0, -width / 2], [0, height, -height / 2], [0, 0, 1]], dtype=places.dtype)
    return sides.inverse() @ places @ sides


def _move_points(points: Tensor, places: Tensor) -> Tensor:
    """points [n, k, 2] as shares of the sides, places [n, 3, 3] -> [n, k, 2]."""
    return points @ places[:, :2, :2].mT + places[:, None, :2, 2]


def _move_boxes(boxes: Tensor, places: Tensor) -> Tensor:
    left, top, right, bottom = (*boxes[:, :2].unbind(1), *(boxes[:, :2] + boxes[:, 2:]).unbind(1))
    corners = torch.stack([left, top, right, top, left, bottom, right, bottom], 1).view(-1, 4, 2)
    moved = _move_points(corners, places).clamp_(0, 1)
    first, last = moved.amin(1), moved.amax(1)
    return torch.cat([first, last - first], 1)


def _move_keypoints(keypoints: Tensor, places: Tensor) -> Tensor:
    points = _move_points(keypoints[:, :, :2], places)
    inside = ((points >= 0) & (points <= 1)).all(2, keepdim=True)
    moved = torch.cat([points, torch.ones_like(points[:, :, :1])], 2)
    return torch.where(inside & (keypoints[:, :, 2:] > 0), moved, 0)


def _luma(pixels: Tensor) -> Tensor:
    """[n, 1, H, W] of [n, 1 or 3, H, W]."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = pixels.unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue)[:, None]


def _turn_hue(pixels: Tensor, turns: Tensor) -> Tensor:
    """RGB [n, 3, H, W] in [0, 1] with hue turned by `turns` [n, 1, 1, 1], value and chroma as they were."""
    red, green, blue = pixels.unbind(1)
    value = pixels.amax(1)
    chroma = value - pixels.amin(1)
    some = torch.where(chroma > 0, chroma, 1)
    sector = torch.where(
        value == red,
        (green - blue) / some,
        torch.where(value == green, (blue - red) / some + 2, (red - green) / some + 4),
    )
    sector = sector + 6 * turns[:, 0]
    # Each colour is `value` but for the sectors where it falls by `chroma`, the same for all, a third apart.
    falls = [(sector + start).remainder(6) for start in (5, 3, 1)]
    return torch.stack([value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in falls], 1)
