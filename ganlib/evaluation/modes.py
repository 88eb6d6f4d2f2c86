"""Which of a dataset's classes samples are of, as its classifier counts them, and in what shares."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ganlib.evaluation.confidence import error_of_share, jackknife_error
from ganlib.evaluation.distances import kl_divergence, mode_shares
from ganlib.evaluation.findings import Findings
from ganlib.evaluation.statistics import FeatureStatistics

MOST_SHARES = 100
"""Classes up to which each one's share is a metric of its own."""

Score = Callable[[FeatureStatistics], float]


def mode_scores(reference: FeatureStatistics) -> dict[str, Score]:
    """By bare names what can be said of judged images beside a reference: `modes/covered`, classes that are found;
    `modes/kl`, `kl_divergence` of their shares to the reference's; `mode_share_min`, the smallest of them."""
    # A class that the classifier finds nowhere in the reference counts as found once.
    real = np.maximum(mode_shares(reference), 1 / reference.count)
    return {
        "modes/covered": lambda found: float((mode_shares(found) > 0).sum()),
        "modes/kl": lambda found: kl_divergence(mode_shares(found), real),
        "mode_share_min": lambda found: float(mode_shares(found).min()),
    }


def mode_metrics(found: Findings, reference: Findings) -> dict[str, float]:
    """What `mode_scores` says of `found`, and, where that is in splits, the standard error of each, `NAME_se`."""
    scores = mode_scores(reference.statistics)
    metrics = {name: score(found.statistics) for name, score in scores.items()}
    if len(found.splits) > 1:
        metrics |= {f"{name}_se": jackknife_error(found.splits, score) for name, score in scores.items()}
    return metrics


def share_metrics(found: Findings, names: list[str], label: str) -> dict[str, float]:
    """`mode_share/E/NAME` and `mode_share_se/E/NAME` of each class, E being `label`; {} of more than `MOST_SHARES`."""
    if len(names) > MOST_SHARES:
        return {}
    metrics = {}
    for name, share in zip(names, mode_shares(found.statistics).tolist(), strict=True):
        metrics[f"mode_share/{label}/{name}"] = share
        metrics[f"mode_share_se/{label}/{name}"] = error_of_share(share, found.statistics.count)
    return metrics
