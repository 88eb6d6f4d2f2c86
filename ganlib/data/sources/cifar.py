"""CIFAR-10's binary version: batches of records of one label byte and 3,072 bytes, planes of red, green and blue."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganlib.data.columns import Columns
from ganlib.data.sources.base import Record, Source, SplitName
from ganlib.data.sources.numbered import NumberedNames, read_once
from ganlib.data.storage import Location
from ganlib.errors import UserError
from ganlib.files import canonical_digest

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
_SHAPE = (32, 32, 3)
_RECORD = 1 + 32 * 32 * 3


class _Content(NamedTuple):
    """uint8 [n, 32, 32, 3] and int64 [n], the training batches in their order and then the test batch."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


class Cifar10Source(Source):
    """The folder of the six .bin files (Krizhevsky 2009); only the training files need be there in any number.

    The files are read when their content is first asked for, once in a process. Raises UserError for no training file,
    and for a file that is no whole number of records or holds a label past 9.
    """

    kind = "cifar10"
    location: Location

    def __init__(self, location: Location) -> None:
        self.name = "cifar10"
        self.location = location
        present = {entry.name: entry for entry in location.list()}
        train = [present[name] for name in TRAIN_FILES if name in present]
        if not train:
            raise UserError(f"{location} has no {TRAIN_FILES[0]}; is it the folder of CIFAR-10's binary version?")
        self._files = [*train, *([present[TEST_FILE]] if TEST_FILE in present else [])]
        for file in self._files:
            if not file.size or file.size % _RECORD:
                raise UserError(
                    f"{location / file.name} is cut short or no CIFAR-10 batch: {file.size:,} bytes, expected a "
                    f"multiple of {_RECORD:,}"
                )
        self._train_rows = sum(file.size for file in train) // _RECORD
        self._test_rows = sum(file.size for file in self._files) // _RECORD - self._train_rows

    @property
    def columns(self) -> Columns:
        return Columns(class_names=CLASSES)

    @cached_property
    def names(self) -> NumberedNames:
        return NumberedNames([("train/", self._train_rows), ("test/", self._test_rows)])

    @property
    def splits(self) -> Mapping[SplitName, range] | None:
        if not self._test_rows:
            return None
        return {"train": range(self._train_rows), "test": range(self._train_rows, self._train_rows + self._test_rows)}

    def fingerprint(self) -> str:
        return canonical_digest([self.kind, str(self.location), self._files])

    def read(self, index: int) -> Record:
        content = self._content()
        return Record(Image.fromarray(content.images[index]), label=int(content.labels[index]))

    def block(self, rows: range, image_shape: tuple[int, int, int]) -> NDArray[np.uint8] | None:
        return self._content().images[np.asarray(rows)] if image_shape == _SHAPE else None

    def labels(self, rows: range) -> NDArray[np.int64]:
        return self._content().labels[np.asarray(rows)]

    def _content(self) -> _Content:
        return read_once(self.fingerprint(), self._read)

    def _read(self) -> _Content:
        images, labels = [], []
        for file in self._files:
            path = self.location / file.name
            content = np.frombuffer(path.read(), np.uint8)
            if len(content) != file.size:
                raise UserError(f"{path} has changed while it was read; begin again")
            records = content.reshape(-1, _RECORD)
            if records[:, 0].max() >= len(CLASSES):
                raise UserError(f"{path} holds the label {records[:, 0].max()}, but CIFAR-10 has 10 classes")
            labels.append(records[:, 0].astype(np.int64))
            images.append(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        return _Content(np.concatenate(images), np.concatenate(labels))
