"""What is sent along with a job: the code as it stands here, without what git ignores, and the recipes it names."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ganlib.errors import UserError

PACKAGES = ("ganlib", "tuning", "pipelines")
LIMIT = 64 << 20
"""Bytes that may be sent; Ray's dashboard takes 100 MiB a request."""
NEVER = (".gitignore", ".env", ".env.*", ".netrc", "*.pem", "*.key", "auth_token", "token")
"""Names of files that are not sent: what mostly holds secrets. (And .gitignore: Ray would leave out more by it.)"""


def pack(into: Path, wheel: Path | None, excludes: Sequence[str] = (), files: Mapping[str, Path] | None = None) -> str:
    """Copies what the job needs into the folder `into`, and returns where it was taken from, in words.

    wheel: one of the product's, in place of the working tree, or of what is installed where there is no tree. excludes:
    patterns of paths below the tree, `*` for any part. files: what is put into `submitted/`, by its name there.

    Raises UserError where it is too much, a file cannot be read, or the wheel is not the product's.
    """
    try:
        said = _pack_code(into, wheel, excludes)
        for name, file in (files or {}).items():
            (into / "submitted").mkdir(exist_ok=True)
            shutil.copyfile(file, into / "submitted" / name)
    except PermissionError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}); leave it out with --exclude") from error
    _check_size(into)
    return said


def _pack_code(into: Path, wheel: Path | None, excludes: Sequence[str]) -> str:
    if wheel is not None:
        if excludes:
            raise UserError("--exclude leaves out files of the working tree; a wheel is sent whole")
        _unpack(wheel, into)
        return wheel.name
    root = tree()
    base = root or _installed()
    for file in _listed(root) if root else _walked():
        inside = file.relative_to(base).as_posix()
        if not _left_out(inside, excludes):
            target = into / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    return str(root) if root else "what is installed here"


def tree() -> Path | None:
    """The git working tree that this code is run from; None where it is installed."""
    root = _installed()
    try:
        said = _git(root, "rev-parse", "--show-toplevel")
    except (OSError, subprocess.CalledProcessError):
        return None
    return root if Path(said.strip()).resolve() == root.resolve() else None


def _installed() -> Path:
    """The folder that holds the packages."""
    return Path(__file__).resolve().parent.parent


def _listed(root: Path) -> Iterator[Path]:
    """What git tracks or would add; no link that leads out of the tree."""
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in sorted(filter(None, listed.split("\0"))):
        file = root / name
        if file.is_file() and file.resolve().is_relative_to(root.resolve()):
            yield file


def _walked() -> Iterator[Path]:
    for package in PACKAGES:
        for file in sorted((_installed() / package).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield file


def _left_out(inside: str, excludes: Sequence[str]) -> bool:
    """Whether the file, or a folder that it is in, fits one of the patterns."""
    parts = inside.split("/")
    above = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    return any(fnmatch.fnmatch(parts[-1], pattern) for pattern in NEVER) or any(
        fnmatch.fnmatch(path, pattern.rstrip("/")) for pattern in excludes for path in above
    )


def _unpack(wheel: Path, into: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            if "pipelines/cli/__init__.py" not in archive.namelist():
                raise UserError(f"{wheel} is not a wheel of this product (it has no pipelines/cli)")
            archive.extractall(into)  # keeps within the folder, whatever the names say
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"the wheel {wheel} cannot be read ({error})") from error


def _check_size(folder: Path) -> None:
    sizes = {file.relative_to(folder).as_posix(): file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    total = sum(sizes.values())
    if total > LIMIT:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        named = ", ".join(f"{name} ({sizes[name] / 2**20:.1f} MiB)" for name in largest)
        raise UserError(
            f"the working tree has {total / 2**20:.0f} MiB to send, and {LIMIT >> 20} is the most; the largest are "
            f"{named}: leave them out with --exclude, or have git ignore them"
        )


def _git(root: Path, *words: str) -> str:
    said = subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=True).stdout
    return os.fsdecode(said)  # names of files, of whatever bytes
