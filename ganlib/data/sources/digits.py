"""The digits bundled with scikit-learn: 1,797 of real handwriting, 8x8x1, ten classes; nothing to download."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganlib.data.columns import Columns
from ganlib.data.sources.base import Record, Source
from ganlib.data.sources.numbered import read_once
from ganlib.files import canonical_digest

_COUNT, _SHAPE = 1797, (8, 8, 1)


class DigitsSource(Source):
    kind = "digits"
    name = "digits"

    @property
    def columns(self) -> Columns:
        return Columns(class_names=[str(digit) for digit in range(10)])

    @cached_property
    def names(self) -> list[str]:
        return [f"{index:04d}" for index in range(_COUNT)]

    def fingerprint(self) -> str:
        return canonical_digest({"kind": self.kind, "version": 1})  # the data set has not changed since 1998

    def read(self, index: int) -> Record:
        images, labels = _bundle()
        return Record(Image.fromarray(images[index]), label=int(labels[index]))

    def block(self, rows: range, image_shape: tuple[int, int, int]) -> NDArray[np.uint8] | None:
        return _bundle()[0][np.asarray(rows), ..., None] if image_shape == _SHAPE else None

    def labels(self, rows: range) -> NDArray[np.int64]:
        return _bundle()[1][np.asarray(rows)]


def _bundle() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8 [1797, 8, 8] and int64 [1797]."""
    return read_once("digits", _load)


def _load() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from sklearn.datasets import load_digits  # a slow import, needed here only

    levels, labels = load_digits(return_X_y=True)
    # 17 levels of ink, 0 to 16, spread over 0 to 255.
    images = np.round(levels.reshape(-1, *_SHAPE[:2]) * (255 / 16)).astype(np.uint8)
    return images, labels.astype(np.int64)
