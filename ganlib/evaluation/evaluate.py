"""What evaluation says of a generator on a dataset: metrics under names that carry their feature extractor's label."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ganlib.data.dataset import Dataset
from ganlib.evaluation.comparison import compare
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

    By the extractor whose label is E, `fid/E`: Frechet distance to the training split; `kid/E`, `precision/E`,
    `recall/E`, `density/E` and `coverage/E`, of up to 5,000 images a side, as `compare` has them. `NAME_floor/E` of
    each of these: of the test split (its first `count` images) to the training split, what a perfect generator of few
    images would still have. `fid_se/E`, `kid_se/E`: standard errors over the samples' draw. With a test split also
    `memorised/E`, the share of 1,000 samples closer to a training image than all but 1 percent of held-out images are
    (0.01 is a perfect generator's), and `mifid/E`. `sharpness`, `sharpness_floor`: mean variance of the Laplacian over
    the training split's.

    Where E gives probabilities, `inception_score/E`, its `_floor` (of real images) and its `_se`. With the dataset's
    classifier also `modes/covered`: classes that it finds; `modes/kl`: `kl_divergence` of their shares to those that it
    finds in the training split; `mode_share_min` and, of up to `MOST_SHARES` classes, `mode_share/CLASS`. The numbers
    are the same each time: samples come from `seed`.
    """
    if dataset.dtype == np.float32:
        return evaluate_points(samples, dataset, count, seed, progress)
    extractor = extractor or extractor_for(dataset)
    reference = reference_findings(dataset, extractor, "train")
    found = sample_findings(lambda first, size: samples.sample(size, seed, first), count, extractor, progress)
    sharpness = {"sharpness": found.sharpness}
    metrics = compare(found, reference)
    if len(dataset.split("test")) > 1:
        held_out = HeldOut.of(dataset, extractor, count, reference)
        metrics |= {f"{name}_floor": value for name, value in held_out.floor.items()}
        metrics |= held_out.memory(metrics["fid"], found, reference)
        sharpness["sharpness_floor"] = held_out.sharpness
    named = {f"{name}/{extractor.label}": value for name, value in metrics.items()}
    if reference.sharpness:  # images that are large enough, and not all flat
        named |= {name: value / reference.sharpness for name, value in sharpness.items() if value is not None}
    if extractor.knows_classes and dataset.judged_names is not None:
        named |= _mode_metrics(found, reference, dataset.judged_names)
    return named


def _mode_metrics(found: Findings, reference: Findings, names: list[str]) -> dict[str, float]:
    shares = mode_shares(found.statistics)
    # A class that the classifier finds nowhere in the data counts as found once.
    real = np.maximum(mode_shares(reference.statistics), 1 / reference.statistics.count)
    metrics = {
        "modes/covered": float((shares > 0).sum()),
        "modes/kl": kl_divergence(shares, real),
        "mode_share_min": float(shares.min()),
    }
    if len(shares) <= MOST_SHARES:
        metrics |= {f"mode_share/{name}": float(share) for name, share in zip(names, shares, strict=True)}
    return metrics
