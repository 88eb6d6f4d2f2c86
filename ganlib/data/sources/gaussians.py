"""Points drawn from mixtures of Gaussians whose density is known in closed form: a truth to check a GAN against."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganlib.data.columns import Columns
from ganlib.data.reading import Reading
from ganlib.data.sources.base import Record, Source
from ganlib.data.sources.numbered import NumberedNames, record_generator
from ganlib.errors import UserError
from ganlib.files import canonical_digest


@dataclass(frozen=True)
class GaussianMixture:
    """sum_k weight_k N(mean_k, sigma_k^2 I) over R^d.

    means: k of d numbers. sigmas: k standard deviations, the same in every direction. weights: k, adding up to 1.
    """

    means: tuple[tuple[float, ...], ...]
    sigmas: tuple[float, ...]
    weights: tuple[float, ...]

    @property
    def dimensions(self) -> int:
        return len(self.means[0])

    def density(self, points: ArrayLike) -> NDArray[np.float64]:
        """float64 [n], the density at `points` [n, d]."""
        means, sigmas, weights = self._arrays
        x = np.asarray(points, np.float64).reshape(-1, 1, self.dimensions)
        squares = ((x - means) ** 2).sum(axis=2)  # [n, k]
        peaks = weights / (2 * math.pi * sigmas**2) ** (self.dimensions / 2)
        return (peaks * np.exp(-squares / (2 * sigmas**2))).sum(axis=1)

    def sample(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Points float64 [count, d], and the mode int64 [count] that each was drawn from."""
        means, sigmas, weights = self._arrays
        modes = np.searchsorted(weights.cumsum()[:-1], rng.random(count), side="right")
        return means[modes] + sigmas[modes, None] * rng.standard_normal((count, self.dimensions)), modes

    @cached_property
    def _arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """means [k, d], sigmas [k], weights [k]."""
        return np.array(self.means), np.array(self.sigmas), np.array(self.weights)


def _even(means: list[tuple[float, float]], sigma: float) -> GaussianMixture:
    count = len(means)
    return GaussianMixture(tuple(means), (sigma,) * count, (1 / count,) * count)


_TRUTHS = {
    "gaussian-mixture-1d": GaussianMixture(means=((-1.0,), (1.5,)), sigmas=(0.35, 0.25), weights=(0.6, 0.4)),
    "gaussian-ring": _even([(2 * math.cos(k * math.pi / 4), 2 * math.sin(k * math.pi / 4)) for k in range(8)], 0.02),
    "gaussian-grid": _even([(float(x), float(y)) for x, y in product(range(-4, 5, 2), repeat=2)], 0.05),
}


def known_truth(kind: str) -> GaussianMixture | None:
    """What a source of this kind draws from; None where that is not known in closed form.

    "gaussian-mixture-1d": 0.6 N(-1, 0.35^2) + 0.4 N(1.5, 0.25^2), our own. "gaussian-ring": 8 modes of equal weight on
    the circle of radius 2, sigma 0.02, as in Metz et al. 2016 (arXiv 1611.02163); VEEGAN (arXiv 1705.07761) draws the
    same ring at half the scale, radius 1 and sigma 0.01. "gaussian-grid": 25 modes of equal weight at
    {-4, -2, 0, 2, 4}^2, sigma 0.05, as in PacGAN (arXiv 1712.04086), after VEEGAN.
    """
    return _TRUTHS.get(kind)


class GaussianSource(Source):
    """`reading.count` points, float32 [1, d, 1]; the label is the mode. Point i is a function of (reading.seed, i)."""

    def __init__(self, kind: str, reading: Reading) -> None:
        truth = known_truth(kind)
        if truth is None:
            raise UserError(f"no mixture of Gaussians is called {kind!r}; they are {', '.join(_TRUTHS)}")
        self.kind = self.name = kind
        self.reading = reading
        self._truth, self._count, self._seed = truth, reading.count, reading.seed

    @property
    def columns(self) -> Columns:
        return Columns(dtype="float32", class_names=[str(mode) for mode in range(len(self._truth.weights))])

    @cached_property
    def names(self) -> NumberedNames:
        return NumberedNames([("", self._count)])

    def fingerprint(self) -> str:
        return canonical_digest({"kind": self.kind, "version": 1, "count": self._count, "seed": self._seed})

    def read(self, index: int) -> Record:
        points, modes = self._truth.sample(1, record_generator(self._seed, index))
        return Record(points.astype(np.float32).reshape(1, -1, 1), label=int(modes[0]))
