"""Points judged by the mixture of Gaussians that they should have been drawn from.

The definitions are those of the literature on mode collapse, VEEGAN (Srivastava et al. 2017, arXiv 1705.07761, section
4) and PacGAN (Lin et al. 2018, arXiv 1712.04086, section 4.1): a point belongs to the nearest mode, and is of high
quality within three standard deviations of it. What part of the density itself lies there is `truth_high_quality`:
0.9889 in the plane, 0.9973 on the line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from ganlib.data.sources.gaussians import GaussianMixture
from ganlib.evaluation.distances import frechet_distance
from ganlib.evaluation.statistics import FeatureStatistics

WITHIN = 3.0
"""Standard deviations from its mode up to which a point is of high quality."""

COVERED = 20 / 2_500
"""The share of all samples that has to be of high quality at a mode for that to be covered: 20 of the 2,500 that those
papers draw. One stray point, which ten thousand samples always have, does not cover a mode."""


def mode_metrics(points: NDArray[np.floating], truth: GaussianMixture) -> dict[str, float]:
    """What `points` [n, d] have of the modes of `truth`, n > 0.

    `modes/covered`: how many get at least `COVERED` of the samples in high quality. `modes/high_quality`: the share of
    the samples within `WITHIN` sigma of the nearest mode. `modes/kl`: KL(q || w) in nats, q the shares of the samples
    by nearest mode, w the weights of the modes (PacGAN's reverse KL); 0 for the density itself, log(8) for a ring in one
    mode of 8. `mode_share/K`: q itself; `mode_share_min`: the smallest.
    """
    modes, good = assign(points, truth)
    weights = np.asarray(truth.weights)
    shares = np.bincount(modes, minlength=len(weights)) / len(points)
    high = np.bincount(modes[good], minlength=len(weights)) / len(points)
    present = shares > 0
    kl = float((shares[present] * np.log(shares[present] / weights[present])).sum())
    return {
        "modes/covered": float((high >= COVERED).sum()),
        "modes/high_quality": float(good.mean()),
        "modes/kl": kl,
        **{f"mode_share/{mode}": float(share) for mode, share in enumerate(shares)},
        "mode_share_min": float(shares.min()),
    }


def assign(
    points: NDArray[np.floating], truth: GaussianMixture
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """int64 [n], the nearest mode of each of `points` [n, d], and bool [n], whether it is within `WITHIN` sigma."""
    means, sigmas = np.asarray(truth.means), np.asarray(truth.sigmas)
    # The distances [n, k] are Euclidean, not in sigmas: a wide mode must not take its narrow neighbour's points.
    distances = np.linalg.norm(points.astype(np.float64)[:, None, :] - means, axis=2)
    modes = distances.argmin(1)
    return modes, distances[np.arange(len(points)), modes] <= WITHIN * sigmas[modes]


def truth_high_quality(dimensions: int) -> float:
    """P(|x| <= WITHIN) for x ~ N(0, I) in so many dimensions: what a perfect generator's high quality is."""
    return float(chi2.cdf(WITHIN**2, dimensions))


def point_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Frechet distance between `a` [n, d] and `b` [m, d], the points themselves being the features.

    It sees means and covariances alone: eight modes and a disc of the same variance are one to it.
    """
    sums = [FeatureStatistics.of(points.astype(np.float64), None) for points in (a, b)]
    return frechet_distance(*sums)
