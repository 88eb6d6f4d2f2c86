"""Writing so that a reader sees the old thing or the new, never half; and naming content by its SHA-256."""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ganlib.errors import UserError

# What goes wrong while writing and is the disk's or its owner's doing, not the code's.
_DISK_ERRORS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def write_atomically(path: Path, content: str | bytes) -> None:
    """Make `path` a file holding `content` (text as UTF-8), with its parent folders; it outlasts a power cut.

    Raises UserError where the disk refuses; then `path` is as it was.
    """
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise _cannot_write(path, error) from error


@contextmanager
def atomic_folder(path: Path, *, keep_existing: bool = False) -> Iterator[Path]:
    """Yield a new folder beside `path`; when the block ends well it becomes `path`, and when it raises it is removed.

    A folder that stands at `path` by then is replaced, or, with `keep_existing`, stays and the new one is removed: for
    folders named by their content, which two processes may be writing at once. Replacing takes two renames, between
    which `path` is absent for an instant; taking an empty place is one. Parent folders are made. Every file has reached
    the disk before the rename.

    Raises UserError where the disk refuses, inside the block too; then `path` is as it was.
    """
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        _move_into_place(temporary, path, keep_existing)
        _sync(path.parent)
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            raise _cannot_write(path, error) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_unfinished(path: Path) -> None:
    """Removes what writers of `path` have left beside it that were killed; nobody may be writing it."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """SHA-256 of the file's bytes, in hex. Raises UserError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def canonical_digest(value: Any) -> str:
    """SHA-256 in hex of `value` as JSON in one fixed spelling (sorted keys, no spaces, ASCII).

    Raises TypeError or ValueError for what JSON cannot say (NaN and infinities included).
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _beside(path: Path) -> Path:
    """A hidden, unused name in the same folder, thus on the same disk, so that a rename can take it to `path`."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")


def _move_into_place(temporary: Path, path: Path, keep_existing: bool) -> None:
    while True:
        try:
            temporary.rename(path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise _cannot_write(path, error) from error
        if keep_existing:
            return
        old = _beside(path)
        try:
            path.rename(old)
        except FileNotFoundError:
            continue  # another process has just moved it away
        shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    """Has what a file holds, or what a folder lists, reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot do it for folders
            raise
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> UserError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return UserError(f"cannot write {path}: {reason}; choose a folder that can be written and has room")
