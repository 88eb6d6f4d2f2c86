"""What one pass over images keeps of them: enough for every metric, and no image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ganlib.data.dataset import Dataset, Split
from ganlib.data.sealed import UNSEALED, read_sealed, write_sealed
from ganlib.data.sources import SplitName
from ganlib.data.storage import Location
from ganlib.draws import stream_generator
from ganlib.errors import UserError
from ganlib.evaluation.confidence import SPLITS, Estimate, total
from ganlib.evaluation.extractor import Extractor
from ganlib.evaluation.neighbours import MOST_NEIGHBOURS, Features, Manifold, neighbour_distances
from ganlib.evaluation.samples import BLOCK
from ganlib.evaluation.sharpness import LEAST_SIDE, laplacian_variance
from ganlib.evaluation.statistics import FeatureStatistics

MOST_COMPARED = 5_000
"""Images a side whose features are compared one by one with one another: the work grows with the square of them."""
MOST_BYTES = 256 << 20
"""Of features that are kept of a training split, for the nearest of each sample: 32,768 images by Inception, half a
million by a dataset's classifier."""
REVISION = 6
"""Of what is kept beside a dataset: raised where it is found otherwise though no constant has another value."""


@dataclass(frozen=True)
class Findings:
    """Of images by an extractor: sums in disjoint splits, by number (of a dataset one, as nobody asks for its error);
    features float32 [k, d] of some; the mean of their `laplacian_variance`, None of images too small to have one;
    `neighbour_distances` of those compared, where they are known already.
    """

    splits: list[FeatureStatistics]
    features: NDArray[np.float32]
    sharpness: Estimate | None
    distances: Features | None = None

    @cached_property
    def statistics(self) -> FeatureStatistics:
        """Of all the images."""
        return total(self.splits)

    @property
    def compared(self) -> NDArray[np.float32]:
        """The features that are compared one by one: the first of those that there are."""
        return self.features[:MOST_COMPARED]

    @cached_property
    def manifold(self) -> Manifold:
        """Of `compared`. Raises ValueError for too few."""
        return Manifold.of(self.compared) if self.distances is None else Manifold(self.compared, self.distances)


def sample_findings(
    sample: Callable[[int, int], NDArray[np.uint8]],
    count: int,
    extractor: Extractor,
    progress: Callable[[int, int], None] | None = None,
) -> Findings:
    """Of `count` images, `sample(first, size)` giving uint8 [size, H, W, C]; features are those of the first."""
    return _gather(sample, count, extractor, SPLITS, np.arange(min(count, MOST_COMPARED)), progress)


def reference_findings(dataset: Dataset, extractor: Extractor, split: SplitName, limit: int | None = None) -> Findings:
    """Of a split (of the first `limit` images in `drawn_order`), found once and kept with the dataset.

    Features are in that order, so that any number of the first are a fair draw: of the training split as many as
    `MOST_BYTES` hold, of the test split those that are compared.
    """
    images = dataset.split(split)
    drawn = drawn_order(dataset, split)[:limit]
    place = kept_beside(dataset, extractor, f"{split}-{len(drawn)}", ".safetensors")
    kept = _load(place)
    if kept is not None:
        return kept
    found = _of_rows(images, drawn, extractor, len(drawn) if split == "train" else MOST_COMPARED)
    if split == "train" and len(found.compared) > MOST_NEIGHBOURS:
        found = replace(found, distances=neighbour_distances(found.compared, MOST_NEIGHBOURS))
    _save(found, place)
    return found


def halves(dataset: Dataset, extractor: Extractor, limit: int) -> tuple[Findings, Findings]:
    """Of the first half of the training split in `drawn_order`, of `limit` images at most, and of the second, whole."""
    images, drawn = dataset.split("train"), drawn_order(dataset, "train")
    middle = len(drawn) // 2
    parts = drawn[:middle][:limit], drawn[middle:]
    first, second = (_of_rows(images, rows, extractor, MOST_COMPARED) for rows in parts)
    return first, second


