"""Points judged by the mixture of Gaussians that they should have been drawn from.

The words are those of the literature on mode collapse, VEEGAN (Srivastava et al. 2017, arXiv 1705.07761) and PacGAN
(Lin et al. 2018, arXiv 1712.04086): a point belongs to the nearest mode, and is of high quality within three standard
deviations of it. What share of the density itself lies there is `truth_high_quality`: 0.9889 in the plane, 0.9973 on
the line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtr

from ganlib.data.dataset import Dataset
from ganlib.data.sources.base import SplitName
from ganlib.data.sources.gaussians import GaussianMixture, known_truth
from ganlib.evaluation.confidence import SPLITS, deletion_error, error_of_share, jackknife_error
from ganlib.evaluation.distances import frechet_distance, kl_divergence
from ganlib.evaluation.names import beside, label_of
from ganlib.evaluation.samples import BLOCK, Samples
from ganlib.evaluation.statistics import FeatureStatistics
from ganlib.files import canonical_digest

WITHIN = 3.0
"""Standard deviations from its mode up to which a point is of high quality."""

COVERED = 20 / 2_500
"""The share of all samples that has to be of high quality at a mode for it to be covered: 20 of the 2,500 that those
papers draw. As a share it means the same of any number of samples, and a stray point or two cover nothing."""


def evaluate_points(
    samples: Samples,
    dataset: Dataset,
    count: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Judges `count` points against the training split, and against the density where the source's is known.

    P being the label of the density, or of the dataset where that is not known: `fid/P`: Frechet distance of the points
    themselves to the training split; `fid_se/P`: its standard error, of `2 * SPLITS` points and more; `fid_floor/P`:
    that of the test split (its first `count` points). `samples`, `samples_floor`: how many points the one and the other
    are of. Of a known mixture also what `mode_metrics` says.
    """
    truth = known_truth(dataset.manifest.source.kind)
    label = label_of("points", dataset.digest) if truth is None else density_label(truth)
    parts = []
    for first in range(0, count, BLOCK):
        size = min(BLOCK, count - first)
        parts.append(samples.sample(size, seed, first).reshape(size, -1))
        if progress:
            progress(first + size, count)
    points, reference = np.concatenate(parts), _points_of(dataset, "train")
    metrics = {f"fid/{label}": point_distance(points, reference), "samples": float(count)}
    if count >= 2 * SPLITS:
        splits, whole = [_sums(part) for part in np.array_split(points, SPLITS)], _sums(reference)
        metrics[f"fid_se/{label}"] = jackknife_error(splits, lambda sums: frechet_distance(sums, whole))
    floor = _points_of(dataset, "test")[:count]
    if len(floor) > 1:
        metrics |= {f"fid_floor/{label}": point_distance(floor, reference), "samples_floor": float(len(floor))}
    return metrics if truth is None else metrics | mode_metrics(points, truth)


def mode_metrics(points: NDArray[np.floating], truth: GaussianMixture) -> dict[str, float]:
    """What `points` [n, d] have of the modes of `truth`, n > 0, whose label is P.

    `modes/covered/P`: how many get at least `COVERED` of the samples in high quality. `modes/high_quality/P`: the share
    of the samples within `WITHIN` sigma of the nearest mode. `modes/kl/P`: `kl_divergence` of q, the samples' shares by
    nearest mode, to the weights of the modes. `mode_share/P/K`: q itself; `mode_share_min/P`: the smallest. Of
    `2 * SPLITS` points and more each with its standard error, `modes/covered_se/P`.
    """
    modes, good = assign(points, truth)
    weights, label = np.asarray(truth.weights), density_label(truth)
    # int64 [splits, 2, k]: at each mode the points of a split, and those of high quality among them
    counts = np.array(
        [
            [np.bincount(part, minlength=len(weights)) for part in (modes[rows], modes[rows][good[rows]])]
            for rows in np.array_split(np.arange(len(points)), SPLITS)
        ]
    )
    whole = counts.sum(0)
    scores: dict[str, Callable[[NDArray[np.int64]], float]] = {
        "modes/covered": lambda at: float((at[1] / at[0].sum() >= COVERED).sum()),
        "modes/kl": lambda at: kl_divergence(at[0] / at[0].sum(), weights),
        "mode_share_min": lambda at: float(at[0].min() / at[0].sum()),
    }
    metrics = {f"{name}/{label}": score(whole) for name, score in scores.items()}
    shares = {f"mode_share/{label}/{mode}": share for mode, share in enumerate((whole[0] / len(points)).tolist())}
    shares[f"modes/high_quality/{label}"] = float(good.mean())
    if len(points) >= 2 * SPLITS:
        for name, score in scores.items():
            metrics[f"{name}_se/{label}"] = deletion_error([score(whole - part) for part in counts])
        metrics |= {beside(name, "se"): error_of_share(share, len(points)) for name, share in shares.items()}
    return metrics | shares


def density_label(truth: GaussianMixture) -> str:
    """What stands in the names of metrics: points of different densities never share it."""
    return label_of("points", canonical_digest(asdict(truth)))


def assign(points: NDArray[np.floating], truth: GaussianMixture) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """int64 [n], the nearest mode of each of `points` [n, d], and bool [n], whether it is within `WITHIN` sigma."""
    means, sigmas = np.asarray(truth.means), np.asarray(truth.sigmas)
    # The distances [n, k] are Euclidean, not in sigmas: a wide mode must not take its narrow neighbour's points.
    distances = np.linalg.norm(points.astype(np.float64)[:, None, :] - means, axis=2)
    modes = distances.argmin(1)
    return modes, distances[np.arange(len(points)), modes] <= WITHIN * sigmas[modes]


def truth_high_quality(dimensions: int) -> float:
    """P(|x| <= WITHIN) for x ~ N(0, I) in so many dimensions: what a perfect generator's high quality is."""
    return float(chdtr(dimensions, WITHIN**2))  # the distribution function of chi-squared


def point_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Frechet distance between `a` [n, d] and `b` [m, d], the points themselves being the features.

    It sees means and covariances alone: eight modes and a disc of the same variance are one to it.
    """
    return frechet_distance(_sums(a), _sums(b))


def _sums(points: NDArray[np.floating]) -> FeatureStatistics:
    return FeatureStatistics.of(points.astype(np.float64), None)


def _points_of(dataset: Dataset, split: SplitName) -> NDArray[np.float32]:
    """float32 [n, d], all of them."""
    part = dataset.split(split)
    return part.take(np.arange(len(part))).reshape(len(part), -1)
