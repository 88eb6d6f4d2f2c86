"""Positioned reads from a large file, of which many small pieces are wanted, by several threads."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import Any, Protocol

from ganlib.data.storage import Location, StoreError, read_whole
from ganlib.errors import UserError

# A request to an object store costs as much as the transfer of about this many bytes.
_BLOCK_BYTES, _BLOCKS = 1 << 20, 32


class Handle(Protocol):
    def read_at(self, count: int, offset: int) -> bytes:
        """Up to `count` bytes from `offset`: fewer only at the end of the file. Thread-safe. Raises UserError."""


def open_handle(location: Location) -> Handle:
    """On a local file or in an object store, as `location` has it. Raises UserError."""
    return DescriptorHandle(location.open(), location) if location.local else BlockHandle(location.open(), location)


class DescriptorHandle:
    """Reads with pread; anything with `fileno` will do, and is kept open with the handle."""

    def __init__(self, file: Any, location: Location) -> None:
        self._file, self._location = file, location
        self._descriptor = file.fileno()

    def read_at(self, count: int, offset: int) -> bytes:
        try:
            content = os.pread(self._descriptor, count, offset)
            while len(content) < count and (
                more := os.pread(self._descriptor, count - len(content), offset + len(content))
            ):
                content += more
            return content
        except OSError as error:
            raise UserError(f"cannot read {self._location}: {error.strerror}") from error


class BlockHandle:
    """Fetches whole blocks of 1 MiB and keeps the 32 last used: neighbours in the file are often wanted together."""

    def __init__(self, file: Any, location: Location) -> None:
        self._file, self._location = file, location
        self._blocks: OrderedDict[int, _Block] = OrderedDict()
        self._lock = threading.Lock()

    def read_at(self, count: int, offset: int) -> bytes:
        first, last = offset // _BLOCK_BYTES, (offset + max(count, 1) - 1) // _BLOCK_BYTES
        if last - first >= _BLOCKS // 2:
            return self._fetch(count, offset)
        content = b"".join(self._block(number) for number in range(first, last + 1))
        start = offset - first * _BLOCK_BYTES
        return content[start : start + count]

    def _block(self, number: int) -> bytes:
        with self._lock:
            block = self._blocks.setdefault(number, _Block())
            self._blocks.move_to_end(number)
            if len(self._blocks) > _BLOCKS:
                self._blocks.popitem(last=False)
        # Of several threads that want it, one fetches it.
        with block.lock:
            if block.content is None:
                block.content = self._fetch(_BLOCK_BYTES, number * _BLOCK_BYTES)
            return block.content

    def _fetch(self, count: int, offset: int) -> bytes:
        try:
            size = self._file.size()
            return read_whole(self._file, min(count, size - offset), offset) if offset < size else b""
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise StoreError(f"cannot read {self._location}: {reason}; check that the store can be reached") from error


class _Block:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.content: bytes | None = None
