"""Files under names, read in place from a folder, a zip or a tar, here or in an object store."""

from __future__ import annotations

from ganlib.data.storage import Location
from ganlib.data.trees.base import FileTree
from ganlib.data.trees.folders import FolderTree
from ganlib.data.trees.tars import TAR_SUFFIXES, TarTree
from ganlib.data.trees.zips import ZipTree
from ganlib.errors import UserError

__all__ = ["FileTree", "is_archive", "open_tree"]


def is_archive(name: str) -> bool:
    """Whether a file of this name is read as a tree of files."""
    return name.lower().endswith((".zip", *TAR_SUFFIXES))


def open_tree(location: Location) -> FileTree:
    """The files of a folder, a .zip or a .tar (.gz, .bz2, .xz). Lists them; reads no content.

    Raises UserError for what is none of these, does not exist, is broken, or has entries that climb out of it.
    """
    kind = location.kind()
    if kind is None:
        raise UserError(f"the source {location} does not exist; check the path, or name 'digits' for the bundled ones")
    if kind == "folder":
        return FolderTree(location)
    if location.name.lower().endswith(".zip"):
        return ZipTree(location)
    if location.name.lower().endswith(TAR_SUFFIXES):
        return TarTree(location)
    raise UserError(
        f"the source {location} is a file of a kind that is not read; name a folder, a .zip, a .tar (.gz, .bz2, .xz), "
        "a .parquet or a table of captions"
    )
