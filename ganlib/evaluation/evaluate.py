"""What evaluation says of a generator on a dataset: metrics under names that carry their feature extractor's label."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ganlib.data.dataset import Dataset
from ganlib.evaluation.comparison import compare
from ganlib.evaluation.confidence import error_of_share, jackknife_error
from ganlib.evaluation.distances import kl_divergence, mode_shares
from ganlib.evaluation.extractors import Extractor, extractor_for
from ganlib.evaluation.findings import Findings, reference_findings, sample_findings
from ganlib.evaluation.held_out import HeldOut
from ganlib.evaluation.points import evaluate_points
from ganlib.evaluation.samples import Samples

MOST_SHARES = 100
"""Classes up to which each one's share is a metric of its own."""


def evaluate(
    samples: Samples,
    dataset: Dataset,
    count: int,
    seed: int,
    extractor: Extractor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Judges `count` samples against the training split; points of a density as `points.evaluate_points` says.

    By the extractor whose label is E, `fid/E`: Frechet distance to the training split; `kid/E`, `kid_spread/E`,
    `precision/E`, `recall/E`, `density/E` and `coverage/E`, of up to 5,000 images a side, as `compare` has them. With a
    test split also `memorised/E`, the share of 1,000 samples closer to a training image than all but 1 percent of
    held-out images are (0.01 is a perfect generator's), and `mifid/E`. `sharpness`: mean variance of the Laplacian over
    the training split's. Where E gives probabilities, `inception_score/E`. Each NAME has `NAME_se`, its standard error
    over the samples' draw, and `NAME_floor`: that of the test split (`count` images of it, drawn) to the training
    split, what a perfect generator of few images would still have.

    With the dataset's classifier also `modes/covered/E`: classes that it finds; `modes/kl/E`: `kl_divergence` of their
    shares to those that it finds in the training split; both with `_floor`; `mode_share_min/E` and, of up to
    `MOST_SHARES` classes, `mode_share/E/CLASS`; all with `_se`. The numbers are the same each time: samples come from
    `seed`.
    """
    if dataset.dtype == np.float32:
        return evaluate_points(samples, dataset, count, seed, progress)
    extractor = extractor or extractor_for(dataset)
    reference = reference_findings(dataset, extractor, "train")
    found = sample_findings(lambda first, size: samples.sample(size, seed, first), count, extractor, progress)
    metrics = compare(found, reference)
    held_out = None
    if len(dataset.split("test")) > 1:
        held_out = HeldOut.of(dataset, extractor, count, reference)
        metrics |= {f"{name}_floor": value for name, value in held_out.floor.items()}
        metrics |= held_out.memory(metrics, found, reference)
    named = {f"{name}/{extractor.label}": value for name, value in metrics.items()}
    named |= _sharpness(found, reference, held_out)
    if extractor.knows_classes and dataset.judged_names is not None:
        named |= _mode_metrics(found, reference, held_out, dataset.judged_names, extractor.label)
    return named


def _sharpness(found: Findings, reference: Findings, held_out: HeldOut | None) -> dict[str, float]:
    if found.sharpness is None or reference.sharpness is None or not reference.sharpness.value:
        return {}  # images that are too small, or all flat
    unit = reference.sharpness.value
    metrics = {"sharpness": found.sharpness.value / unit, "sharpness_se": found.sharpness.error / unit}
    if held_out is not None and held_out.sharpness is not None:
        metrics["sharpness_floor"] = held_out.sharpness / unit
    return metrics


def _mode_metrics(
    found: Findings, reference: Findings, held_out: HeldOut | None, names: list[str], label: str
) -> dict[str, float]:
    # A class that the classifier finds nowhere in the data counts as found once.
    real = np.maximum(mode_shares(reference.statistics), 1 / reference.statistics.count)
    scores: dict[str, Callable[[NDArray[np.float64]], float]] = {
        "modes/covered": lambda shares: float((shares > 0).sum()),
        "modes/kl": lambda shares: kl_divergence(shares, real),
        "mode_share_min": lambda shares: float(shares.min()),
    }
    shares, count = mode_shares(found.statistics), found.statistics.count
    metrics = {f"{name}/{label}": score(shares) for name, score in scores.items()}
    if held_out is not None and held_out.shares is not None:
        theirs = np.array(held_out.shares)
        metrics |= {f"{name}_floor/{label}": scores[name](theirs) for name in ("modes/covered", "modes/kl")}
    if len(found.splits) > 1:
        for name, score in scores.items():
            error = jackknife_error(found.splits, lambda whole, score=score: score(mode_shares(whole)))  # type: ignore[misc]
            metrics[f"{name}_se/{label}"] = error
    if len(shares) <= MOST_SHARES:
        for name, share in zip(names, shares.tolist(), strict=True):
            metrics[f"mode_share/{label}/{name}"] = share
            metrics[f"mode_share_se/{label}/{name}"] = error_of_share(share, count)
    return metrics
