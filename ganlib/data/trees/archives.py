"""What zips and tars share: one open file a process, no way out, and the folder that they were packed with."""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

from ganlib.data.storage import Location, one_line
from ganlib.data.trees.base import FileTree
from ganlib.data.trees.handles import Handle
from ganlib.errors import UserError

_OPENING = threading.Lock()


class ArchiveTree(FileTree):
    """Of its files, modified_ns is 0: the archive's own time is what counts."""

    _handle: tuple[int, Handle] | None = None

    def _open(self) -> Handle:
        """This process's handle: the threads share it."""
        held = self._handle
        if held is None or held[0] != os.getpid():
            with _OPENING:
                held = self._handle
                if held is None or held[0] != os.getpid():
                    held = self._handle = os.getpid(), self._open_handle()
        return held[1]

    @abstractmethod
    def _open_handle(self) -> Handle: ...

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in super().__getstate__().items() if key != "_handle"}


def refuse_climbing(location: Location, name: str) -> None:
    """Raise UserError for an entry that unpacking would put beside or above the archive's own folder."""
    if name.startswith("/") or ".." in name.split("/"):
        place = one_line(str(location))
        raise UserError(f"{place} holds an entry that climbs out of it, {name!r}; do not trust it, or pack it again")


def common_folder(names: Iterable[str]) -> str:
    """The folder that all names lie in, with its "/", as when a folder was packed by its own name; else ""."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    top = tops.pop() if len(tops) == 1 else ""
    return f"{top}/" if top else ""
