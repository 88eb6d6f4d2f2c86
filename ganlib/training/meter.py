"""Metrics stay on the device until a tick reads them, all at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ganlib.training.world import World


class Meter:
    """Weighted sums of named scalars, added up where they arise and read once a tick over all workers."""

    def __init__(self, world: World, device: torch.device):
        self.world, self.device = world, device
        self._sums: dict[str, Tensor] = {}
        self._counts: Counter[str] = Counter()

    def add(self, values: dict[str, Tensor], share: float) -> None:
        """Adds one observation of each scalar, weighted by this worker's share of it."""
        for name, value in values.items():
            weighted = value.detach().float() * share
            if name in self._sums:
                self._sums[name].add_(weighted)  # in its place, which a recorded round knows
            else:
                self._sums[name] = weighted
        self._counts.update(values.keys())

    @contextmanager
    def counting(self) -> Iterator[Counter[str]]:
        """Counts what is added meanwhile apart: it is recorded, and added at each replay, to be counted then."""
        counted: Counter[str] = Counter()
        counts, self._counts = self._counts, counted
        try:
            yield counted
        finally:
            self._counts = counts

    def count(self, counted: Counter[str]) -> None:
        """Counts observations that a replay added to the sums."""
        self._counts.update(counted)

    def state(self) -> dict[str, Tensor]:
        """What was added since the last reading, for a checkpoint. Every worker has to call it.

        "sum/NAME": float32 [workers], of each its own. "count/NAME": int64 [].
        """
        names = sorted(self._counts)
        if not names:
            return {}
        sums = torch.zeros(self.world.size, len(names), device=self.device)
        sums[self.world.rank] = torch.stack([self._sums[name] for name in names])
        self.world.sum(sums)  # each with the zeros of all others: exact
        state = {f"sum/{name}": sums[:, column] for column, name in enumerate(names)}
        return state | {f"count/{name}": torch.tensor(self._counts[name]) for name in names}

    def load(self, state: dict[str, Tensor]) -> None:
        """Goes on from `state`: with its own sums, bit for bit, where there are as many workers as there were.

        Where there are more or fewer, the first has the total.
        """
        for key, sums in state.items():
            kind, _, name = key.partition("/")
            if kind == "sum":
                rank, total = self.world.rank, sums.sum() if self.world.rank == 0 else sums.new_zeros(())
                self._sums[name] = (sums[rank] if len(sums) == self.world.size else total).to(self.device, copy=True)
                self._counts[name] = int(state[f"count/{name}"])

    def read(self) -> dict[str, float]:
        """The mean of each scalar since the last reading, over all workers."""
        names = sorted(self._counts)
        totals = self.world.sum(torch.stack([self._sums[name] for name in names])).tolist()
        means = {name: total / self._counts[name] for name, total in zip(names, totals, strict=True)}
        torch._foreach_zero_([*self._sums.values()])
        self._counts.clear()
        return means
