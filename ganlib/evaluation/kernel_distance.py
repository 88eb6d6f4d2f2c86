"""The kernel distance: unlike Frechet's, its expectation does not depend on how many images it is taken of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganlib.evaluation.features import Features, tensor_of

SUBSETS, SUBSET_SIZE, SUBSET_SEED = 100, 1_000, 2_020
"""Torch-fidelity's, so that its number is met."""


class KernelDistance(NamedTuple):
    """Mean and standard deviation over subsets, which overlap: the deviation is one subset's, not the mean's error."""

    mean: float
    spread: float


def kernel_distance(
    samples: Features,
    reference: Features,
    subsets: int = SUBSETS,
    size: int = SUBSET_SIZE,
    seed: int = SUBSET_SEED,
) -> KernelDistance:
    """Binkowski et al. 2018 (arXiv 1801.01401): KID, the squared MMD over random subsets.

    samples [n, d], reference [m, d], of one precision, in which kernels are computed; size: of a subset of each, at
    most n and m. Subsets are drawn as torch-fidelity draws them: from NumPy's Mersenne twister at `seed`, those of the
    samples and of the reference in turn. Raises ValueError where a set is smaller than a subset.
    """
    if size > min(len(samples), len(reference)):
        raise ValueError(f"subsets of {size} cannot be drawn from {len(samples)} and {len(reference)} images")
    draw = np.random.RandomState(seed)
    found = np.empty(subsets)
    for index in range(subsets):
        ours = samples[draw.choice(len(samples), size, replace=False)]
        theirs = reference[draw.choice(len(reference), size, replace=False)]
        found[index] = squared_mmd(ours, theirs)
    return KernelDistance(float(found.mean()), float(found.std()))


def disjoint_distances(samples: Features, reference: Features, parts: int) -> NDArray[np.float64]:
    """float64 [parts]: the squared MMD of each of so many equal parts of the samples to as many of the reference.

    What does not go into `parts` is left out. Each has the whole's expectation and no two share an image, so their mean
    is KID and their deviation over sqrt(parts) its standard error. Raises ValueError for less than two images a part.
    """
    sizes = [len(side) // parts for side in (samples, reference)]
    return np.array(
        [
            squared_mmd(*(side[part * size :][:size] for side, size in zip((samples, reference), sizes, strict=True)))
            for part in range(parts)
        ]
    )


def squared_mmd(x: Features, y: Features) -> float:
    """The unbiased squared maximum mean discrepancy of x [n, d] and y [m, d], k(a, b) = (a.b / d + 1)^3.

    Gretton et al. 2012, "A kernel two-sample test", eq. 3, with the kernel of Binkowski et al. 2018. May be below 0.
    Raises ValueError for less than two on either side, UserError for features that are not finite.
    """
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ValueError(f"the kernel distance of {n} and {m} images is not defined: it takes two on either side")
    a, b = tensor_of(x), tensor_of(y)
    within = [(_total(_kernel(side, side)) - _own(side)) / (len(side) * (len(side) - 1)) for side in (a, b)]
    return sum(within) - 2 * _total(_kernel(a, b)) / (n * m)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """[n, m] of [n, d] and [m, d]."""
    products = (a @ b.T).div_(a.shape[1]).add_(1)
    return products.square().mul_(products)


def _own(a: Tensor) -> float:
    """The sum of k(a_i, a_i)."""
    return _total((a.square().sum(1) / a.shape[1] + 1) ** 3)


def _total(values: Tensor) -> float:
    return values.sum(dtype=torch.float64).item()
