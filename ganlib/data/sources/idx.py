"""IDX files, as MNIST and its kin come: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-..., raw or gzip."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganlib.data.columns import Columns
from ganlib.data.sources.base import SPLITS, Record, Source, SplitName
from ganlib.data.sources.numbered import NumberedNames, read_once
from ganlib.data.storage import FileEntry, Location, StoreError
from ganlib.errors import UserError
from ganlib.files import canonical_digest

_PREFIX: dict[SplitName, str] = {"train": "train", "test": "t10k"}
_IMAGES, _LABELS = "%s-images-idx3-ubyte", "%s-labels-idx1-ubyte"
# DEFLATE packs at most 1,032 bytes into one (258 from two bits), so a file's size bounds what a header may claim of it.
_MOST_INFLATION = 1032

_Arrays = dict[SplitName, NDArray[np.uint8]]


class _Files(NamedTuple):
    images: FileEntry
    labels: FileEntry | None


class IdxSource(Source):
    """The IDX files of a folder; labels and test files may be absent. Where `x` and `x.gz` both stand, `x.gz` is read.

    Opening looks at names alone; the files are read when their content is first asked for, once in a process, and
    anything wrong with them raises UserError then. Labels are classes, 0 to the greatest that there is.
    """

    kind = "idx"

    def __init__(self, location: Location) -> None:
        self.name = location.name
        self._location = location
        self._files = _find_files(location)
        files = [(file.name, file.size, file.modified_ns) for pair in self._files.values() for file in pair if file]
        self._fingerprint = canonical_digest([self.kind, str(location), files])

    @staticmethod
    def is_in(location: Location) -> bool:
        """Whether any of the four files is in this folder; opening says which one is missing."""
        present = {entry.name.removesuffix(".gz") for entry in location.list()}
        return any(name % prefix in present for prefix in _PREFIX.values() for name in (_IMAGES, _LABELS))

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

    def _images(self) -> _Arrays:
        """uint8 [n, h, w] a split; raises UserError for files that do not belong together."""
        return read_once(self._fingerprint + "/images", self._read_images)

    def _labels(self) -> _Arrays | None:
        """uint8 [n] a split; None where there are none."""
        if self._files["train"].labels is None:
            return None
        return read_once(self._fingerprint + "/labels", self._read_labels)

    def _read_images(self) -> _Arrays:
        images = {split: self._read_file(files.images, 3) for split, files in self._files.items()}
        sizes = {array.shape[1:] for array in images.values()}
        if len(sizes) > 1:
            (h, w), (test_h, test_w) = images["train"].shape[1:], images["test"].shape[1:]
            path = self._location / self._files["test"].images.name
            raise UserError(f"{path} holds {test_h}x{test_w} images, the training file {h}x{w}")
        for split, labels in (self._labels() or {}).items():
            if len(labels) != len(images[split]):
                images_file, labels_file = self._files[split]
                assert labels_file is not None
                raise UserError(
                    f"{self._location / labels_file.name} holds {len(labels)} labels, but {images_file.name} holds "
                    f"{len(images[split])} images; take both files from the same data set"
                )
        return images

    def _read_labels(self) -> _Arrays:
        return {split: self._read_file(files.labels, 1) for split, files in self._files.items() if files.labels}

    def _read_file(self, file: FileEntry, dimensions: int) -> NDArray[np.uint8]:
        return read_idx(self._location / file.name, dimensions)


def read_idx(path: Path | Location, dimensions: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file, gzip when its name ends in .gz.

    Never allocates more than the file can hold. Raises UserError for a wrong magic number, a header that disagrees with
    the body, no content, or broken compression.
    """
    location = Location.of(path)
    size, packed = location.size(), location.name.endswith(".gz")
    try:
        with location.open() as raw:
            file = gzip.GzipFile(fileobj=raw) if packed else raw
            return _parse(location, file, size * (_MOST_INFLATION if packed else 1), dimensions)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{location} is a broken gzip file ({error}); fetch it again") from error
    except OSError as error:
        kind = UserError if location.local else StoreError
        raise kind(f"cannot read {location}: {error.strerror or ' '.join(str(error).split())}") from error


def _parse(path: Location, file: Any, most: int, dimensions: int) -> NDArray[np.uint8]:
    header_size = 4 + 4 * dimensions
    header = file.read(header_size)
    magic = 0x0800 + dimensions  # 08: unsigned bytes
    if header[:4] != magic.to_bytes(4, "big"):
        raise UserError(
            f"{path} begins with 0x{header[:4].hex()}, expected 0x{magic:08x} "
            f"(IDX, unsigned bytes, {dimensions} dimensions)"
        )
    if len(header) < header_size:
        raise UserError(f"{path} ends within its header: {len(header)} bytes, expected {header_size}")
    shape = tuple(int(n) for n in np.frombuffer(header, ">u4", offset=4))
    expected = math.prod(shape)
    claim = f"its header says {' x '.join(map(str, shape))} = {expected:,} bytes"
    if expected == 0:
        raise UserError(f"{path} holds nothing: {claim}")
    if expected > most:
        raise UserError(f"{path} is cut short or its header lies: {claim}, the file can hold at most {most:,}")
    # In pieces, so that memory grows with what is really there.
    body = bytearray()
    while piece := file.read(min(1 << 20, expected + 1 - len(body))):
        body += piece
    if len(body) < expected:
        raise UserError(f"{path} is cut short or its header lies: {claim}, {len(body):,} follow it")
    if len(body) > expected:
        raise UserError(f"{path} goes on after its end or its header lies: {claim}, more follow it")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _rows(splits: _Arrays, rows: range) -> NDArray[np.uint8]:
    """These rows of the arrays joined; a view where they lie in one of them."""
    start = 0
    for array in splits.values():
        if rows.step == 1 and start <= rows.start and rows.stop <= start + len(array):
            return array[rows.start - start : rows.stop - start]
        start += len(array)
    return np.concatenate(list(splits.values()))[np.asarray(rows, np.int64)]


def _find_files(location: Location) -> dict[SplitName, _Files]:
    present = {entry.name: entry for entry in location.list() if not entry.folder}

    def find(name: str) -> FileEntry | None:
        return present.get(f"{name}.gz") or present.get(name)

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
