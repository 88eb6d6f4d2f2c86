"""Shards: Arrow IPC files of one uncompressed record batch each, so that a memory map of one is a numpy array.

Columns: "image", FixedSizeList<uint8>[H*W*C], row-major HWC; "label", int64, where there are labels; "name", string.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ganlib.data.manifest import Shard
from ganlib.data.sources import SplitName
from ganlib.errors import UserError
from ganlib.files import file_digest

# What a writer holds in memory, and the most that a reader pages in to touch one shard. MNIST is one shard a split.
SHARD_BYTES = 256 << 20
_AGAIN = "prepare the dataset again"


@dataclass(frozen=True)
class Rows:
    """images uint8 [n, H, W, C], labels int64 [n] or None, n names."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    names: list[str]


def write_shards(
    folder: Path, split: SplitName, parts: Iterable[Rows], image_shape: tuple[int, int, int], most_rows: int
) -> list[Shard]:
    """Write `parts`, at most `most_rows` rows in all, in their order, holding one shard's images and one part.

    Raises OSError where the disk refuses.
    """
    capacity = min(max(1, SHARD_BYTES // prod(image_shape)), most_rows)
    images = np.empty((capacity, *image_shape), np.uint8)
    labels: list[NDArray[np.int64]] = []
    names: list[str] = []
    shards: list[Shard] = []

    def flush() -> None:
        path = folder / f"{split}-{len(shards):05d}.arrow"
        _write(path, Rows(images[: len(names)], np.concatenate(labels) if labels else None, names))
        size, digest = path.stat().st_size, file_digest(path)
        shards.append(Shard(file=path.name, split=split, rows=len(names), bytes=size, sha256=digest))
        labels.clear()
        names.clear()

    for part in parts:
        start = 0
        while start < len(part.names):
            held = len(names)
            stop = min(len(part.names), start + capacity - held)
            images[held : held + stop - start] = part.images[start:stop]
            names += part.names[start:stop]
            if part.labels is not None:
                labels.append(part.labels[start:stop])
            if len(names) == capacity:
                flush()
            start = stop
    if names:
        flush()
    return shards


class MappedShard(NamedTuple):
    """Read-only views of a memory map: images uint8 [n, H, W, C], labels int64 [n] or None, names as Arrow strings."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    names: pa.StringArray


def map_shard(path: Path, rows: int, image_shape: tuple[int, int, int]) -> MappedShard:
    """Map a shard; nothing is read until it is touched.

    Raises UserError where the file cannot be read or holds something else than `rows` images of `image_shape`.
    """
    try:
        # The views hold the map; it goes when the last of them goes.
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
            batch = reader.get_batch(0)
            image = batch.column("image")
            if (batch.num_rows, image.type) != (rows, pa.list_(pa.uint8(), prod(image_shape))):
                found = f"{batch.num_rows} rows of {image.type}"
                raise UserError(f"the shard {path} holds {found}, not what the manifest says; {_AGAIN}")
            images = _view(image.values, np.uint8, rows * prod(image_shape)).reshape(rows, *image_shape)
            labels = _view(batch.column("label"), np.int64, rows) if "label" in batch.schema.names else None
            return MappedShard(images, labels, batch.column("name"))
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise UserError(f"cannot read the shard {path}: {error}; {_AGAIN}") from error


def _write(path: Path, rows: Rows) -> None:
    count, width = len(rows.names), prod(rows.images.shape[1:])
    pixels = _array(rows.images.reshape(count * width), pa.uint8())
    columns = {"image": pa.FixedSizeListArray.from_arrays(pixels, width)}
    if rows.labels is not None:
        columns["label"] = _array(rows.labels, pa.int64())
    columns["name"] = pa.array(rows.names, pa.string())
    batch = pa.record_batch(columns)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


# Arrow's own conversions to and from numpy import pandas, which takes a second.
def _array(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def _view(array: pa.Array, dtype: type[np.generic], count: int) -> NDArray[Any]:
    return np.frombuffer(array.buffers()[1], dtype, count)
