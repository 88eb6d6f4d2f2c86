"""Batches of a split that lies in memory as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganlib.data.augment import Augment
from ganlib.data.batch import COLUMNS, Batch, Batches, normalised
from ganlib.data.split import Split
from ganlib.devices import sent
from ganlib.draws import stream_generator


class ResidentBatches(Batches):
    """All images of a split, as they are stored, on the training device.

    The order of an epoch is one permutation of all rows, drawn from (seed, "order", epoch).
    """

    loading = "resident"

    def __init__(
        self,
        split: Split,
        batch: int,
        seed: int,
        rows: tuple[int, int],
        device: torch.device | str = "cpu",
        augment: Augment | None = None,
    ):
        super().__init__(split, batch, seed, rows, device, augment)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)
        # On a CPU the memory map is the resident copy; the pages are shared with every process that maps them.
        self._mapped = split if self.device.type == "cpu" and split.local else None
        self._columns = _small_columns(split, self.device) if self._mapped else _all_columns(split, self.device)

    def order(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator = stream_generator("cpu", self.seed, "order", epoch)
            self._epoch, self._order = epoch, torch.randperm(self.count, generator=generator)
        return self._order

    def _take(self, epoch: int, first: int, last: int) -> Batch:
        chosen = self.order(epoch)[first:last]
        there = sent(chosen, self.device)
        taken: dict[str, Any] = {
            field: [values[row] for row in chosen.tolist()] if isinstance(values, list) else values[there]
            for field, values in self._columns.items()
        }
        if self._mapped is not None:
            rows = chosen.numpy()
            taken["images"] = _pixels(self._mapped, self._mapped.take, rows)
            if self._mapped.columns.partner:
                taken["partners"] = _pixels(self._mapped, self._mapped.take_partner, rows)
        return Batch.of(taken)


def _pixels(split: Split, take: Callable[[NDArray[np.int64]], NDArray[Any]], rows: NDArray[np.int64]) -> Tensor:
    """float32 [n, H, W, C]: what `take` gives of the rows, normalised before the cache has lost it."""
    if split.dtype != np.uint8:
        return torch.from_numpy(take(rows))
    shape = (len(rows), *split.image_shape)
    return normalised(lambda chosen: torch.from_numpy(take(rows[chosen])), shape, torch.device("cpu"))


def _small_columns(split: Split, device: torch.device) -> dict[str, Any]:
    """All columns but the pixels: tensors on the device, or a list (captions)."""
    found: dict[str, Any] = {
        "labels": split.labels,
        "domains": split.column("domains"),
        "captions": split.column("captions"),
        "boxes": split.column("box"),
        "keypoints": split.column("keypoints"),
    }
    return {
        field: values if isinstance(values, list) else torch.from_numpy(values).to(device)
        for field, values in found.items()
        if values is not None
    }


def _all_columns(split: Split, device: torch.device) -> dict[str, Any]:
    """All columns on the device, fetched shard by shard, so that the rest of the memory holds no more than a shard."""
    held: dict[str, Any] = {}
    for shard in split.shards:
        loaded = shard.load()
        for field, name in COLUMNS.items():
            values = getattr(loaded, name)
            if isinstance(values, list):
                held.setdefault(field, []).extend(values)
            elif values is not None:
                part = torch.from_numpy(np.array(values))  # a copy: torch takes no view of what is read-only
                if field not in held:
                    held[field] = torch.empty((len(split), *part.shape[1:]), dtype=part.dtype, device=device)
                held[field][shard.start : shard.start + shard.rows] = part.to(device)
    return held
