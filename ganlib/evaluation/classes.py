"""Judging a generator that is told the class: as a whole, and class by class (Miyato & Koyama 2018, section 4.1)."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ganlib.data.dataset import Dataset
from ganlib.data.sealed import UNSEALED, read_sealed, write_sealed
from ganlib.data.sources import SplitName
from ganlib.draws import stream_generator
from ganlib.errors import UserError
from ganlib.evaluation.confidence import SPLITS, jackknife_error, total
from ganlib.evaluation.distances import frechet_distance
from ganlib.evaluation.extractors import Extractor
from ganlib.evaluation.findings import drawn_order, kept_beside
from ganlib.evaluation.samples import BLOCK, Samples
from ganlib.evaluation.statistics import FeatureStatistics
from ganlib.sampling import Sampler

MOST_SUMS = 64 << 20
"""Bytes of sums of products that are kept at once for the classes' errors, or beside a dataset."""


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
    names labels. `fid_class_floor/E/CLASS`: of the class's images among `count` held-out ones, drawn.
    `fid_class_se/E/CLASS`: standard errors (`jackknife_error`), where the sums that they take are no more than
    `MOST_SUMS`. Without /CLASS: their means, and the standard error of the first of these. Classes of fewer than two
    images on either side are left out.
    """
    names, label = dataset.class_names or [], extractor.label
    train = _real(dataset, extractor, "train", len(dataset.split("train")))
    held_out = _real(dataset, extractor, "test", min(count, len(dataset.split("test"))))
    dim = next(len(sums.total) for sums in train if sums is not None)
    splits = SPLITS if 8 * len(names) * SPLITS * dim**2 <= MOST_SUMS and count >= 2 * SPLITS * len(names) else 1
    made: list[list[FeatureStatistics | None]] = [[None] * splits for _ in names]
    for first in range(0, count, BLOCK):
        size = min(BLOCK, count - first)
        features = extractor.features(samples.sample(size, seed, first))[0]
        numbers = np.arange(first, first + size)
        classes, owners = numbers % len(names), numbers * splits // count
        for split in np.unique(owners):
            for kind in np.unique(classes):
                _add(made[kind], split, features[(owners == split) & (classes == kind)])
    found: dict[str, dict[str, float]] = {"fid_class": {}, "fid_class_floor": {}, "fid_class_se": {}}
    for name, ours, theirs, floor in zip(names, made, train, held_out, strict=True):
        there = [sums for sums in ours if sums is not None]
        if theirs is None or theirs.count < 2 or not there or total(there).count < 2:
            continue
        found["fid_class"][name] = frechet_distance(total(there), theirs)
        if floor is not None and floor.count > 1:
            found["fid_class_floor"][name] = frechet_distance(floor, theirs)
        if splits > 1:
            error = jackknife_error(there, lambda whole, theirs=theirs: frechet_distance(whole, theirs))  # type: ignore[misc]
            found["fid_class_se"][name] = error
    metrics: dict[str, float] = {}
    for family, values in found.items():
        each = np.array(list(values.values()))
        if len(each):  # errors of a mean add up as squares
            metrics[f"{family}/{label}"] = float(
                np.sqrt(np.square(each).sum()) / len(each) if family == "fid_class_se" else each.mean()
            )
        metrics |= {f"{family}/{label}/{name}": value for name, value in values.items()}
    return metrics


def _real(dataset: Dataset, extractor: Extractor, split: SplitName, size: int) -> list[FeatureStatistics | None]:
    """Of each class, the sums over its images among a split's first `size` in `drawn_order`; None of one without any.

    Found once and kept with the dataset, where they are no more than `MOST_SUMS`.
    """
    images, classes = dataset.split(split), len(dataset.class_names or [])
    place = kept_beside(dataset, extractor, f"classes-{split}-{size}", ".safetensors")
    with suppress(UserError, SafetensorError, KeyError):  # not there yet, or not whole
        arrays = load(read_sealed(place))
        kept = zip(*(arrays[name] for name in ("count", "total", "outer")), strict=True)
        return [FeatureStatistics(int(row[0]), row[1], row[2]) if row[0] else None for row in kept]
    sums: list[FeatureStatistics | None] = [None] * classes
    labels, drawn = np.asarray(images.labels), np.sort(drawn_order(dataset, split)[:size])
    for first in range(0, size, BLOCK):
        taken = drawn[first : first + BLOCK]
        features = extractor.features(images.take(taken))[0]
        for kind in np.unique(labels[taken]):
            _add(sums, kind, features[labels[taken] == kind])
    dim = next((len(one.total) for one in sums if one is not None), 0)
    if dim and 8 * classes * dim**2 <= MOST_SUMS:
        empty = FeatureStatistics(0, np.zeros(dim), np.zeros((dim, dim)))
        whole = [(one or empty).arrays() for one in sums]
        arrays = {name: np.stack([one[name] for one in whole]) for name in ("count", "total", "outer")}
        write_sealed(place, save(arrays, UNSEALED))
    return sums


def _add(sums: list[FeatureStatistics | None], at: int, features: np.ndarray) -> None:
    part, held = FeatureStatistics.of(features, None), sums[at]
    sums[at] = part if held is None else held + part
