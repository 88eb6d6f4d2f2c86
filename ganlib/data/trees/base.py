"""What all trees of files share: names, order, fingerprints."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from ganlib.data.sources.base import BadRecordError
from ganlib.data.storage import FileEntry, Location, one_line
from ganlib.errors import UserError
from ganlib.files import canonical_digest

# No picture, caption or table of a record is as large; a zip entry of a few bytes may claim to be.
_MOST_BYTES = 1 << 30


class FileTree(ABC):
    """Files under names relative to one place, "/" between their parts, sorted by code point.

    Left out: what is hidden (a part of the name begins with a dot) and macOS's __MACOSX. A name that is not UTF-8,
    which neither JSON nor Arrow can hold, has its odd bytes spelled out as \\xff. `files` holds every file once; where
    an archive has a name twice, the later one counts, as when it is unpacked.
    A tree is picklable; it opens its files where it is used.
    """

    location: Location
    name: str
    files: Sequence[FileEntry]

    def read(self, name: str) -> bytes:
        """The bytes of a file in `files`; from several threads too.

        Raises BadRecordError where this one cannot be read, UserError where none can. KeyError for an unknown name.
        """
        entry = self._entries[name]
        if entry.size > _MOST_BYTES:
            raise BadRecordError("larger than 1 GiB")
        return self._read(entry)

    def text(self, name: str) -> str:
        """The file as UTF-8 text, without a byte order mark. Raises UserError."""
        try:
            return self.read(name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"{self.place(name)} is not UTF-8 at byte {error.start}; save it as UTF-8") from error
        except BadRecordError as error:
            raise UserError(f"{self.place(name)}: {error}") from error

    def place(self, name: str) -> str:
        """How a person finds the file: the tree's place and the name."""
        return one_line(f"{self.location}/{name}")

    def fingerprint(self, names: Iterable[str] | None = None) -> str:
        """SHA-256, hex, of these files' (all files') names, sizes and times or checksums; no content is read."""
        chosen = self.files if names is None else [self._entries[name] for name in names]
        return canonical_digest([self._stamp(), [[entry.name, entry.size, self._mark(entry)] for entry in chosen]])

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    @abstractmethod
    def _read(self, entry: FileEntry) -> bytes: ...

    @abstractmethod
    def _stamp(self) -> object:
        """What, beside the files' marks, tells this place and its state from another; JSON can say it."""

    def _mark(self, entry: FileEntry) -> object:
        return entry.modified_ns

    def _set_files(self, entries: Iterable[FileEntry]) -> None:
        shown = (entry for entry in entries if not is_hidden(entry.name))
        self._entries = dict(sorted((entry.name, entry) for entry in shown))
        self.files = list(self._entries.values())

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "files"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.files = list(self._entries.values())


def is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def spelled_out(name: str) -> str:
    """A file name with the bytes that are not UTF-8 as backslash escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
