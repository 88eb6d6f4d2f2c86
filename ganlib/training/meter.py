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

    def read(self) -> dict[str, float]:
        """The mean of each scalar since the last reading, over all workers."""
        names = sorted(self._sums)
        totals = self.world.sum(torch.stack([self._sums[name] for name in names])).tolist()
        means = {name: total / self._counts[name] for name, total in zip(names, totals, strict=True)}
        self._sums, self._counts = {}, {}
        return means
