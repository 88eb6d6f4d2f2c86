"""What one record of a prepared dataset holds, in numbers: as arrays in memory, and as columns of Arrow."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ganlib.data.columns import Columns


@dataclass(frozen=True)
class Layout:
    """image_shape: height, width, channels; for points (1, dimensions, 1)."""

    image_shape: tuple[int, int, int]
    columns: Columns

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of `image` and `partner`."""
        return np.dtype(self.columns.dtype)

    @property
    def image_bytes(self) -> int:
        """Of a record's image and its partner."""
        return prod(self.image_shape) * self.dtype.itemsize * (2 if self.columns.partner else 1)

    def arrays(self) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """The columns that are numpy arrays: dtype and the shape of one row."""
        columns = self.columns
        found: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {"image": (self.dtype, self.image_shape)}
        if columns.partner:
            found["partner"] = (self.dtype, self.image_shape)
        if columns.class_names is not None:
            found["label"] = (np.dtype(np.int64), ())
        if columns.domain_names is not None:
            found["domains"] = (np.dtype(np.uint8), (len(columns.domain_names),))
        if columns.boxes:
            found["box"] = (np.dtype(np.float32), (4,))
        if columns.keypoint_names is not None:
            found["keypoints"] = (np.dtype(np.float32), (len(columns.keypoint_names), 3))
        return found

    def schema(self) -> pa.Schema:
        """The columns of a shard, in their order."""
        fields: dict[str, pa.DataType] = {}
        for name, (dtype, shape) in self.arrays().items():
            kind = {"uint8": pa.uint8(), "float32": pa.float32(), "int64": pa.int64()}[dtype.name]
            fields[name] = pa.list_(kind, prod(shape)) if shape else kind
        if self.columns.captions:
            fields["captions"] = pa.list_(pa.string())
        fields["name"] = pa.string()
        return pa.schema(list(fields.items()))

    def empty(self, count: int) -> Rows:
        """Room for `count` records, to be filled."""
        arrays = {name: np.empty((count, *shape), dtype) for name, (dtype, shape) in self.arrays().items()}
        return Rows(arrays, [[] for _ in range(count)] if self.columns.captions else None, [""] * count)


@dataclass
class Rows:
    """Records: `arrays` as the layout says, each [n, ...]; captions, n lists, where the layout has them; n names."""

    arrays: dict[str, NDArray[Any]]
    captions: list[list[str]] | None
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    def select(self, keep: NDArray[np.bool_]) -> Rows:
        """Those where `keep`, bool [n], is set; these themselves where that is all of them."""
        if keep.all():
            return self
        chosen = np.flatnonzero(keep)
        arrays = {name: array[chosen] for name, array in self.arrays.items()}
        captions = None if self.captions is None else [self.captions[i] for i in chosen]
        return Rows(arrays, captions, [self.names[i] for i in chosen])
