"""Single rows of Parquet files, with memory bounded by a piece of a row group, whatever size its writer gave that."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ganlib.data.sources.base import BadRecordError
from ganlib.data.storage import Location, StoreError
from ganlib.errors import UserError

# A piece is as many rows as make some 4 MiB; a cursor keeps a few, for threads that read neighbouring rows.
_PIECE_BYTES, _PIECE_ROWS, _PIECES = 4 << 20, 4096, 3
# How many row groups are read at once, and over how many pieces, or rows, a cursor is moved on rather than another one
# begun: as far as the threads that share the rows of a shard are apart.
_CURSORS, _REACH_PIECES, _REACH_ROWS = 8, 8, 512


def open_parquet(location: Location, metadata: Any = None) -> Any:
    """A pyarrow ParquetFile; `metadata`, if known, saves reading it again. Raises UserError for what is none."""
    try:
        # Column chunks come through a buffer: without one they are held whole, and a row group may be all of a file.
        return pq.ParquetFile(
            location.open(), metadata=metadata, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True
        )
    except (OSError, pa.ArrowException) as error:
        raise broken(location, error) from error


def broken(location: Location, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    if location.local is None and isinstance(error, OSError):
        # The network's, or a page whose checksum is wrong: Arrow tells them apart by their texts alone.
        return StoreError(f"cannot read {location} ({reason}); check that the store can be reached, or write it again")
    return UserError(f"cannot read {location} as Parquet ({reason}); fetch or write it again")


class RowReader:
    """Rows by number, from several threads; those who read on from row to row decode each row group once.

    Not picklable: it holds open files.
    """

    def __init__(self, files: Sequence[Location], columns: Sequence[str]) -> None:
        self._files, self._columns = files, list(columns)
        self._lock = Lock()
        self._metadata: dict[int, Any] = {}
        self._cursors: list[_Cursor] = []  # the one used last stands last

    def row(self, file: int, row: int) -> dict[str, Any]:
        """Row `row` of file number `file`: its columns as Python objects. Raises BadRecordError, UserError."""
        try:
            while True:
                cursor = self._choose(file, row)
                with cursor.lock:
                    if cursor.can_read(row):  # else another thread has moved it on since
                        return cursor.read(row)
        except UnicodeDecodeError as error:
            raise BadRecordError("text that is not UTF-8") from error
        except (OSError, pa.ArrowException) as error:
            raise broken(self._files[file], error) from error

    def _choose(self, file: int, row: int) -> _Cursor:
        with self._lock:
            able = [cursor for cursor in self._cursors if cursor.file == file and cursor.can_read(row)]
            if able:
                cursor = max(able, key=lambda cursor: cursor.next)
                self._cursors.remove(cursor)
            else:
                cursor = self._begin(file, row)
            self._cursors = [*self._cursors[-_CURSORS + 1 :], cursor]
            return cursor

    def _begin(self, file: int, row: int) -> _Cursor:
        parquet = open_parquet(self._files[file], self._metadata.get(file))
        self._metadata[file] = parquet.metadata
        return _Cursor(file, parquet, self._columns, row)


class _Cursor:
    """Reads the row group that holds a row, from its beginning, and keeps the last pieces: the rows [first, next)."""

    def __init__(self, file: int, parquet: Any, columns: list[str], row: int) -> None:
        self.file, self.lock = file, Lock()
        groups = [parquet.metadata.row_group(number) for number in range(parquet.num_row_groups)]
        ends = list(accumulate(group.num_rows for group in groups))
        number = bisect_right(ends, row)
        group = groups[number]
        self._end = ends[number]
        self.first = self.next = self._end - group.num_rows
        self._wanted = row  # however far it is, this row is come to
        self._rows = min(_PIECE_ROWS, max(1, _PIECE_BYTES * group.num_rows // max(1, _bytes(group, columns))))
        self._pieces: deque[Any] = deque()
        self._batches = parquet.iter_batches(self._rows, row_groups=[number], columns=columns, use_threads=False)

    def can_read(self, row: int) -> bool:
        reach = max(_REACH_PIECES * self._rows, _REACH_ROWS)
        return self.first <= row < min(self._end, max(self.next + reach, self._wanted + 1))

    def read(self, row: int) -> dict[str, Any]:
        while self.next <= row:
            batch = next(self._batches, None)
            if batch is None:
                raise pa.ArrowInvalid("a row group ends early")
            self._pieces.append(batch)
            self.next += batch.num_rows
            if len(self._pieces) > _PIECES:
                self.first += self._pieces.popleft().num_rows
        place = row - self.first
        for batch in self._pieces:
            if place < batch.num_rows:
                return {name: batch.column(number)[place].as_py() for number, name in enumerate(batch.schema.names)}
            place -= batch.num_rows
        raise AssertionError("a row that can be read is in a piece")


def _bytes(group: Any, columns: list[str]) -> int:
    """Of these columns of a row group, uncompressed."""
    chunks = (group.column(number) for number in range(group.num_columns))
    return sum(
        chunk.total_uncompressed_size
        for chunk in chunks
        if any(f"{chunk.path_in_schema}.".startswith(f"{column}.") for column in columns)
    )
