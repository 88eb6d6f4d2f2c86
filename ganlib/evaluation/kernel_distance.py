"""The kernel distance: unlike Frechet's, its expectation does not depend on how many images it is taken of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganlib.evaluation.confidence import SPLITS, deletion_error
from ganlib.evaluation.features import Features, tensor_of

SUBSETS, SUBSET_SIZE, SUBSET_SEED = 100, 1_000, 2_020
"""Torch-fidelity's, so that its number is met."""
TILE = 2_048
"""Rows and columns of kernels that are there at once, 32 MB in float64."""


class KernelDistance(NamedTuple):
    """Mean and standard deviation over subsets, which overlap: the deviation is one subset's, not the mean's error.

    error: the mean's standard error over the samples' draw; NaN of fewer than `2 * SPLITS` samples.
    """

    mean: float
    spread: float
    error: float


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

    Given the images, the mean over subsets is that of all pairs, and what the choice of so many subsets adds: its
    variance is the jackknife's of all pairs, a tenth of the samples being left out in turn, and spread^2 / subsets.
    """
    if size > min(len(samples), len(reference)):
        raise ValueError(f"subsets of {size} cannot be drawn from {len(samples)} and {len(reference)} images")
    draw = np.random.RandomState(seed)
    ours, theirs = (np.zeros((subsets, len(side)), bool) for side in (samples, reference))
    for our, their in zip(ours, theirs, strict=True):
        for chosen in (our, their):
            chosen[draw.choice(len(chosen), size, replace=False)] = True
    splits = SPLITS if len(samples) >= 2 * SPLITS else 0
    without = np.arange(len(samples)) * splits // len(samples) != np.arange(splits)[:, None]
    whole = np.ones((splits, len(reference)), bool)
    found = squared_mmds(samples, reference, np.concatenate([ours, without]), np.concatenate([theirs, whole]))
    of_subsets, of_rest = found[:subsets], found[subsets:]
    spread = float(of_subsets.std())
    error = np.hypot(deletion_error(of_rest.tolist()), spread / np.sqrt(subsets)) if splits else np.nan
    return KernelDistance(float(of_subsets.mean()), spread, float(error))


def squared_mmds(
    samples: Features, reference: Features, ours: NDArray[np.bool_], theirs: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """float64 [k]: the unbiased squared maximum mean discrepancies of k choices of samples to k of reference images.

    samples [n, d], reference [m, d]; ours [k, n], theirs [k, m]: which of them each choice has. Gretton et al. 2012, "A
    kernel two-sample test", eq. 3, with the kernel of Binkowski et al. 2018, k(a, b) = (a.b / d + 1)^3. May be below 0.
    A kernel of two images is computed once for all choices, w^T K w being the sum of those of a choice w. Raises
    ValueError for a choice of less than two on either side, UserError for features that are not finite.
    """
    a, b = tensor_of(samples), tensor_of(reference)
    of_a, of_b = (torch.from_numpy(chosen).double() for chosen in (ours, theirs))
    n, m = of_a.sum(1), of_b.sum(1)
    if min(n.min(), m.min()) < 2:
        raise ValueError("the kernel distance takes two images and more on either side")
    within = _within(a, of_a) / (n * (n - 1)) + _within(b, of_b) / (m * (m - 1))
    return (within - 2 * _across(a, b, of_a, of_b) / (n * m)).numpy()


def _within(a: Tensor, chosen: Tensor) -> Tensor:
    """float64 [k]: of each choice [k, n] the sum of k(a_i, a_j) over i != j in it."""
    own = ((a.square().sum(1) / a.shape[1] + 1) ** 3).double()  # k(a_i, a_i)
    sums = -chosen @ own
    for top in range(0, len(a), TILE):
        rows = slice(top, top + TILE)
        sums += _across(a[rows], a[rows], chosen[:, rows], chosen[:, rows])
        sums += 2 * _across(a[rows], a[top + TILE :], chosen[:, rows], chosen[:, top + TILE :])
    return sums


def _across(a: Tensor, b: Tensor, of_a: Tensor, of_b: Tensor) -> Tensor:
    """float64 [k]: of each choice the sum of k(a_i, b_j) over i in of_a [k, n] and j in of_b [k, m]."""
    sums = torch.zeros(len(of_a), dtype=torch.float64)
    for top in range(0, len(a), TILE):
        for start in range(0, len(b), TILE):
            rows, columns = slice(top, top + TILE), slice(start, start + TILE)
            sums += ((of_a[:, rows] @ _kernel(a[rows], b[columns]).double()) * of_b[:, columns]).sum(1)
    return sums


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """[n, m] of [n, d] and [m, d]."""
    products = (a @ b.T).div_(a.shape[1]).add_(1)
    return products.square().mul_(products)
