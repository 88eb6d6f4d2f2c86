"""Judging a generator that is told the class: as a whole, and class by class (Miyato & Koyama 2018, section 4.1)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ganlib.data.dataset import Dataset
from ganlib.draws import stream_generator
from ganlib.evaluation.distances import frechet_distance
from ganlib.evaluation.extractors import Extractor
from ganlib.evaluation.samples import BLOCK, Samples
from ganlib.evaluation.statistics import FeatureStatistics
from ganlib.sampling import Sampler


class InProportion:
    """Samples of a conditional generator for a distance to a whole dataset: classes as often as in its training split.

    The labels are the split's own, in an order that is the seed's (past the last of them they come again), as the
    literature draws them (Karras et al. 2020's evaluation among others): classes in turn would put every class at one
    share, and a perfect generator of an uneven dataset would still be far from it.
    """

    def __init__(self, sampler: Sampler, dataset: Dataset):
        self.sampler = sampler
        self._labels = np.asarray(dataset.split("train").labels)

    def labels(self, count: int, seed: int = 0, first: int = 0) -> list[int]:
        """The classes of samples `first ... first + count`."""
        order = torch.randperm(len(self._labels), generator=stream_generator("cpu", seed, "labels")).numpy()
        return self._labels[order[np.arange(first, first + count) % len(order)]].tolist()

    def sample(self, count: int, seed: int = 0, first: int = 0) -> NDArray[np.uint8]:
        """uint8 [count, H, W, C] (points: float32)."""
        return self.sampler.sample(count, seed, first, labels=self.labels(count, seed, first))


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
        f"fid_class/{extractor.label}/{name}": frechet_distance(theirs, ours)
        for name, ours, theirs in zip(names, real, fake, strict=True)
        if ours is not None and theirs is not None and min(ours.count, theirs.count) > 1
    }
    return {f"fid_class/{extractor.label}": float(np.mean(list(found.values()))), **found} if found else {}


def _add(sums: list[FeatureStatistics | None], features: np.ndarray, labels: np.ndarray) -> None:
    for label in np.unique(labels):
        part, held = FeatureStatistics.of(features[labels == label], None), sums[label]
        sums[label] = part if held is None else held + part
