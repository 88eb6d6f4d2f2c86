"""What evaluation says of a generator on a dataset: metrics under names that carry their feature extractor's label."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ganlib.data.dataset import Dataset, Split
from ganlib.data.sources import SplitName
from ganlib.evaluation.distances import frechet_distance, inception_score, kl_divergence, mode_shares
from ganlib.evaluation.extractors import Extractor, extractor_for
from ganlib.evaluation.points import evaluate_points
from ganlib.evaluation.samples import BLOCK, Samples
from ganlib.evaluation.statistics import FeatureStatistics

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

    `fid/E`: Frechet distance to the training split by the extractor whose label is E; `fid_floor/E`: of the test split
    (its first `count` images) to the training split, what a perfect generator of few images would still have. Where
    E gives probabilities, `inception_score/E`. With the dataset's classifier also `modes/covered`: classes that it
    finds; `modes/kl`: `kl_divergence` of their shares to those that it finds in the training split; `mode_share_min`
    and, of up to `MOST_SHARES` classes, `mode_share/CLASS`. The numbers are the same each time: samples come from
    `seed`.
    """
    if dataset.dtype == np.float32:
        return evaluate_points(samples, dataset, count, seed, progress)
    extractor = extractor or extractor_for(dataset)
    reference = reference_statistics(dataset, extractor, "train")
    found: FeatureStatistics | None = None
    for first in range(0, count, BLOCK):
        size = min(BLOCK, count - first)
        part = FeatureStatistics.of(*extractor.features(samples.sample(size, seed, first)))
        found = part if found is None else found + part
        if progress:
            progress(first + size, count)
    assert found is not None
    metrics = {f"fid/{extractor.label}": frechet_distance(found, reference)}
    if len(dataset.split("test")) > 1:
        floor = reference_statistics(dataset, extractor, "test", count)
        metrics[f"fid_floor/{extractor.label}"] = frechet_distance(floor, reference)
    if found.classes is not None:
        metrics[f"inception_score/{extractor.label}"] = inception_score(found)
    if extractor.knows_classes and dataset.judged_names is not None:
        shares = mode_shares(found)
        # A class that the classifier finds nowhere in the data counts as found once.
        real = np.maximum(mode_shares(reference), 1 / reference.count)
        metrics["modes/covered"] = float((shares > 0).sum())
        metrics["modes/kl"] = kl_divergence(shares, real)
        metrics["mode_share_min"] = float(shares.min())
        if len(shares) <= MOST_SHARES:
            named = zip(dataset.judged_names, shares, strict=True)
            metrics |= {f"mode_share/{name}": float(share) for name, share in named}
    return metrics


def reference_statistics(
    dataset: Dataset, extractor: Extractor, split: SplitName, limit: int | None = None
) -> FeatureStatistics:
    """Statistics of (the first `limit` images of) a split, computed once and kept with the dataset."""
    images: Split = dataset.split(split)
    size = len(images) if limit is None else min(limit, len(images))
    name = f"{extractor.label}-{split}-{size}.safetensors"
    place = dataset.location / "reference" / name
    kept = FeatureStatistics.load(place)
    if kept is not None:
        return kept
    found: FeatureStatistics | None = None
    for first in range(0, size, BLOCK):
        part = FeatureStatistics.of(*extractor.features(images.take(np.arange(first, min(first + BLOCK, size)))))
        found = part if found is None else found + part
    assert found is not None
    found.save(place)
    return found
