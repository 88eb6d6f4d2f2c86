"""Distances between sets of images, from the statistics of their features."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg.lapack import dpstrf, dsygst

from ganlib.errors import UserError
from ganlib.evaluation.features import BROKEN
from ganlib.evaluation.statistics import FeatureStatistics

ROUNDING = 1e-13
"""What sums of squares keep of rounding, relative to themselves: a feature of less variance than this share of its mean
square is constant. Some hundred times float64's own, as a thousand equal numbers added up may be off by that."""


NO_PROBABILITIES = "class probabilities are NaN or infinite: the images, or the weights of the classifier, are broken"


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Heusel et al. 2017, arXiv 1706.08500, eq. 6).

    With C_a = F F^T, C_a C_b has the eigenvalues of F^T C_b F and zeros besides; that is symmetric, so its eigenvalues
    cost a tenth of a matrix's root and no complex numbers arise. F is the Cholesky factor with pivots (Higham 1990,
    "Analysis of the Cholesky decomposition of a semi-definite matrix"), which ends where what is left of C_a is mere
    rounding: the root would make 1e-8 of a zero that was rounded to 1e-16. So sets of fewer images than features, and
    with features that are constant, have the right number to 1e-7 and better.

    Raises UserError for fewer than two images on a side, and for features that are not finite; ValueError for features
    of different dimensions.
    """
    if a.total.shape != b.total.shape:
        raise ValueError(f"features of {len(a.total)} and of {len(b.total)} dimensions have no distance")
    for side in (a, b):
        if side.count < 2:
            raise UserError(f"a Frechet distance needs two images on each side; one has {side.count}: ask for more")
        if not np.isfinite(np.trace(side.outer)):
            raise UserError(BROKEN)
    shift = np.square(a.mean - b.mean).sum()
    spread = _variances(a).sum() + _variances(b).sum()
    return float(shift + spread - 2 * _trace_of_root(*sorted((a, b), key=lambda side: side.count)))


def _trace_of_root(few: FeatureStatistics, many: FeatureStatistics) -> float:
    """tr (C_few C_many)^(1/2), `few` being the side that is factored: its rank is at most its count less one."""
    # A constant feature is a row of zeros of F: what the other side has there is multiplied by nothing.
    rows = np.flatnonzero((_variances(few) > 0) & (_variances(many) > 0))
    if not len(rows):
        return 0.0
    ours, theirs = few.covariance, many.covariance
    if len(rows) < len(few.total):
        ours, theirs = (side[np.ix_(rows, rows)] for side in (ours, theirs))
    between = torch.from_numpy(_between(ours, theirs, few.count - 1))
    return float(torch.linalg.eigvalsh(between).clamp(min=0).sqrt().sum())


def _between(a: np.ndarray, b: np.ndarray, most: int) -> np.ndarray:
    """The lower triangle of F^T b F [r, r] with F F^T = a, of rank r <= `most`, but for the order of its rows; a, b:
    float64 [d, d], symmetric."""
    dim = len(a)
    factor, order, rank, _ = dpstrf(a, lower=1, tol=dim * np.finfo(a.dtype).eps * a.diagonal().max())
    b = b[np.ix_(order - 1, order - 1)]
    if (rank := min(rank, most)) == dim:
        # LAPACK knows that one is triangular and the other symmetric: a third of the time of two products.
        return dsygst(b, factor, itype=2, lower=1)[0]
    factor = np.tril(factor)[:, :rank]
    return factor.T @ b @ factor


def _variances(statistics: FeatureStatistics) -> np.ndarray:
    """float64 [d], unbiased: the covariance's diagonal, but 0 of what is constant."""
    squares = statistics.outer.diagonal()
    about_mean = squares - statistics.count * np.square(statistics.mean)
    return np.where(about_mean > ROUNDING * squares, about_mean, 0) / (statistics.count - 1)


def inception_score(statistics: FeatureStatistics) -> float:
    """exp(E_x KL(p(y|x) || p(y))) (Salimans et al. 2016, arXiv 1606.03498), between 1 and the number of classes.

    Raises UserError for probabilities that are not numbers.
    """
    assert statistics.probabilities is not None
    _require_numbers(statistics)
    marginal = statistics.probabilities / statistics.count
    entropy = -float((marginal * np.log(np.maximum(marginal, np.finfo(np.float64).tiny))).sum())
    return float(np.exp(statistics.negative_entropy / statistics.count + entropy))


def mode_shares(statistics: FeatureStatistics) -> np.ndarray:
    """float64 [classes]: the share of the images that the classifier counts to each class.

    Raises UserError for probabilities that are not numbers.
    """
    assert statistics.classes is not None
    _require_numbers(statistics)
    return statistics.classes / statistics.count


def _require_numbers(statistics: FeatureStatistics) -> None:
    """Finite features may lie under probabilities that are NaN, and the largest of these is a class like any other."""
    if not np.isfinite(statistics.negative_entropy):
        raise UserError(NO_PROBABILITIES)


def kl_divergence(shares: np.ndarray, reference: np.ndarray) -> float:
    """KL(q || w) = sum_i q_i log(q_i / w_i) in nats, of shares q [k] to shares w [k], w above 0 where q is.

    Of modes this is the reverse KL of PacGAN (Lin et al. 2018): 0 for the reference's own shares, log k for one mode of
    k equal ones.
    """
    present = shares > 0
    return float((shares[present] * np.log(shares[present] / reference[present])).sum())
