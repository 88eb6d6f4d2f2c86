"""MNIST's digits made into other data with a known truth: stacked into 1,000 classes, or placed on a larger canvas."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganlib.data.columns import Columns
from ganlib.data.reading import Reading
from ganlib.data.sources.base import SPLITS, BadRecordError, Record, Source, SplitName
from ganlib.data.sources.idx import IdxSource
from ganlib.data.sources.numbered import NumberedNames, record_generator
from ganlib.data.storage import Location
from ganlib.errors import UserError
from ganlib.files import canonical_digest

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PLACES = (
    ("in the top left", "at the top", "in the top right"),
    ("on the left", "in the centre", "on the right"),
    ("in the bottom left", "at the bottom", "in the bottom right"),
)
KEYPOINTS = ["top", "bottom", "left", "right", "centroid"]
_CANVAS, _SMALLEST, _LARGEST = 64, 20, 36
_INK = 32


class _MnistScenes(Source):
    """`reading.count` training records made of MNIST's training digits, and a sixth of that many of its test digits.

    location: the folder of the four IDX files; None: MNIST as torchvision downloads it. Record i is a function of
    (reading.seed, i). Raises UserError where test files or labels are missing.
    """

    def __init__(self, location: Location | None, reading: Reading) -> None:
        self.name = self.kind
        self.reading, self.location = reading, location
        self._count, self._seed = reading.count, reading.seed
        self._digits: Source
        if location is None:
            from ganlib.data.sources.torchvision_sets import TorchvisionSource

            self._digits = TorchvisionSource("mnist", Reading())
        else:
            self._digits = IdxSource(location)
        if self._digits.splits is None or self._digits.columns.class_names is None:
            raise UserError(f"{location} holds MNIST without its test files or its labels; {self.kind} needs all four")
        self._pools = dict(self._digits.splits)

    @cached_property
    def names(self) -> NumberedNames:
        return NumberedNames([("train/", self._count), ("test/", self._count // 6)])

    @property
    def splits(self) -> Mapping[SplitName, range]:
        return {split: self.names.rows(group) for group, split in enumerate(SPLITS)}

    def fingerprint(self) -> str:
        made = {"kind": self.kind, "version": 1, "count": self._count, "seed": self._seed}
        return canonical_digest([made, self._digits.fingerprint()])

    def read(self, index: int) -> Record:
        rng = record_generator(self._seed, index)
        return self._make(rng, self._pools[SPLITS[self.names.locate(index)[0]]])

    @abstractmethod
    def _make(self, rng: np.random.Generator, pool: range) -> Record:
        """One record of digits drawn from the rows `pool` of MNIST."""

    def _digit(self, row: int) -> tuple[NDArray[np.uint8], int]:
        """uint8 [28, 28], ink bright; and which digit it is."""
        record = self._digits.read(row)
        assert record.label is not None
        return np.asarray(record.image), record.label


class StackedMnistSource(_MnistScenes):
    """Three digits a, b, c drawn at random are the channels red, green, blue; the class is 100 a + 10 b + c.

    1,000 classes, for counting modes, as in Metz et al. 2016 (arXiv 1611.02163) and VEEGAN (arXiv 1705.07761).
    """

    kind = "stacked-mnist"

    @property
    def columns(self) -> Columns:
        return Columns(class_names=[f"{number:03d}" for number in range(1000)])

    def _make(self, rng: np.random.Generator, pool: range) -> Record:
        layers, digits = zip(*(self._digit(pool[row]) for row in rng.integers(len(pool), size=3)), strict=True)
        a, b, c = digits
        return Record(Image.fromarray(np.stack(layers, axis=2)), label=100 * a + 10 * b + c)


class PlacedMnistSource(_MnistScenes):
    """One digit, its longer side scaled to 20 to 36 pixels, anywhere on a black canvas of 64x64; it is the class.

    box: tight around the ink, which is what is brighter than 32. keypoints: the ink's first and last row (at the mean x
    of its ink), its first and last column (at the mean y), and the mean of all ink; a pixel counts at its middle, and
    all are seen. caption: "a seven in the top left", by the box's middle, on a grid of 3 by 3.
    """

    kind = "placed-mnist"

    @property
    def columns(self) -> Columns:
        digits = [str(digit) for digit in range(10)]
        return Columns(class_names=digits, captions=True, boxes=True, keypoint_names=KEYPOINTS)

    def _make(self, rng: np.random.Generator, pool: range) -> Record:
        pixels, digit = self._digit(pool[int(rng.integers(len(pool)))])
        left, top, width, height = _ink_box(pixels)
        scale = int(rng.integers(_SMALLEST, _LARGEST + 1)) / max(width, height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        scaled = Image.fromarray(pixels).resize(
            size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height)
        )
        canvas = Image.new("L", (_CANVAS, _CANVAS))
        canvas.paste(scaled, (int(rng.integers(_CANVAS - size[0] + 1)), int(rng.integers(_CANVAS - size[1] + 1))))
        drawn = np.asarray(canvas)
        box = _ink_box(drawn)
        return Record(canvas, label=digit, captions=(_caption(digit, box),), box=box, keypoints=_keypoints(drawn))


def _ink_box(pixels: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """x, y, width, height of the least box that holds all ink."""
    ys, xs = np.nonzero(pixels > _INK)
    if not len(xs):
        raise BadRecordError("the digit has no ink")
    left, top = int(xs.min()), int(ys.min())
    return left, top, int(xs.max()) + 1 - left, int(ys.max()) + 1 - top


def _keypoints(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 [5, 3]: KEYPOINTS of a picture that has ink."""
    ys, xs = np.nonzero(pixels > _INK)
    ends = (ys == ys.min(), ys == ys.max(), xs == xs.min(), xs == xs.max(), np.ones(len(xs), bool))
    return np.array([(xs[end].mean() + 0.5, ys[end].mean() + 0.5, 1) for end in ends], np.float32)


def _caption(digit: int, box: tuple[int, int, int, int]) -> str:
    x, y, width, height = box
    # Twice the middle, so that all is whole: a middle on a line of the grid belongs to the right, or below.
    place = PLACES[(2 * y + height) * 3 // (2 * _CANVAS)][(2 * x + width) * 3 // (2 * _CANVAS)]
    return f"{'an' if digit == 8 else 'a'} {DIGITS[digit]} {place}"
