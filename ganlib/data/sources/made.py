"""Sources made on the spot: nothing to fetch, and a truth to check against."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from PIL import Image

from ganlib.data.columns import Columns
from ganlib.data.reading import Reading
from ganlib.data.sources.base import Record, Source
from ganlib.data.sources.gaussians import GaussianMixture, GaussianSource, known_truth
from ganlib.data.sources.mnist_scenes import PlacedMnistSource, StackedMnistSource
from ganlib.data.sources.numbered import NumberedNames, record_generator
from ganlib.files import canonical_digest

__all__ = [
    "GaussianMixture",
    "GaussianSource",
    "PlacedMnistSource",
    "RandomFieldsSource",
    "StackedMnistSource",
    "known_truth",
]

_SIZE, _COARSE = 256, 8


class RandomFieldsSource(Source):
    """`reading.count` smooth fields of colour, 256x256 RGB: noise of 8x8 pixels, bicubically enlarged.

    For trying sizes: as many pixels as are wanted, from nothing. Field i is a function of (reading.seed, i).
    """

    kind = "random-fields"
    name = "random-fields"

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self._count, self._seed = reading.count, reading.seed

    @property
    def columns(self) -> Columns:
        return Columns()

    @cached_property
    def names(self) -> NumberedNames:
        return NumberedNames([("", self._count)])

    def fingerprint(self) -> str:
        return canonical_digest({"kind": self.kind, "version": 1, "count": self._count, "seed": self._seed})

    def read(self, index: int) -> Record:
        noise = record_generator(self._seed, index).integers(256, size=(_COARSE, _COARSE, 3), dtype=np.uint8)
        return Record(Image.fromarray(noise).resize((_SIZE, _SIZE), Image.Resampling.BICUBIC))
