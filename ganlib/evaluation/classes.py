"""Fréchet distances class by class, for a generator that is told the class (Miyato & Koyama 2018, section 4.1)."""

from __future__ import annotations

import numpy as np

from ganlib.data.dataset import Dataset
from ganlib.evaluation.distances import frechet_distance
from ganlib.evaluation.extractors import Extractor
from ganlib.evaluation.samples import BLOCK, Samples
from ganlib.evaluation.statistics import FeatureStatistics


def class_distances(
    samples: Samples, dataset: Dataset, extractor: Extractor, count: int, seed: int
) -> dict[str, float]:
    """`fid_class/E/CLASS` of each class: its samples among the first `count` to the training images of that label.

    Samples come with the classes in turn (sample i is of class i mod k), as a conditional generator's do when nobody
    names labels. `fid_class/E`: their mean. Classes of fewer than two images on either side are left out.
    """
    names = dataset.class_names or []
    split = dataset.split("train")
    labels = np.asarray(split.labels)
    real: list[FeatureStatistics | None] = [None] * len(names)
    fake: list[FeatureStatistics | None] = [None] * len(names)
    for first in range(0, len(split), BLOCK):
        rows = np.arange(first, min(first + BLOCK, len(split)))
        _add(real, extractor.features(split.take(rows))[0], labels[rows])
    for first in range(0, count, BLOCK):
        size = min(BLOCK, count - first)
        features = extractor.features(samples.sample(size, seed, first))[0]
        _add(fake, features, np.arange(first, first + size) % len(names))
    found = {
        f"fid_class/{extractor.name}/{name}": frechet_distance(theirs, ours)
        for name, ours, theirs in zip(names, real, fake, strict=True)
        if ours is not None and theirs is not None and min(ours.count, theirs.count) > 1
    }
    return {f"fid_class/{extractor.name}": float(np.mean(list(found.values()))), **found} if found else {}


def _add(sums: list[FeatureStatistics | None], features: np.ndarray, labels: np.ndarray) -> None:
    for label in np.unique(labels):
        part, held = FeatureStatistics.of(features[labels == label], None), sums[label]
        sums[label] = part if held is None else held + part
