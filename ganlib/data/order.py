"""The order in which a split is streamed: shuffled in blocks, so that a few shards at a time are enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ganlib.draws import stream_generator


@dataclass(frozen=True)
class Window:
    """Shards whose rows are mixed: window `number` of an epoch, with the epoch's positions [start, start + rows)."""

    epoch: int
    number: int
    shards: tuple[int, ...]
    start: int
    rows: int


class BlockOrder:
    """Every row once an epoch, as a function of (seed, epoch), the rows of the shards and what counts as a window.

    The shards are permuted by (seed, "shards", epoch) and cut into windows of as many consecutive ones as make up at
    most `window_rows` rows, at least one. The rows of a window, shard after shard, are permuted by (seed, "window",
    epoch, number). Two rows can thus be neighbours in an epoch whatever shards they are in, but not in each epoch.
    """

    def __init__(self, shard_rows: Sequence[int], window_rows: int, seed: int):
        self.shard_rows, self.window_rows, self.seed = list(shard_rows), window_rows, seed
        self._starts = torch.tensor([0, *self.shard_rows]).cumsum(0)
        self._windows: dict[int, list[Window]] = {}

    def windows(self, epoch: int) -> list[Window]:
        """The windows of one epoch, in their order; none is empty."""
        if epoch not in self._windows:
            # This epoch and the one before or after it are what is asked for in turn.
            self._windows = {other: kept for other, kept in self._windows.items() if abs(other - epoch) == 1}
            self._windows[epoch] = self._cut(epoch)
        return self._windows[epoch]

    def permutation(self, window: Window) -> Tensor:
        """int64 [window.rows]: rows of the window, counted through its shards one after the other."""
        generator = stream_generator("cpu", self.seed, "window", window.epoch, window.number)
        return torch.randperm(window.rows, generator=generator)

    def rows(self, epoch: int) -> Tensor:
        """int64 [all rows]: rows of the split, counted through all shards, in the order of this epoch."""
        found = []
        for window in self.windows(epoch):
            bounds = [(int(self._starts[shard]), int(self._starts[shard + 1])) for shard in window.shards]
            rows = torch.cat([torch.arange(first, last) for first, last in bounds])
            found.append(rows[self.permutation(window)])
        return torch.cat(found)

    def _cut(self, epoch: int) -> list[Window]:
        generator = stream_generator("cpu", self.seed, "shards", epoch)
        windows: list[Window] = []
        shards: list[int] = []
        start = rows = 0
        for shard in torch.randperm(len(self.shard_rows), generator=generator).tolist():
            if rows and rows + self.shard_rows[shard] > self.window_rows:
                windows.append(Window(epoch, len(windows), tuple(shards), start, rows))
                shards, start, rows = [], start + rows, 0
            shards.append(shard)
            rows += self.shard_rows[shard]
        if rows:
            windows.append(Window(epoch, len(windows), tuple(shards), start, rows))
        return windows
