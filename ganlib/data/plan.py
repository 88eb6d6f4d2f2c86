"""The cut of a source into shards, settled before a record is read, so that any machine may write any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganlib.data.layout import Layout
from ganlib.data.preparation import Preparation
from ganlib.data.sources.base import SPLITS, Source, SplitName
from ganlib.errors import UserError

SHARD_BYTES = 16 << 20
"""Of images: what a writer holds and a reader fetches at once; small enough to spread over the cores of a machine."""


@dataclass(frozen=True)
class ShardTask:
    """Shard `number` of a split: those records of the split that are among rows [first, last) of the source."""

    split: SplitName
    number: int
    first: int
    last: int

    @property
    def file(self) -> str:
        return f"{self.split}-{self.number:05d}.arrow"


def plan_shards(source: Source, layout: Layout, preparation: Preparation) -> list[ShardTask]:
    """Shard i of a split has its records [i * cap, (i + 1) * cap) in the order of their names, cap images being 16 MiB.

    A shard ends up with fewer where records are bad. Raises UserError for nothing to train on.
    """
    capacity = max(1, SHARD_BYTES // layout.image_bytes)
    tasks = []
    by_split = _rows(source, preparation)
    for split in SPLITS:
        rows = by_split.get(split, range(0))
        if split == "train" and len(rows) == 0:
            count = len(source.names)
            raise UserError(f"{source.name} leaves nothing to train on: none of its {count} records is in that split")
        for number, start in enumerate(range(0, len(rows), capacity)):
            first, last = int(rows[start]), int(rows[min(start + capacity, len(rows)) - 1]) + 1
            tasks.append(ShardTask(split, number, first, last))
    return tasks


def rows_of(task: ShardTask, source: Source, preparation: Preparation) -> Sequence[int]:
    """The rows of the source that the task is for, in order; a range where they follow one another."""
    within = range(task.first, task.last)
    if source.splits is not None:
        return within
    test, names = task.split == "test", source.names
    rows = [row for row in within if preparation.is_test(names[row]) == test]
    return within if len(rows) == len(within) else rows


def _rows(source: Source, preparation: Preparation) -> Mapping[SplitName, range | NDArray[np.int64]]:
    """The rows of each split."""
    if source.splits is not None:
        return source.splits
    names = source.names
    test = np.fromiter((preparation.is_test(name) for name in names), np.bool_, len(names))
    return {"train": np.flatnonzero(~test), "test": np.flatnonzero(test)}
