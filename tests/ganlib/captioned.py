"""A dataset of records that carry all that a text-to-image method can be told, made in a moment: bars on 16x16."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ganlib.data import Dataset, Preparation, prepare_dataset
from ganlib.data.columns import Columns
from ganlib.data.sources.base import SPLITS, Record, Source, SplitName

COLOURS = ("red", "green", "blue")
SIZE = 16


class Bars(Source):
    """A bright bar in its box, in one of three channels; one caption for even records, two for odd ones."""

    kind, name = "bars", "bars"

    def __init__(self, count: int, columns: Columns) -> None:
        self.count, self._columns = count, columns

    @property
    def columns(self) -> Columns:
        return self._columns

    @property
    def names(self) -> list[str]:
        return [f"{row:04d}" for row in range(self.count + 10)]

    @property
    def splits(self) -> Mapping[SplitName, range]:
        return {SPLITS[0]: range(self.count), SPLITS[1]: range(self.count, self.count + 10)}

    def fingerprint(self) -> str:
        return f"bars {self.count} {self._columns}"

    def read(self, index: int) -> Record:
        rng = np.random.default_rng(index)
        x, y = (int(v) for v in rng.integers(0, 8, 2))
        width, height = (int(v) for v in rng.integers(3, 9, 2))
        colour = index % 3
        pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
        pixels[y : y + height, x : x + width, colour] = 200
        said = (f"a {COLOURS[colour]} bar",)
        if index % 2:
            said += (f"something {COLOURS[colour]}, and bar-shaped",)
        if index >= self.count:
            said = (f"a {COLOURS[colour]} barrel",)  # a word that training has not seen
        points = np.array([[x + 0.5, y + 0.5, 1], [x + width - 0.5, y + height - 0.5, 1], [0, 0, 0]], np.float32)
        columns = self._columns
        return Record(
            pixels_to_image(pixels),
            label=colour if columns.class_names else None,
            captions=said if columns.captions else (),
            box=(x, y, width, height) if columns.boxes else None,
            keypoints=points if columns.keypoint_names else None,
        )


def pixels_to_image(pixels: np.ndarray) -> object:
    from PIL import Image

    return Image.fromarray(pixels)


ALL = Columns(class_names=list(COLOURS), captions=True, boxes=True, keypoint_names=["first", "last", "none"])


def bars(into: Path, count: int = 40, columns: Columns = ALL) -> Dataset:
    return prepare_dataset(Bars(count, columns), Preparation(size=SIZE, channels=3), into, "bars")
