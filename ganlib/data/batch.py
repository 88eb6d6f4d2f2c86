"""A batch, the promise of those who give batches, and the two ways between stored pixels and the networks' range."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import prod
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ganlib.data.augment import Augment, draw_augmentation
from ganlib.data.split import Split
from ganlib.errors import UserError

COLUMNS = {
    "images": "images",
    "labels": "labels",
    "domains": "domains",
    "captions": "captions",
    "boxes": "box",
    "keypoints": "keypoints",
    "partners": "partner",
}
"""The fields of a Batch, and what a shard calls them."""

CACHED = 3 << 17
"""Bytes of pixels that a CPU normalises at once: what its cache holds goes through the memory once, not twice."""

SCALE = float(np.nextafter(np.float32(1 / 127.5), np.float32(0)))
"""1 / 127.5 as the float32 below it: the one above makes white more than 1 where a product is added unrounded (FMA)."""


@dataclass(frozen=True)
class Batch:
    """One worker's slice of a global batch; what the dataset has no column for is None.

    images: float32 [n, C, H, W] in [-1, 1], channels-last in memory; points of a density as they are, [n, 1, 1, d].
    labels: int64 [n]. domains: float32 [n, D], 0 or 1. captions: n lists, each of one caption or more. boxes: float32
    [n, 4]: x and y of the corner at the top left, width, height, as shares of the image's sides. keypoints: float32
    [n, K, 3]: x, y as shares of the sides, and 1 where the part is seen, else all three 0. partners: like images.
    """

    images: Tensor
    labels: Tensor | None = None
    domains: Tensor | None = None
    captions: list[list[str]] | None = None
    boxes: Tensor | None = None
    keypoints: Tensor | None = None
    partners: Tensor | None = None

    def fill(self, other: Batch) -> None:
        """Takes the content of `other`, of the same fields and shapes, into its own tensors."""
        for field in fields(self):
            place = getattr(self, field.name)
            if place is not None:
                place.copy_(getattr(other, field.name))

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> Batch:
        """From fields as they are stored: images and partners uint8 or float32 [n, H, W, C], domains uint8 [n, D]."""
        ready = dict(columns)
        for field in {"images", "partners"} & ready.keys():
            ready[field] = normalise(ready[field])
        if "domains" in ready:
            ready["domains"] = ready["domains"].to(torch.float32)
        return cls(**ready)


class Batches(ABC):
    """Slices of shuffled global batches, without end: `batches[index]`, for any index at any time.

    Global batch `index` of `batch` images is a function of (split, loading, seed, index): the part of `order(epoch)`,
    epoch = index // per_epoch, that begins at (index % per_epoch) * batch. The images left over at the end of an epoch,
    fewer than a batch, are not used in that epoch; the next one mixes them in again. `rows` is the slice [first, last)
    of the global batch that this worker takes. Augmentation is drawn for the global batch too, from (seed, index), so
    that neither the number of workers nor an interruption changes it.
    """

    loading: Literal["resident", "streamed"]

    def __init__(
        self,
        split: Split,
        batch: int,
        seed: int,
        rows: tuple[int, int],
        device: torch.device | str = "cpu",
        augment: Augment | None = None,
    ):
        self.count = len(split)
        if batch > self.count:
            raise UserError(f"a batch of {batch} images cannot be drawn from {self.count}; lower train.batch")
        self.batch, self.seed, self.rows, self.device = batch, seed, rows, torch.device(device)
        self.per_epoch = self.count // batch
        self._augment = augment if augment is not None and augment.active else None
        if self._augment is not None:
            height, width, _ = split.image_shape
            self._augment.check(split.columns, height, width)

    @abstractmethod
    def order(self, epoch: int) -> Tensor:
        """int64 [count] on the CPU: the rows of the split, each once, as this epoch goes through them."""

    @abstractmethod
    def _take(self, epoch: int, first: int, last: int) -> Batch:
        """The images at [first, last) of the epoch's order, on the device, as they were prepared."""

    def __getitem__(self, index: int) -> Batch:
        """This worker's rows of global batch `index`. Raises UserError where they cannot be read."""
        epoch, position = divmod(index, self.per_epoch)
        first, last = (position * self.batch + row for row in self.rows)
        batch = self._take(epoch, first, last)
        if self._augment is None:
            return batch
        draws = draw_augmentation(self.seed, index, self.batch)[slice(*self.rows)]
        views = [batch.images] if batch.partners is None else [batch.images, batch.partners]
        views, boxes, keypoints = self._augment.apply(views, draws, batch.boxes, batch.keypoints)
        partners = None if batch.partners is None else views[1]
        return replace(batch, images=views[0], boxes=boxes, keypoints=keypoints, partners=partners)


def normalise(pixels: Tensor) -> Tensor:
    """[n, H, W, C] -> float32 [n, C, H, W], channels-last in memory: uint8 0..255 to [-1, 1], float32 as it is.

    Within 1.2e-7 of value / 127.5 - 1, and of the range: black is -1, white 0.9999999.
    """
    if pixels.dtype == torch.uint8:
        stored = pixels
        pixels = normalised(lambda rows: stored[rows], stored.shape, stored.device)
    return pixels.permute(0, 3, 1, 2)


def normalised(stored: Callable[[slice], Tensor], shape: Sequence[int], device: torch.device) -> Tensor:
    """uint8 [n, H, W, C] of this shape, a slice of rows at a time -> float32 in [-1, 1], as `normalise` has them.

    A CPU asks for as many rows as its cache holds, so that those which are gathered first are still there.
    """
    pixels = torch.empty(tuple(shape), dtype=torch.float32, device=device)
    count = len(pixels)
    rows = max(CACHED // max(prod(shape[1:]), 1), 1) if pixels.is_cpu else max(count, 1)
    black = torch.full((), -1.0, dtype=torch.float32, device=device)
    for first in range(0, count, rows):
        chosen = slice(first, min(first + rows, count))
        part = pixels[chosen].copy_(stored(chosen))
        torch.add(black, part, alpha=SCALE, out=part)  # a pass less than a product and a difference
    return pixels


def quantise(images: Tensor) -> Tensor:
    """float [n, C, H, W] in [-1, 1] -> uint8 [n, H, W, C], rounded to the nearest and clipped."""
    scaled = images.float().add(1).mul_(127.5).round_().clamp_(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def row_bytes(split: Split) -> int:
    """What a record's image takes, and its partner's: all that counts of its size."""
    return prod(split.image_shape) * split.dtype.itemsize * (2 if split.columns.partner else 1)
