"""One split of a prepared dataset: its shards read as one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from ganlib.data.columns import Columns
from ganlib.data.gather import gather
from ganlib.data.layout import Layout, Rows
from ganlib.data.manifest import Shard
from ganlib.data.shards import LoadedShard, ShardReader
from ganlib.data.storage import Location

# Of an object store: those fetched last.
_MOST_LOADED = 4


class Split:
    """The records of one split, in the order of the shards.

    On a local disk images are read-only views of memory maps. From an object store a shard is fetched whole when one of
    its rows is asked for, and the last few are kept: read in order, or use `shards`.
    """

    def __init__(self, folder: Location, shards: list[Shard], layout: Layout) -> None:
        # Row i is in the last shard that starts at or before i.
        self._starts = np.cumsum([0] + [shard.rows for shard in shards])
        self._layout = layout
        self.shards = [
            ShardReader(folder / shard.file, layout, shard.rows, int(start))
            for shard, start in zip(shards, self._starts, strict=False)
        ]
        """Each shard on its own: `rows`, `start` (the split's row of its first record) and `load()`."""
        self.local = folder.local is not None
        """Whether the shards are memory-mapped from a disk of this machine."""
        # A broken shard is found here, not in the middle of a training; an object store's when it is fetched.
        self._mapped = [shard.map() for shard in self.shards] if self.local else None
        self._loaded: OrderedDict[int, LoadedShard] = OrderedDict()

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def columns(self) -> Columns:
        return self._layout.columns

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels; (1, dimensions, 1) for points."""
        return self._layout.image_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the images: uint8, or float32 for points."""
        return self._layout.dtype

    @cached_property
    def labels(self) -> NDArray[np.int64] | None:
        """int64 [n], index into the dataset's class_names; None without labels."""
        return self._joined("label", "labels")

    @property
    def names(self) -> list[str]:
        """The n record names, as the source has them."""
        return [name for index in range(len(self.shards)) for name in self._shard(index).names]

    @overload
    def column(self, name: Literal["domains", "box", "keypoints"]) -> NDArray[Any] | None: ...
    @overload
    def column(self, name: Literal["captions"]) -> list[list[str]] | None: ...
    def column(self, name: Literal["domains", "box", "keypoints", "captions"]) -> NDArray[Any] | list[list[str]] | None:
        """domains: uint8 [n, D]. box: float32 [n, 4]. keypoints: float32 [n, K, 3]. captions: n lists of strings.

        None where the dataset has no such column.
        """
        if name != "captions":
            return self._joined(name, name)
        if not self.columns.captions:
            return None
        return [captions for index in range(len(self.shards)) for captions in self._shard(index).captions or ()]

    @property
    def images(self) -> NDArray[Any]:
        """[n, H, W, C]: a view of the memory map where one shard holds them all, else a copy in memory."""
        if len(self.shards) == 1:
            return self._shard(0).images
        return self.take(np.arange(len(self)))

    def take(self, indices: NDArray[np.integer]) -> NDArray[Any]:
        """Images at `indices` (integers [k] from 0 to n - 1, any order, repeats allowed), copied: [k, H, W, C].

        Raises IndexError out of range; UserError where a shard cannot be fetched.
        """
        return self._take(indices, "images")

    def take_partner(self, indices: NDArray[np.integer]) -> NDArray[Any]:
        """The other sides of the pairs, as `take` gives images. Raises ValueError where the dataset has none."""
        if not self.columns.partner:
            raise ValueError("this dataset has no pairs")
        return self._take(indices, "partner")

    def records(self, indices: NDArray[np.integer]) -> Rows:
        """All columns of the records at `indices`, as `take` gives images; a shard is read once, and only theirs kept.

        Raises IndexError out of range; UserError where a shard cannot be fetched.
        """
        self._check(indices)
        taken = self._layout.empty(len(indices))
        for owner, places in self._by_shard(indices):
            rows, within = self._shard(owner).rows(), indices[places] - self._starts[owner]
            for column, array in taken.arrays.items():
                array[places] = rows.arrays[column].take(within, axis=0)
            for place, row in zip(places.tolist(), within.tolist(), strict=True):
                taken.names[place] = rows.names[row]
                if taken.captions is not None and rows.captions is not None:
                    taken.captions[place] = rows.captions[row]
        return taken

    def _take(self, indices: NDArray[np.integer], side: Literal["images", "partner"]) -> NDArray[Any]:
        self._check(indices)
        if self._mapped:
            owners = self._owners(indices)
            return gather([getattr(one, side) for one in self._mapped], owners, indices - self._starts[owners])
        taken = np.empty((len(indices), *self.image_shape), self.dtype)
        for owner, places in self._by_shard(indices):  # each is fetched once
            taken[places] = getattr(self._shard(owner), side).take(indices[places] - self._starts[owner], axis=0)
        return taken

    def _by_shard(self, indices: NDArray[np.integer]) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """Each shard that holds some of them, and their places in `indices`."""
        owners = self._owners(indices)
        for owner in np.unique(owners):
            yield int(owner), np.flatnonzero(owners == owner)

    def _owners(self, indices: NDArray[np.integer]) -> NDArray[np.intp]:
        """The number of the shard that holds each of them."""
        return np.searchsorted(self._starts, indices, side="right") - 1

    def _check(self, indices: NDArray[np.integer]) -> None:
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"image indices from {indices.min()} to {indices.max()}, of {len(self)} images")

    def _joined(self, column: str, attribute: str) -> NDArray[Any] | None:
        there = self._layout.arrays().get(column)
        if there is None:
            return None
        dtype, shape = there
        parts = [getattr(self._shard(index), attribute) for index in range(len(self.shards))]
        return np.concatenate([np.empty((0, *shape), dtype), *parts])

    def _shard(self, index: int) -> LoadedShard:
        if self._mapped is not None:
            return self._mapped[index]
        shard = self._loaded.pop(index, None) or self.shards[index].load()
        self._loaded[index] = shard
        if len(self._loaded) > _MOST_LOADED:
            self._loaded.popitem(last=False)
        return shard
