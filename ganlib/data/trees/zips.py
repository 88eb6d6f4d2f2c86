"""A zip as a tree of files, read in place."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any, NamedTuple

from ganlib.data.sources.base import BadRecordError
from ganlib.data.storage import FileEntry, Location
from ganlib.data.trees.archives import ArchiveTree, common_folder, refuse_climbing
from ganlib.data.trees.base import is_hidden, spelled_out
from ganlib.data.trees.handles import Handle, open_handle
from ganlib.errors import UserError

_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_ENCRYPTED, _UTF8 = 0x1, 0x800
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature ... length of the name, length of the extra field
_MODES = {1: "shrink", 6: "implode", 9: "Deflate64", 12: "BZIP2", 14: "LZMA", 93: "Zstandard", 99: "AES"}


class _Packed(NamedTuple):
    offset: int
    size: int
    method: int
    crc: int


class ZipTree(ArchiveTree):
    """The files of a zip, stored or deflated; where all lie below one folder, names are relative to it.

    An entry is read with positioned reads, so that threads share one handle, and its CRC-32 is checked. The central
    directory alone is listed. Raises UserError for a broken zip, an encrypted or otherwise packed entry, or one that
    climbs out.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self.name = spelled_out(location.name[: -len(".zip")])
        infos = {}
        for info in _directory(location):
            name = _name(info)
            refuse_climbing(location, name)
            if not name.endswith("/") and not is_hidden(name):
                _check(location, info, name)
                infos[name] = info
        top = common_folder(infos)
        self._packed = {
            name.removeprefix(top): _Packed(info.header_offset, info.compress_size, info.compress_type, info.CRC)
            for name, info in infos.items()
        }
        self._set_files(FileEntry(name.removeprefix(top), info.file_size, 0) for name, info in infos.items())

    def _read(self, entry: FileEntry) -> bytes:
        packed = self._packed[entry.name]
        handle = self._open()
        header = handle.read_at(_LOCAL_HEADER.size, packed.offset)
        if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\3\4":
            raise BadRecordError("broken zip entry: no header where the directory says")
        _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        content = handle.read_at(packed.size, packed.offset + _LOCAL_HEADER.size + name_length + extra_length)
        if packed.method == _DEFLATED:
            try:
                # Never more than the directory says it is.
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, entry.size + 1)
            except zlib.error as error:
                raise BadRecordError("broken zip entry: it cannot be inflated") from error
        if len(content) != entry.size or zlib.crc32(content) != packed.crc:
            raise BadRecordError("broken zip entry: its checksum or size is wrong")
        return content

    def _open_handle(self) -> Handle:
        return open_handle(self.location)

    def _stamp(self) -> object:
        return None

    def _mark(self, entry: FileEntry) -> object:
        return self._packed[entry.name].crc


def _directory(location: Location) -> list[zipfile.ZipInfo]:
    raw: Any = location.open()
    try:
        with io.BufferedReader(raw, 1 << 20) as buffered, zipfile.ZipFile(location.local or buffered) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error, IndexError) as error:
        raise UserError(f"{location} is a broken zip or none ({error}); fetch it again or pack it again") from error


def _name(info: zipfile.ZipInfo) -> str:
    """Programs that do not say that a name is UTF-8 often write it all the same; zipfile takes it for code page 437."""
    if info.flag_bits & _UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _check(location: Location, info: zipfile.ZipInfo, name: str) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise UserError(f"{location} is encrypted ({name!r}); unpack it, and name the folder")
    if info.compress_type not in (_STORED, _DEFLATED):
        method = _MODES.get(info.compress_type, f"method {info.compress_type}")
        raise UserError(f"{location}: {name!r} is packed with {method}, which is not read; pack it with Deflate")
