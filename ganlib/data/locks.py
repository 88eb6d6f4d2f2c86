"""One process of this machine at a time, for what several may begin at once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ganlib.data.storage import Location
from ganlib.errors import UserError


@contextmanager
def held(place: Location, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a place on a local disk, a file beside it; yields False where another does, and not to `wait` is
    asked. Nothing is locked on an object store."""
    if place.local is None:
        yield True
        return
    path = place.local.with_name(f"{place.name}.lock")
    lock = _lock(path, wait)
    if lock is None:
        yield False
        return
    try:
        yield True
    finally:
        # Removed while it is held: who waits on this file sees that it is gone, and takes a new one.
        path.unlink(missing_ok=True)
        os.close(lock)


def _lock(path: Path, wait: bool) -> int | None:
    """The descriptor of the lock file, locked; it is made, with its folders. None where another holds it and not to
    `wait` is asked. Raises UserError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if _is_still_there(path, lock):
                    return lock
            except BlockingIOError:
                os.close(lock)
                return None
            except BaseException:
                os.close(lock)
                raise
            os.close(lock)
    except OSError as error:
        raise UserError(
            f"cannot write {path.parent}: {error.strerror or error}; choose a folder that can be written and has room"
        ) from error


def _is_still_there(path: Path, lock: int) -> bool:
    """Whether the file of `lock` is the one at `path`, which whoever held it before may have removed."""
    try:
        return os.path.samestat(path.stat(), os.fstat(lock))
    except FileNotFoundError:
        return False
