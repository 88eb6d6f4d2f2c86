"""What training eats: batches of normalised images in an order that is a function of the seed and the epoch alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ganlib.data.dataset import Split
from ganlib.draws import stream_generator
from ganlib.errors import UserError


@dataclass(frozen=True)
class Batch:
    """One worker's slice of a global batch.

    images: float32 [n, C, H, W] in [-1, 1], channels-last in memory. labels: int64 [n], or None without classes.
    """

    images: Tensor
    labels: Tensor | None


class Batches:
    """All images of a split, uint8 on the training device, given out in slices of shuffled global batches.

    Global batch `index` of `batch` images is a function of (seed, index): epoch e = index // per_epoch is a permutation
    drawn from (seed, "order", e). The images left over at the end of an epoch, fewer than a batch, are not used in that
    epoch; the next permutation mixes them in again. `rows` is the slice [first, last) that this worker takes.
    """

    def __init__(self, split: Split, batch: int, seed: int, rows: tuple[int, int], device: torch.device | str = "cpu"):
        self.count = len(split)
        if batch > self.count:
            raise UserError(f"a batch of {batch} images cannot be drawn from {self.count}; lower train.batch")
        self.batch, self.seed, self.rows, self.device = batch, seed, rows, torch.device(device)
        self.per_epoch = self.count // batch
        self._split = split
        # On a CPU the memory map is the resident copy; the pages are shared with every process that maps them.
        on_cpu = self.device.type == "cpu"
        self._images = None if on_cpu else torch.from_numpy(split.take(np.arange(self.count))).to(device)
        self._labels = None if split.labels is None else torch.from_numpy(np.array(split.labels)).to(device)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def order(self, epoch: int) -> Tensor:
        """int64 [count] on the CPU: the permutation of one epoch."""
        if epoch != self._epoch:
            generator = stream_generator("cpu", self.seed, "order", epoch)
            self._epoch, self._order = epoch, torch.randperm(self.count, generator=generator)
        return self._order

    def __getitem__(self, index: int) -> Batch:
        epoch, position = divmod(index, self.per_epoch)
        first, last = (position * self.batch + row for row in self.rows)
        chosen = self.order(epoch)[first:last]
        if self._images is None:
            pixels = torch.from_numpy(self._split.take(chosen.numpy()))
        else:
            pixels = self._images[chosen.to(self.device)]
        labels = None if self._labels is None else self._labels[chosen.to(self.device)]
        return Batch(normalise(pixels), labels)


def normalise(pixels: Tensor) -> Tensor:
    """uint8 [n, H, W, C] in 0..255 -> float32 [n, C, H, W] in [-1, 1], channels-last in memory."""
    return pixels.to(torch.float32).mul_(1 / 127.5).sub_(1).permute(0, 3, 1, 2)


def quantise(images: Tensor) -> Tensor:
    """float [n, C, H, W] in [-1, 1] -> uint8 [n, H, W, C], rounded to the nearest and clipped."""
    scaled = images.float().add(1).mul_(127.5).round_().clamp_(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
