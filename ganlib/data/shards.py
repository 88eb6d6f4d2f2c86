"""Shards: Arrow IPC files of one uncompressed record batch each, so that a memory map of one is numpy arrays.

Columns, where the dataset has them: "image" and "partner", FixedSizeList<uint8 | float32>[H*W*C], row-major HWC;
"label", int64; "domains", FixedSizeList<uint8>[D]; "box", FixedSizeList<float32>[4]; "keypoints",
FixedSizeList<float32>[K*3]; "captions", list<string>; and always "name", string.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ganlib.data.layout import Layout, Rows
from ganlib.data.storage import Location
from ganlib.errors import UserError

_MAGIC = b"ARROW1\0\0"


def serialise(rows: Rows, layout: Layout) -> pa.Buffer:
    """The shard's file: the same bytes for the same rows."""
    columns: dict[str, pa.Array] = {}
    for field in layout.schema():
        if field.name == "name":
            columns["name"] = _strings(rows.names)
        elif field.name == "captions":
            captions = rows.captions or []
            offsets = _offsets([len(one) for one in captions])
            texts = _strings([text for one in captions for text in one])
            columns["captions"] = pa.Array.from_buffers(field.type, len(captions), [None, offsets], children=[texts])
        else:
            columns[field.name] = _to_arrow(rows.arrays[field.name], field.type)
    batch = pa.record_batch(columns)
    # Written in place: a stream that grows would hold the shard twice. The rest is the schema, twice, and the footer.
    room = pa.allocate_buffer(pa.ipc.get_record_batch_size(batch) + 4 * batch.schema.serialize().size + 4096)
    with pa.FixedSizeBufferWriter(room) as sink:
        with pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        size = sink.tell()
    return room.slice(0, size)


class LoadedShard:
    """A shard's columns as read-only arrays over its bytes; what the dataset does not have is None.

    images, partner: uint8 or float32 [n, H, W, C]. labels: int64 [n]. domains: uint8 [n, D]. box: float32 [n, 4].
    keypoints: float32 [n, K, 3]. captions: n lists of strings. names: n strings.
    """

    def __init__(self, content: pa.Buffer, layout: Layout, rows: int) -> None:
        """Raises ValueError, struct.error or pa.ArrowException for anything but `rows` records of this layout."""
        batch = _only_batch(content, layout.schema())
        if batch.num_rows != rows:
            raise ValueError(f"it holds {batch.num_rows} rows, the manifest says {rows}")
        batch.validate(full=True)
        self._batch = batch
        self._arrays = {
            name: _from_arrow(batch.column(name), dtype, (rows, *shape))
            for name, (dtype, shape) in layout.arrays().items()
        }
        for name in {"name", "captions"} & set(batch.schema.names):
            _refuse_nulls(batch.column(name))

    @property
    def images(self) -> NDArray[Any]:
        return self._arrays["image"]

    @property
    def partner(self) -> NDArray[Any] | None:
        return self._arrays.get("partner")

    @property
    def labels(self) -> NDArray[np.int64] | None:
        return self._arrays.get("label")

    @property
    def domains(self) -> NDArray[np.uint8] | None:
        return self._arrays.get("domains")

    @property
    def box(self) -> NDArray[np.float32] | None:
        return self._arrays.get("box")

    @property
    def keypoints(self) -> NDArray[np.float32] | None:
        return self._arrays.get("keypoints")

    # Strings are made when they are asked for: training may never ask.
    @cached_property
    def captions(self) -> list[list[str]] | None:
        return self._batch.column("captions").to_pylist() if "captions" in self._batch.schema.names else None

    @cached_property
    def names(self) -> list[str]:
        return self._batch.column("name").to_pylist()

    def rows(self) -> Rows:
        """The same as they are written."""
        return Rows(dict(self._arrays), self.captions, self.names)


