"""A dataset of records that carry all that a text-to-image method can be told, made in a moment: bars on 16x16."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ganlib.data import Columns, Dataset, Preparation, prepare_dataset
from ganlib.data.sources.base import Record

from .data.list_source import ListSource

COLOURS = ("red", "green", "blue")
TRAIN, TEST = 40, 10
ALL = Columns(class_names=list(COLOURS), captions=True, boxes=True, keypoint_names=["first", "last", "none"])


def bars(into: Path, columns: Columns = ALL, size: int = 16, channels: Literal[1, 3] = 3) -> Dataset:
    """40 training and 10 test records of a bright bar each; test captions hold a word that training has not seen."""
    source = ListSource(
        {f"{row:04d}": _bar(row, columns) for row in range(TRAIN + TEST)},
        columns,
        {"train": range(TRAIN), "test": range(TRAIN, TRAIN + TEST)},
    )
    return prepare_dataset(source, Preparation(size=size, channels=channels), into, "bars")


def _bar(row: int, columns: Columns) -> Record:
    """A bar in its box, in one of three channels; one caption for even rows, two for odd ones."""
    rng = np.random.default_rng(row)
    (x, y), (width, height) = rng.integers(0, 8, 2).tolist(), rng.integers(3, 9, 2).tolist()
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[y : y + height, x : x + width, row % 3] = 200
    colour = COLOURS[row % 3]
    captions = [f"a {colour} bar" if row < TRAIN else f"a {colour} barrel"]
    if row % 2:
        captions.append(f"something {colour}, bar-shaped")
    points = np.array([[x + 0.5, y + 0.5, 1], [x + width - 0.5, y + height - 0.5, 1], [0, 0, 0]], np.float32)
    return Record(
        Image.fromarray(pixels),
        label=row % 3 if columns.class_names else None,
        captions=tuple(captions) if columns.captions else (),
        box=(x, y, width, height) if columns.boxes else None,
        keypoints=points if columns.keypoint_names else None,
    )
