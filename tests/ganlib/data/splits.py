"""A split in memory that behaves as a prepared one, whose shards can be watched, held up and broken."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ganlib.data.columns import Columns
from ganlib.data.split import Split


@dataclass
class Loaded:
    """What a shard's load() gives."""

    images: NDArray[Any]
    partner: NDArray[Any] | None = None
    labels: NDArray[np.int64] | None = None
    domains: NDArray[np.uint8] | None = None
    captions: list[list[str]] | None = None
    box: NDArray[np.float32] | None = None
    keypoints: NDArray[np.float32] | None = None
    names: list[str] = field(default_factory=list)


@dataclass
class Shard:
    split: MemorySplit
    number: int
    start: int
    rows: int

    def load(self) -> Loaded:
        self.split.before_load(self.number)
        self.split.loads.append(self.number)
        rows = slice(self.start, self.start + self.rows)
        # Copies, so that the test can see them come and go.
        loaded = Loaded(**{name: values[rows] for name, values in self.split.table.items()})
        loaded.images = loaded.images.copy()
        loaded.images.flags.writeable = False  # as Arrow's are
        self.split.alive[self.number] = self.split.alive.get(self.number, 0) + 1
        self.split.most_alive = max(self.split.most_alive, sum(self.split.alive.values()))
        weakref.finalize(loaded.images, self.split.gone, self.number)
        return loaded


class MemorySplit:
    """Random images, and whatever else `columns` names, in shards of so many rows.

    loads: the shards that were read, in that order. most_alive: how many were in memory at once, at most.
    """

    def __init__(self, shard_rows: list[int], columns: Columns | None = None, shape: tuple[int, int, int] = (2, 3, 1)):
        self.columns, self.local = columns or Columns(), True
        self.shard_rows, self.image_shape, self.count = shard_rows, shape, sum(shard_rows)
        self.dtype = np.dtype(self.columns.dtype)
        self.loads: list[int] = []
        self.alive: dict[int, int] = {}
        self.most_alive = 0
        self.before_load: Callable[[int], None] = lambda number: None

    def gone(self, number: int) -> None:
        self.alive[number] -= 1

    @cached_property
    def table(self) -> dict[str, Any]:
        random, n, columns = np.random.default_rng(0), self.count, self.columns
        table: dict[str, Any] = {"images": random.integers(0, 256, (n, *self.image_shape), dtype=np.uint8)}
        if columns.dtype == "float32":
            table["images"] = random.normal(size=(n, *self.image_shape)).astype(np.float32)
        if columns.class_names is not None:
            table["labels"] = random.integers(0, len(columns.class_names), n)
        if columns.domain_names is not None:
            table["domains"] = random.integers(0, 2, (n, len(columns.domain_names)), dtype=np.uint8)
        if columns.captions:
            table["captions"] = [[f"row {row}", "again"][: 1 + row % 2] for row in range(n)]
        if columns.boxes:
            table["box"] = random.random((n, 4), np.float32) / 2
        if columns.keypoint_names is not None:
            points = random.random((n, len(columns.keypoint_names), 3), np.float32)
            points[..., 2] = 1
            table["keypoints"] = points
        if columns.partner:
            table["partner"] = random.integers(0, 256, (n, *self.image_shape), dtype=np.uint8)
        return table

    def __len__(self) -> int:
        return self.count

    @property
    def shards(self) -> list[Shard]:
        starts = np.cumsum([0, *self.shard_rows]).tolist()
        return [Shard(self, number, starts[number], rows) for number, rows in enumerate(self.shard_rows)]

    @property
    def labels(self) -> NDArray[np.int64] | None:
        return self.table.get("labels")

    def column(self, name: str) -> Any:
        return self.table.get(name)

    def take(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        return self.table["images"][indices]

    def take_partner(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        return self.table["partner"][indices]

    def as_split(self) -> Split:
        return cast(Split, self)