def drawn_order(dataset: Dataset, split: SplitName) -> NDArray[np.int64]:
    """int64 [n]: the rows of a split in an order that is drawn once and for all.

    Any number of the first are a fair draw of the split, which may be sorted by class, as folders are.
    """
    generator = stream_generator("cpu", 0, "reference", split)
    return torch.randperm(len(dataset.split(split)), generator=generator).numpy()


def kept_beside(dataset: Dataset, extractor: Extractor, name: str, suffix: str, *constants: float) -> Location:
    """Where what is found of a dataset by an extractor is kept, named so that nothing else is taken for it: by the
    extractor's label, and by a digest of the constants that it depends on, those of this file and others.
    """
    depends = [REVISION, BLOCK, MOST_COMPARED, MOST_BYTES, MOST_NEIGHBOURS, *constants]
    key = hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:8]
    return dataset.location / "reference" / f"{extractor.label}-{name}-{key}{suffix}"


def _of_rows(images: Split, drawn: NDArray[np.int64], extractor: Extractor, kept: int) -> Findings:
    """Of these rows of a split; the features of the first `kept` of them, in their order."""
    rows = np.sort(drawn)  # images are read as they lie
    order = np.searchsorted(rows, drawn[:kept])
    return _gather(lambda first, count: images.take(rows[first : first + count]), len(rows), extractor, 1, order)


def _gather(
    take: Callable[[int, int], NDArray[np.uint8]],
    count: int,
    extractor: Extractor,
    splits: int,
    order: NDArray[np.int64],
    progress: Callable[[int, int], None] | None = None,
) -> Findings:
    """order: the numbers of the images whose features are kept, in that order, as far as `MOST_BYTES` hold them."""
    sums: dict[int, FeatureStatistics] = {}
    kept = np.empty((0, 0), np.float32)
    places = np.full(count, -1)  # of each image in `kept`
    sharpness: list[NDArray[np.float64]] = []
    for first in range(0, count, BLOCK):
        images = take(first, min(BLOCK, count - first))
        numbers = np.arange(first, first + len(images))
        features, probabilities = extractor.features(images)
        owners = numbers * splits // count
        for owner in np.unique(owners):
            rows = owners == owner
            part = FeatureStatistics.of(features[rows], None if probabilities is None else probabilities[rows])
            sums[owner] = sums[owner] + part if owner in sums else part
        if first == 0:
            order = order[: MOST_BYTES // (4 * features.shape[1])]
            places[order] = np.arange(len(order))
            kept = np.empty((len(order), features.shape[1]), np.float32)
        at = places[numbers]
        kept[at[at >= 0]] = features[at >= 0]
        if min(images.shape[1:3]) >= LEAST_SIDE:
            sharpness.append(laplacian_variance(images))
        if progress:
            progress(first + len(images), count)
    return Findings(list(sums.values()), kept, Estimate.of(np.concatenate(sharpness)) if sharpness else None)


def _save(findings: Findings, place: Location) -> None:
    """Writes all of it as one file, atomically. Raises UserError where that cannot be."""
    arrays = findings.statistics.arrays() | {"features": findings.features}
    if findings.sharpness is not None:
        arrays["sharpness"] = np.array(findings.sharpness)
    if findings.distances is not None:
        arrays["distances"] = findings.distances
    write_sealed(place, save(arrays, UNSEALED))


def _load(place: Location) -> Findings | None:
    """What `_save` wrote, or None where there is nothing whole."""
    try:
        arrays = load(read_sealed(place))
        sharpness = Estimate(*arrays["sharpness"].tolist()) if "sharpness" in arrays else None
        # Copies: what lies in the file's bytes cannot be written to, and torch takes only what can.
        features, distances = (arrays[name].copy() if name in arrays else None for name in ("features", "distances"))
        if features is None:
            return None
        return Findings([FeatureStatistics.from_arrays(arrays)], features, sharpness, distances)
    except (UserError, SafetensorError, KeyError):
        return None
