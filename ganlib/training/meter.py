"""Metrics stay on the device until a tick reads them, all at once."""

from __future__ import annotations

import torch
from torch import Tensor

from ganlib.training.world import World


class Meter:
    """Weighted sums of named scalars, added up where they arise and read once a tick over all workers."""

    def __init__(self, world: World, device: torch.device):
        self.world, self.device = world, device
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: dict[str, Tensor], share: float) -> None:
        """Adds one observation of each scalar, weighted by this worker's share of it."""
        for name, value in values.items():
            weighted = value.detach().float() * share
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted
            self._counts[name] = self._counts.get(name, 0) + 1

    def state(self) -> dict[str, Tensor]:
        """What was added since the last reading, for a checkpoint. Every worker has to call it.

        "sum/NAME": float32 [workers], of each its own. "count/NAME": int64 [].
        """
        names = sorted(self._sums)
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
                self._sums[name] = (sums[rank] if len(sums) == self.world.size else total).to(self.device)
                self._counts[name] = int(state[f"count/{name}"])

    def read(self) -> dict[str, float]:
        """The mean of each scalar since the last reading, over all workers."""
        names = sorted(self._sums)
        totals = self.world.sum(torch.stack([self._sums[name] for name in names])).tolist()
        means = {name: total / self._counts[name] for name, total in zip(names, totals, strict=True)}
        self._sums, self._counts = {}, {}
        return means