@dataclass(frozen=True)
class ShardReader:
    """One shard of a split. rows: how many records it holds; start: the split's row that its first one is."""

    location: Location
    layout: Layout
    rows: int
    start: int

    def load(self) -> LoadedShard:
        """Read it whole into memory, from disk or object store. Raises UserError."""
        return self._parsed(pa.py_buffer(self.location.read()))

    def map(self) -> LoadedShard:
        """Map a local file: pages are read when they are touched, and let go with the last array. Raises UserError."""
        try:
            with pa.memory_map(str(self.location.local)) as file:
                content = file.read_buffer()
        except (OSError, pa.ArrowException) as error:
            raise self._broken(error) from error
        return self._parsed(content)

    def _parsed(self, content: pa.Buffer) -> LoadedShard:
        try:
            return LoadedShard(content, self.layout, self.rows)
        # All that Arrow raises for damaged files.
        except (OSError, EOFError, ValueError, TypeError, OverflowError, struct.error, pa.ArrowException) as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> UserError:
        reason = " ".join(str(error).split())[:200]
        return UserError(f"cannot read the shard {self.location}: {reason}; prepare the dataset again")


def _only_batch(content: pa.Buffer, schema: pa.Schema) -> pa.RecordBatch:
    """The one batch of the file, its columns lying in `content`; neither copied nor, ever, decompressed."""
    if content.size < len(_MAGIC) or content.slice(0, len(_MAGIC)).to_pybytes() != _MAGIC:
        raise ValueError("it is no Arrow file")
    # Read as the stream that lies within the file; the footer repeats where its messages are.
    stream = content.slice(len(_MAGIC))
    reader = pa.ipc.open_stream(stream)
    if reader.schema != schema:
        raise ValueError(_difference(reader.schema, schema))
    messages = pa.BufferReader(stream)
    pa.ipc.read_message(messages)  # the schema
    message = pa.ipc.read_message(messages)
    if message.type != "record batch":
        raise ValueError(f"it holds a {message.type} where its records should be")
    if _is_compressed(message.metadata.to_pybytes()):
        raise ValueError("it is compressed")
    return reader.read_next_batch()


def _is_compressed(message: bytes) -> bool:
    """Whether a record batch's metadata (a flatbuffer; format/Message.fbs in Arrow) names a compression.

    Arrow would allocate what a compressed body claims to become, and cannot be told not to. A flatbuffer that lies
    about its own offsets may get any answer here; Arrow checks those before it reads on.
    """

    def field(table: int, index: int) -> int | None:
        """Where field `index` of the table at `table` is, if it is there."""
        vtable = table - struct.unpack_from("<i", message, table)[0]
        entry = 4 + 2 * index
        if entry >= struct.unpack_from("<H", message, vtable)[0]:
            return None
        offset = struct.unpack_from("<H", message, vtable + entry)[0]
        return table + offset if offset else None

    header = field(struct.unpack_from("<I", message, 0)[0], 2)
    if header is None:
        raise ValueError("its records have no header")
    return field(header + struct.unpack_from("<I", message, header)[0], 3) is not None


def _difference(found: pa.Schema, expected: pa.Schema) -> str:
    for field in expected:
        there = found.field(field.name).type if found.get_field_index(field.name) >= 0 else "nothing"
        if there != field.type:
            return f"its column {field.name!r} is {there}, the manifest says {field.type}"
    return f"its columns are {', '.join(found.names)}, the manifest says {', '.join(expected.names)}"


# Arrow's own conversions to and from Python's lists and numpy import pandas, which takes a second.
def _strings(values: list[str]) -> pa.Array:
    texts = [value.encode() for value in values]
    offsets = _offsets([len(text) for text in texts])
    return pa.Array.from_buffers(pa.string(), len(texts), [None, offsets, pa.py_buffer(b"".join(texts))])


def _offsets(lengths: list[int]) -> pa.Buffer:
    return pa.py_buffer(np.cumsum([0, *lengths]).astype(np.int32))


def _to_arrow(array: NDArray[Any], kind: pa.DataType) -> pa.Array:
    nested = pa.types.is_fixed_size_list(kind)
    flat = np.ascontiguousarray(array).reshape(-1)
    values = pa.Array.from_buffers(kind.value_type if nested else kind, len(flat), [None, pa.py_buffer(flat)])
    return pa.FixedSizeListArray.from_arrays(values, kind.list_size) if nested else values


def _from_arrow(array: pa.Array, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    _refuse_nulls(array)
    values = array.values if pa.types.is_fixed_size_list(array.type) else array
    return np.frombuffer(values.buffers()[1], dtype, prod(shape), values.offset * dtype.itemsize).reshape(shape)


def _refuse_nulls(array: pa.Array) -> None:
    nested = pa.types.is_nested(array.type)
    if array.null_count or (nested and array.values.null_count):
        raise ValueError("a value is missing in it")
