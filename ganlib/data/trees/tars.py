"""A tar as a tree of files, read in place where it is not compressed."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import posixpath
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from typing import IO, Any

from ganlib.data.sources.base import BadRecordError
from ganlib.data.storage import FileEntry, Location, StoreError, one_line
from ganlib.data.trees.archives import ArchiveTree, common_folder, refuse_climbing
from ganlib.data.trees.base import is_hidden, spelled_out
from ganlib.data.trees.handles import DescriptorHandle, Handle, open_handle
from ganlib.errors import UserError

_INFLATE: dict[str, Callable[[Any], Any]] = {
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tbz2": bz2.open,
    ".tar.xz": lzma.open,
    ".txz": lzma.open,
}
TAR_SUFFIXES = (".tar", *_INFLATE)
_BROKEN = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, OSError, ValueError)


class TarTree(ArchiveTree):
    """The files of a tar; where all lie below one folder, names are relative to it. Links to files in it are read.

    The headers are walked through once; an entry is then one positioned read. A compressed tar has no such positions:
    each process that reads it inflates it once into a nameless temporary file (in $TMPDIR), which goes with the
    process; unpack a large one, or pack it as zip. Raises UserError for a broken tar or an entry that climbs out.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self._suffix = next(suffix for suffix in TAR_SUFFIXES if location.name.lower().endswith(suffix))
        self.name = spelled_out(location.name[: -len(self._suffix)])
        self._archive = location.entry()
        if self._suffix == ".tar":
            raw: Any = location.open()
            with io.BufferedReader(raw, 1 << 20) as stream:
                found = self._index(stream)
        else:
            file = self._inflated()
            found = self._index(file)
            self._handle = os.getpid(), DescriptorHandle(file, location)
        top = common_folder(found)
        self._offsets = {name.removeprefix(top): offset for name, (_, offset) in found.items()}
        self._set_files(FileEntry(name.removeprefix(top), size, 0) for name, (size, _) in found.items())

    def _index(self, stream: IO[bytes]) -> dict[str, tuple[int, int | None]]:
        """Size and offset of each file's content; no offset where a link leads to nothing or the file has holes."""
        members: dict[str, tarfile.TarInfo] = {}
        try:
            with tarfile.open(fileobj=stream, mode="r:", errorlevel=2) as archive:
                reached = -1
                for member in archive:
                    if member.offset_data <= reached or member.size < 0:
                        raise tarfile.ReadError("its entries overlap")
                    reached = member.offset_data
                    refuse_climbing(self.location, member.name)
                    members[posixpath.normpath(member.name)] = member
                # tarfile takes a broken header for the end.
                stream.seek(archive.offset)
                if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
                    raise tarfile.ReadError(f"no header at byte {archive.offset}")
        except _BROKEN as error:
            raise _broken(self.location, error) from error
        found: dict[str, tuple[int, int | None]] = {}
        for name, member in members.items():
            if not is_hidden(name) and (member.isreg() or member.islnk() or member.issym()):
                target = _target(name, members)
                readable = target is not None and target.isreg() and not target.sparse
                found[spelled_out(name)] = (target.size, target.offset_data) if target and readable else (0, None)
        return found

    def _read(self, entry: FileEntry) -> bytes:
        offset = self._offsets[entry.name]
        if offset is None:
            raise BadRecordError("a link to no file in the archive, or a file with holes")
        content = self._open().read_at(entry.size, offset)
        if len(content) < entry.size:
            raise BadRecordError("the archive is cut short within it")
        return content

    def _open_handle(self) -> Handle:
        if self._suffix == ".tar":
            return open_handle(self.location)
        return DescriptorHandle(self._inflated(), self.location)

    def _inflated(self) -> IO[bytes]:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the handle
        try:
            with self.location.open() as packed, _INFLATE[self._suffix](packed) as plain:
                while piece := plain.read(1 << 20):
                    file.write(piece)
            file.flush()
        except _BROKEN as error:
            file.close()
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise UserError(
                    f"no room in {tempfile.gettempdir()} to inflate {self.location}; point TMPDIR at a larger disk"
                ) from error
            raise _broken(self.location, error) from error
        file.seek(0)
        return file

    def _stamp(self) -> object:
        return [spelled_out(str(self.location)), self._archive.size, self._archive.modified_ns]


def _target(name: str, members: dict[str, tarfile.TarInfo]) -> tarfile.TarInfo | None:
    """The member whose content `name` has, through the archive's links; None where they lead out or in a circle."""
    for _ in range(16):
        member = members.get(name)
        if member is None or not (member.islnk() or member.issym()):
            return member
        # A hard link is named from the top, a symbolic one from where it stands.
        start = posixpath.dirname(name) if member.issym() else ""
        name = posixpath.normpath(posixpath.join(start, member.linkname))
    return None


def _broken(location: Location, error: Exception) -> UserError:
    place = one_line(str(location))
    if location.local is None and isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
        return StoreError(f"cannot read {place}: {' '.join(str(error).split())}; check that the store can be reached")
    return UserError(f"{place} is a broken tar or none ({error}); fetch it again or pack it again")
