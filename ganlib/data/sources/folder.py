"""Image files, flat or one folder a class."""

from __future__ import annotations

from collections.abc import Sequence

from ganlib.data.columns import Columns
from ganlib.data.pixels import decode
from ganlib.data.reading import Reading
from ganlib.data.sources.base import Record
from ganlib.data.sources.files import FilesSource, image_names, split_by_folder, split_folders, top_folder
from ganlib.data.trees import FileTree
from ganlib.errors import UserError


class FolderSource(FilesSource):
    """Every image file of the tree, named and ordered by its path in it.

    Where two or more folders hold images, each is a class, in the order of their names, with all that lies deeper in
    it. Images at the top, or in one folder only, have no labels. Folders train and test (or val) at the top, with
    nothing beside them, are the splits, and classes are looked for in them. Raises UserError for no images, or for
    images both in folders and beside them.
    """

    kind = "folder"

    def __init__(self, tree: FileTree, reading: Reading = Reading()) -> None:
        super().__init__(tree, reading)
        names = image_names(tree)
        inner = (lambda name: name.partition("/")[2]) if split_folders(names) else (lambda name: name)
        classes = folder_classes(tree, {name: top_folder(inner(name)) for name in names})
        self._set_records(Columns(class_names=classes), names, split_by_folder(names))
        index = {name: label for label, name in enumerate(classes or ())}
        self._labels = [index[top_folder(inner(name))] for name in self._names] if classes else None

    def read(self, index: int) -> Record:
        image = decode(self.tree.read(self._names[index]))
        return Record(image, label=None if self._labels is None else self._labels[index])


def folder_classes(tree: FileTree, owners: dict[str, str]) -> Sequence[str] | None:
    """The class names that the images' folders ({image: folder or ""}) make, sorted; None for fewer than two."""
    folders = {folder: name for name, folder in reversed(owners.items())}  # one image of each, the first
    stray = folders.pop("", None)
    if folders and stray is not None:
        raise UserError(
            f"{tree.location} holds images both itself ({stray}) and in sub-folders ({min(folders)}); "
            "put every image into the folder of its class, or all into one folder"
        )
    return sorted(folders) if len(folders) > 1 else None
