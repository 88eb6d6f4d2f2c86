"""IDX files, as MNIST and its kin come: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-..., raw or gzip."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganlib.data.columns import Columns
from ganlib.data.sources.base import SPLITS, Record, Source, SplitName
from ganlib.data.sources.idx_files import PositionedImages, open_images, read_idx
from ganlib.data.sources.numbered import NumberedNames, read_once
from ganlib.data.storage import FileEntry, Location
from ganlib.errors import UserError
from ganlib.files import canonical_digest

_PREFIX: dict[SplitName, str] = {"train": "train", "test": "t10k"}
_IMAGES, _LABELS = "%s-images-idx3-ubyte", "%s-labels-idx1-ubyte"


class _Files(NamedTuple):
    images: FileEntry
    labels: FileEntry | None


class IdxSource(Source):
    """The IDX files of a folder; labels and test files may be absent. Where `x` and `x.gz` both stand, `x.gz` is read.

    Opening looks at names alone; the files are opened when their content is first asked for, once in a process, and
    anything wrong with them raises UserError then. Images of a raw file are read as they are asked for; a gzip file's
    are held whole in each process that reads them, so unpack one that is large. Labels, a byte each, are held. They are
    classes, 0 to the greatest that there is.
    """

    kind = "idx"
    location: Location

    def __init__(self, location: Location) -> None:
        self.name = location.name
        self.location = location
        self._files = _find_files(location)
        files = [(file.name, file.size, file.modified_ns) for pair in self._files.values() for file in pair if file]
        self._fingerprint = canonical_digest([self.kind, str(location), files])

    @property
    def columns(self) -> Columns:
        labels = self._labels()
        if labels is None:
            return Columns()
        most = max(int(array.max()) for array in labels.values())
        return Columns(class_names=[str(label) for label in range(most + 1)])

    @cached_property
    def names(self) -> NumberedNames:
        return NumberedNames((f"{split}/", len(images)) for split, images in self._images().items())

    @property
    def splits(self) -> Mapping[SplitName, range] | None:
        if "test" not in self._files:
            return None
        names = self.names
        return {split: names.rows(group) for group, split in enumerate(self._files)}

    def fingerprint(self) -> str:
        return self._fingerprint

    def read(self, index: int) -> Record:
        labels = self._labels()
        label = None if labels is None else int(_rows(labels, range(index, index + 1))[0])
        return Record(Image.fromarray(_rows(self._images(), range(index, index + 1))[0]), label=label)

    def block(self, rows: range, image_shape: tuple[int, int, int]) -> NDArray[np.uint8] | None:
        images = self._images()
        if image_shape != (*images["train"].shape[1:], 1):
            return None
        return _rows(images, rows)[..., None]

    def labels(self, rows: range) -> NDArray[np.int64]:
        labels = self._labels()
        assert labels is not None, "only sources with classes are asked for labels"
        return _rows(labels, rows).astype(np.int64)

    def _images(self) -> dict[SplitName, NDArray[np.uint8] | PositionedImages]:
        """uint8 [n, h, w] a split; raises UserError for files that do not belong together."""
        return read_once(self._fingerprint + "/images", self._open_images)

    def _labels(self) -> dict[SplitName, NDArray[np.uint8]] | None:
        """uint8 [n] a split; None where there are none."""
        if self._files["train"].labels is None:
            return None
        return read_once(self._fingerprint + "/labels", self._read_labels)

    def _open_images(self) -> dict[SplitName, NDArray[np.uint8] | PositionedImages]:
        images = {split: open_images(self.location / files.images.name) for split, files in self._files.items()}
        sizes = {array.shape[1:] for array in images.values()}
        if len(sizes) > 1:
            (h, w), (test_h, test_w) = images["train"].shape[1:], images["test"].shape[1:]
            path = self.location / self._files["test"].images.name
            raise UserError(f"{path} holds {test_h}x{test_w} images, the training file {h}x{w}")
        for split, labels in (self._labels() or {}).items():
            if len(labels) != len(images[split]):
                images_file, labels_file = self._files[split]
                assert labels_file is not None
                raise UserError(
                    f"{self.location / labels_file.name} holds {len(labels)} labels, but {images_file.name} holds "
                    f"{len(images[split])} images; take both files from the same data set"
                )
        return images

    def _read_labels(self) -> dict[SplitName, NDArray[np.uint8]]:
        there = {split: files.labels for split, files in self._files.items() if files.labels}
        return {split: read_idx(self.location / file.name, 1) for split, file in there.items()}


def _rows(splits: Mapping[SplitName, NDArray[np.uint8] | PositionedImages], rows: range) -> NDArray[np.uint8]:
    """These rows of the arrays joined; one piece of one of them where they lie so."""
    start = 0
    for array in splits.values():
        if rows.step == 1 and start <= rows.start and rows.stop <= start + len(array):
            return array[rows.start - start : rows.stop - start]
        start += len(array)
    return np.concatenate([_rows(splits, range(row, row + 1)) for row in rows])


def _find_files(location: Location) -> dict[SplitName, _Files]:
    present = {entry.name: entry for entry in location.list() if not entry.folder}

    def find(name: str) -> FileEntry | None:
        # Kaggle has them as train-images.idx3-ubyte.
        spellings = [name, name.replace("-idx", ".idx")]
        found = (present.get(spelling + suffix) for spelling in spellings for suffix in (".gz", ""))
        return next((file for file in found if file), None)

    files: dict[SplitName, _Files] = {}
    for split in SPLITS:
        images, labels = find(_IMAGES % _PREFIX[split]), find(_LABELS % _PREFIX[split])
        if images is not None:
            files[split] = _Files(images, labels)
        elif labels is not None or split == "train":
            raise UserError(f"{location} has no {_IMAGES % _PREFIX[split]}, raw or .gz")
    if len({found.labels is None for found in files.values()}) > 1:
        missing = next(split for split, found in files.items() if found.labels is None)
        raise UserError(f"{location} has labels for one split only: {_LABELS % _PREFIX[missing]} is missing")
    return files
