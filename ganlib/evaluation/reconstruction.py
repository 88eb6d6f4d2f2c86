"""Judging a generator that makes images from images: what it makes of images that its training has not seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganlib.data.dataset import Dataset
from ganlib.evaluation.confidence import Estimate
from ganlib.inputs import held_out, told_of
from ganlib.sampling import Sampler

BLOCK = 1_000


class Reconstructions:
    """The images of a dataset's held-out split as `sampler` makes them again: samples for `evaluate`.

    There are no more of them than that split has images (`count`).
    """

    def __init__(self, sampler: Sampler, dataset: Dataset):
        self.sampler, self.dataset = sampler, dataset
        self.count = len(held_out(dataset))

    def sample(self, count: int, seed: int = 0, first: int = 0) -> NDArray[np.uint8]:
        """uint8 [count, H, W, C]: images `first ...` in the seed's order, made again."""
        return self.sampler.sample(count, **self._told(count, seed, first))

    def metrics(self, count: int, seed: int) -> dict[str, float]:
        """`reconstruction/l1`: E|x - G(E(x))| of `count` images in [-1, 1], over all their numbers; and, as
        `reconstruction_se/l1`, its standard error."""
        each = []
        for first in range(0, count, BLOCK):
            size = min(BLOCK, count - first)
            told = self._told(size, seed, first)
            inputs, made = told["inputs"], self.sampler.sample(size, **told)
            each.append(np.abs(inputs.astype(np.int16) - made.astype(np.int16)).mean((1, 2, 3)) / 127.5)
        found = Estimate.of(np.concatenate(each))
        errors = {"reconstruction_se/l1": found.error} if count > 1 else {}
        return {"reconstruction/l1": found.value, **errors}

    def _told(self, count: int, seed: int, first: int) -> dict[str, Any]:
        return told_of(self.dataset, self.sampler.recipe.method, count, seed, first)
