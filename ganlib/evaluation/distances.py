"""Distances between sets of images, from the statistics of their features."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh, eigvalsh

from ganlib.evaluation.statistics import FeatureStatistics


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Heusel et al. 2017, arXiv 1706.08500, eq. 6).

    tr (C_a C_b)^(1/2) is taken as the sum of the square roots of the eigenvalues of S C_b S with S = C_a^(1/2), which
    is symmetric: no complex numbers arise, and rank-deficient covariances (fewer images than features) need no special
    care.
    """
    cov_a, cov_b = a.covariance, b.covariance
    values, vectors = eigh(cov_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    cross = np.sqrt(np.clip(eigvalsh(root @ cov_b @ root), 0, None)).sum()
    return float(np.square(a.mean - b.mean).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


def inception_score(statistics: FeatureStatistics) -> float:
    """exp(E_x KL(p(y|x) || p(y))) (Salimans et al. 2016, arXiv 1606.03498), between 1 and the number of classes."""
    assert statistics.probabilities is not None
    marginal = statistics.probabilities / statistics.count
    entropy = -float((marginal * np.log(np.maximum(marginal, np.finfo(np.float64).tiny))).sum())
    return float(np.exp(statistics.negative_entropy / statistics.count + entropy))


def mode_shares(statistics: FeatureStatistics) -> np.ndarray:
    """float64 [classes]: the share of the images that the classifier counts to each class."""
    assert statistics.classes is not None
    return statistics.classes / statistics.count


def kl_divergence(shares: np.ndarray, reference: np.ndarray) -> float:
    """KL(q || w) = sum_i q_i log(q_i / w_i) in nats, of shares q [k] to shares w [k], w above 0 where q is.

    Of modes this is the reverse KL of PacGAN (Lin et al. 2018): 0 for the reference's own shares, log k for one mode of
    k equal ones.
    """
    present = shares > 0
    return float((shares[present] * np.log(shares[present] / reference[present])).sum())
