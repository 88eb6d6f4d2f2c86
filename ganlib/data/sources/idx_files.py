"""One IDX file: an array of unsigned bytes behind a header of its shape, raw or gzip."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganlib.data.storage import Location, StoreError
from ganlib.data.trees.handles import Handle, open_handle
from ganlib.errors import UserError

# DEFLATE packs at most 1,032 bytes into one (258 from two bits), so a file's size bounds what a header may claim of it.
_MOST_INFLATION = 1032
READ_WHOLE = 64 << 20
"""Bytes of a raw file in an object store up to which it is one request: a request for each part would take longer."""


def open_images(location: Location) -> NDArray[np.uint8] | PositionedImages:
    """The images [n, h, w] of an IDX file: read by position as they are asked for, in memory a few at a time, where it
    is raw; whole where it is gzip, which has no positions, or small in an object store. Raises what `read_idx` does.
    """
    if location.name.endswith(".gz") or (location.local is None and location.size() <= READ_WHOLE):
        return read_idx(location, 3)
    return PositionedImages(location)


class PositionedImages:
    """Images of a raw IDX file by number, as of an array uint8 [n, h, w]: `shape`, `len` and slices without a step.

    Thread-safe. Raises UserError for what `read_idx` does; the body is not read for it.
    """

    def __init__(self, location: Location) -> None:
        with _faults(location), location.open() as file:
            shape = _shape(location, file, 3)
        self.shape = (shape[0], shape[1], shape[2])
        self._start, self._image = _header_bytes(3), shape[1] * shape[2]
        _check_length(location, shape, location.size() - self._start)
        self._location = location
        self._handle: Handle = open_handle(location)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> NDArray[np.uint8]:
        first, stop, _ = rows.indices(len(self))
        count = max(stop - first, 0) * self._image
        content = self._handle.read_at(count, self._start + first * self._image) if count else b""
        if len(content) < count:
            raise UserError(f"{self._location} was cut short while it was read; fetch it again")
        return np.frombuffer(content, np.uint8).reshape(-1, *self.shape[1:])


def read_idx(path: Path | Location, dimensions: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file, gzip when its name ends in .gz.

    Never allocates more than the file can hold. Raises UserError for a wrong magic number, a header that disagrees with
    the body, no content, or broken compression.
    """
    location = Location.of(path)
    size, packed = location.size(), location.name.endswith(".gz")
    most = size * (_MOST_INFLATION if packed else 1)
    with _faults(location), location.open() as raw:
        file = gzip.GzipFile(fileobj=raw) if packed else raw
        shape = _shape(location, file, dimensions)
        expected = math.prod(shape)
        if expected > most:
            raise UserError(f"{_lies(location, shape, 'is cut short')}, the file can hold at most {most:,}")
        # In pieces, so that memory grows with what is really there.
        body = bytearray()
        while piece := file.read(min(1 << 20, expected + 1 - len(body))):
            body += piece
    _check_length(location, shape, len(body))
    return np.frombuffer(body, np.uint8).reshape(shape)


def _header_bytes(dimensions: int) -> int:
    return 4 + 4 * dimensions


def _shape(path: Location, file: Any, dimensions: int) -> tuple[int, ...]:
    """What the header says, which is read from `file`. Raises UserError for what is none, and for an empty array."""
    size = _header_bytes(dimensions)
    header = file.read(size)
    magic = 0x0800 + dimensions  # 08: unsigned bytes
    if header[:4] != magic.to_bytes(4, "big"):
        raise UserError(
            f"{path} begins with 0x{header[:4].hex()}, expected 0x{magic:08x} "
            f"(IDX, unsigned bytes, {dimensions} dimensions)"
        )
    if len(header) < size:
        raise UserError(f"{path} ends within its header: {len(header)} bytes, expected {size}")
    shape = tuple(int(n) for n in np.frombuffer(header, ">u4", offset=4))
    if math.prod(shape) == 0:
        raise UserError(f"{path} holds nothing: {_claim(shape)}")
    return shape


def _check_length(path: Location, shape: tuple[int, ...], length: int) -> None:
    """length: bytes that follow the header, or of more than it claims, so many that this is seen."""
    expected = math.prod(shape)
    if length < expected:
        raise UserError(f"{_lies(path, shape, 'is cut short')}, {length:,} follow it")
    if length > expected:
        raise UserError(f"{_lies(path, shape, 'goes on after its end')}, more follow it")


def _lies(path: Location, shape: tuple[int, ...], otherwise: str) -> str:
    return f"{path} {otherwise} or its header lies: {_claim(shape)}"


def _claim(shape: tuple[int, ...]) -> str:
    return f"its header says {' x '.join(map(str, shape))} = {math.prod(shape):,} bytes"


@contextmanager
def _faults(location: Location) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{location} is a broken gzip file ({error}); fetch it again") from error
    except OSError as error:
        kind = UserError if location.local else StoreError
        raise kind(f"cannot read {location}: {error.strerror or ' '.join(str(error).split())}") from error
