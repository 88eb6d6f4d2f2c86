"""Batches of two domains' images that have nothing to do with each other, and the part of a split that one of them is.

A dataset's domains are mixed in its splits. Here each domain has batches of its own, as any split has, and those of the
same number are put side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ganlib.data.augment import Augment
from ganlib.data.batch import COLUMNS, Batch, Batches
from ganlib.data.batches import open_batches
from ganlib.data.dataset import Dataset
from ganlib.data.shards import ShardReader
from ganlib.data.split import Split
from ganlib.draws import stream_seed

Pairing = Literal["as-stored", "unpaired"]


def epoch_images(dataset: Dataset, pairing: Pairing) -> int:
    """Rows of training batches in an epoch: the training split's records; unpaired, those of the larger domain."""
    manifest = dataset.manifest
    if pairing == "unpaired" and manifest.domain_counts is not None:
        return max(manifest.domain_counts["train"])
    return manifest.counts["train"]


class UnpairedBatches:
    """`batches[index]`: `images` are batch `index` of `first`, `partners` that of `second`; no other column.

    Each side goes through its own images in epochs and orders of its own. count, per_epoch: the larger side's.
    """

    def __init__(self, first: Batches, second: Batches):
        self.first, self.second = first, second
        larger = max(first, second, key=lambda batches: batches.count)
        self.count, self.per_epoch, self.loading = larger.count, larger.per_epoch, larger.loading

    def __getitem__(self, index: int) -> Batch:
        return Batch(self.first[index].images, partners=self.second[index].images)


def open_unpaired(
    split: Split,
    batch: int,
    seed: int,
    rows: tuple[int, int],
    device: torch.device | str = "cpu",
    loading: Literal["auto", "resident", "streamed"] = "auto",
    augment: Augment | None = None,
) -> UnpairedBatches:
    """As `open_batches`, of a split of two domains: images of the first beside unpaired ones of the second.

    Raises UserError as that does, for each domain.
    """
    domains = split.column("domains")
    assert domains is not None
    assert domains.shape[1] == 2
    # A seed a domain: sides of one length would go through their images in one order, and pairs, once met, stay.
    sides = [
        open_batches(
            PartialSplit(split, np.flatnonzero(domains[:, domain])),
            batch,
            stream_seed(seed, "domain", domain),
            rows,
            device,
            loading,
            augment,
        )
        for domain in range(2)
    ]
    return UnpairedBatches(*sides)


class PartialSplit(Split):
    """The records `rows` (int64, ascending) of another split, as a split."""

    def __init__(self, whole: Split, rows: NDArray[np.int64]):
        self._whole, self._rows, self._layout = whole, rows, whole._layout
        self.local = whole.local
        self.shards = []
        for shard in whole.shards:
            first, last = np.searchsorted(rows, [shard.start, shard.start + shard.rows])
            if last > first:
                kept = rows[first:last] - shard.start
                part = PartialShard(shard.location, shard.layout, len(kept), int(first), shard, kept)
                self.shards.append(part)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def names(self) -> list[str]:
        names = self._whole.names
        return [names[row] for row in self._rows]

    @property
    def images(self) -> NDArray[Any]:
        return self.take(np.arange(len(self)))

    def column(self, name: Any) -> Any:
        values = self._whole.column(name)
        return [values[row] for row in self._rows] if isinstance(values, list) else _at(values, self._rows)

    @cached_property
    def labels(self) -> NDArray[np.int64] | None:
        return _at(self._whole.labels, self._rows)

    def _take(self, indices: NDArray[np.integer], side: Literal["images", "partner"]) -> NDArray[Any]:
        self._check(indices)
        return self._whole._take(self._rows[indices], side)


@dataclass(frozen=True, eq=False)
class PartialShard(ShardReader):
    """The records `kept` (ascending) of a shard."""

    whole: ShardReader
    kept: NDArray[np.int64]

    def load(self) -> Any:
        """What a LoadedShard has in columns."""
        loaded = self.whole.load()
        return _LoadedPart(**{name: _kept(getattr(loaded, name), self.kept) for name in COLUMNS.values()})


@dataclass(frozen=True)
class _LoadedPart:
    images: NDArray[Any]
    labels: NDArray[np.int64] | None
    domains: NDArray[np.uint8] | None
    captions: list[list[str]] | None
    box: NDArray[np.float32] | None
    keypoints: NDArray[np.float32] | None
    partner: NDArray[Any] | None


def _kept(values: Any, rows: NDArray[np.int64]) -> Any:
    return [values[row] for row in rows] if isinstance(values, list) else _at(values, rows)


def _at(values: NDArray[Any] | None, rows: NDArray[np.int64]) -> NDArray[Any] | None:
    return None if values is None else values[rows]
