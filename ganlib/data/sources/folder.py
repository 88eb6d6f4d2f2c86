"""A folder of image files: flat, or one sub-folder a class."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganlib.data.pixels import decode
from ganlib.data.sources.base import BadRecordError, Source
from ganlib.errors import UserError
from ganlib.files import canonical_digest, file_digest

_EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif"}


class FolderSource(Source):
    """Every image file below `folder`, named and ordered by its path in it; names beginning with a dot are passed over.

    Where two or more sub-folders hold images, each is a class, in the order of their names. Images in `folder` itself,
    or in one sub-folder only, have no labels. Raises UserError for no images, or for images both in `folder` itself and
    in sub-folders.
    """

    kind = "folder"

    def __init__(self, folder: Path) -> None:
        self.name = _text(folder.resolve().name)
        try:
            paths = {_text(path.relative_to(folder).as_posix()): path for path in _image_files(folder)}
        except OSError as error:
            raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
        if not paths:
            raise UserError(f"{folder} holds no images ({', '.join(sorted(_EXTENSIONS))}); is it the right folder?")
        self._names = sorted(paths)
        self._paths = [paths[name] for name in self._names]
        self._classes, self._labels = _classes(folder, self._names)

    def digest(self) -> str:
        with ThreadPoolExecutor() as pool:
            return canonical_digest(list(zip(self._names, pool.map(file_digest, self._paths), strict=True)))

    @property
    def names(self) -> Sequence[str]:
        return self._names

    @property
    def labels(self) -> NDArray[np.int64] | None:
        return self._labels

    @property
    def class_names(self) -> list[str] | None:
        return self._classes

    def image(self, index: int) -> Image.Image:
        try:
            data = self._paths[index].read_bytes()
        except OSError as error:
            raise BadRecordError(f"cannot be read: {error.strerror}") from error
        return decode(data)


def _image_files(folder: Path) -> list[Path]:
    """Links are followed to files and to the sub-folders of `folder`, no deeper: a deeper one may lead back up."""
    files: list[Path] = []
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            for parent, folders, names in os.walk(entry, onerror=_raise):
                folders[:] = [name for name in folders if not name.startswith(".")]
                files += (Path(parent, name) for name in names if not name.startswith("."))
        else:
            files.append(entry)
    return [file for file in files if file.suffix.lower() in _EXTENSIONS]


def _classes(folder: Path, names: Sequence[str]) -> tuple[list[str] | None, NDArray[np.int64] | None]:
    owners = [name.split("/")[0] if "/" in name else None for name in names]
    classes = sorted({owner for owner in owners if owner is not None})
    if classes and None in owners:
        raise UserError(
            f"{folder} holds images both itself ({names[owners.index(None)]}) and in sub-folders ({classes[0]}); "
            "put every image into the folder of its class, or all into one folder"
        )
    if len(classes) < 2:
        return None, None
    index = {name: label for label, name in enumerate(classes)}
    return classes, np.array([index[owner] for owner in owners if owner is not None], np.int64)


def _text(name: str) -> str:
    """A file name that is not UTF-8, which neither JSON nor Arrow can hold, with its odd bytes spelled out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _raise(error: OSError) -> None:
    raise error
