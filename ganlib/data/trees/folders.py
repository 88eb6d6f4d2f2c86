"""A folder as a tree of files."""

from __future__ import annotations

import errno

from ganlib.data.sources.base import BadRecordError
from ganlib.data.storage import FileEntry, Location, StoreError
from ganlib.data.trees.base import FileTree, spelled_out
from ganlib.errors import UserError

# What one file may be to blame for; all else (no descriptors left, a network disk that went away) is no record's fault.
_OF_THE_FILE = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ELOOP,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
}


class FolderTree(FileTree):
    """The files below a folder; links as `Location.list` follows them."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self.name = spelled_out(location.local.resolve().name if location.local else location.name)
        found = location.list(recursive=True)
        # Most names are text as they stand; those that are not are found by their spelling.
        self._raw = {spelled: entry.name for entry in found if (spelled := spelled_out(entry.name)) != entry.name}
        if self._raw and len({spelled_out(entry.name) for entry in found}) < len(found):
            raise UserError(
                f"{location} holds two files whose names differ only in bytes that are not UTF-8; rename one"
            )
        self._set_files(entry._replace(name=spelled_out(entry.name)) for entry in found)

    def _read(self, entry: FileEntry) -> bytes:
        try:
            return (self.location / self._raw.get(entry.name, entry.name)).read()
        except UserError as error:
            cause = error.__cause__
            if self.location.local and isinstance(cause, OSError):
                if cause.errno in _OF_THE_FILE:
                    raise BadRecordError(f"cannot be read: {cause.strerror}") from error
                raise StoreError(str(error)) from error
            if isinstance(cause, FileNotFoundError):
                raise BadRecordError("cannot be read: it does not exist") from error
            raise

    def _stamp(self) -> object:
        # Two folders may hold files of the same names, sizes and times.
        return spelled_out(str(self.location))
