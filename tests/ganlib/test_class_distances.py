"""Distances class by class, against each class's own, computed by itself."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ganlib.data import Dataset
from ganlib.evaluation.classes import InProportion, class_distances
from ganlib.evaluation.distances import frechet_distance
from ganlib.evaluation.extractor import Extractor
from ganlib.evaluation.extractors import RandomExtractor
from ganlib.evaluation.findings import drawn_order
from ganlib.evaluation.names import metric_value
from ganlib.evaluation.statistics import FeatureStatistics
from ganlib.networks.base import ImageShape

from .test_findings import sorted_by_class


class Shuffled:
    """Test images as samples, sample i of class i mod 10, over and over."""

    def __init__(self, dataset: Dataset):
        split = dataset.split("test")
        images = split.take(np.arange(len(split)))
        self.by_class = [images[np.asarray(split.labels) == label] for label in range(10)]

    def sample(self, count: int, seed: int = 0, first: int = 0) -> np.ndarray:
        chosen = [(i % 10, i // 10) for i in range(first, first + count)]
        return np.stack([self.by_class[label][turn % len(self.by_class[label])] for label, turn in chosen])


class Labels:
    """Samples that are their labels: every pixel of an image."""

    def sample(
        self, count: int, seed: int = 0, first: int = 0, labels: Sequence[int] | None = None
    ) -> NDArray[np.uint8]:
        assert labels is not None
        return np.full((count, 2, 2, 1), 0, np.uint8) + np.asarray(labels, np.uint8)[:, None, None, None]


def test_a_whole_dataset_is_judged_by_its_own_proportions(digits16: Dataset) -> None:
    labels = np.asarray(digits16.split("train").labels)
    proportions = np.bincount(labels, minlength=10)
    assert len(set(proportions.tolist())) > 1  # in turn they would be equal
    samples = InProportion(Labels(), digits16)  # type: ignore[arg-type]
    made = samples.sample(len(labels), 3)[:, 0, 0, 0]
    np.testing.assert_array_equal(np.bincount(made, minlength=10), proportions)
    # A sample's class is a function of the seed and its number, past the last of the labels too.
    np.testing.assert_array_equal(samples.sample(100, 3, len(labels) - 50)[50:, 0, 0, 0], made[:50])
    assert not np.array_equal(samples.sample(100, 4)[:, 0, 0, 0], made[:100])
    # Mixed, not sorted: each of the first thousand counts about as often as among all.
    part = np.bincount(made[:1000], minlength=10) / 1000
    np.testing.assert_allclose(part, proportions / len(labels), atol=4 * np.sqrt(0.09 / 1000))


@pytest.fixture
def dataset(digits16: Dataset, tmp_path: Path) -> Dataset:
    """A copy that a test may write to."""
    shutil.copytree(digits16.path, tmp_path / digits16.path.name)
    return Dataset.open(tmp_path / digits16.path.name)


class Quarters(Extractor):
    """The mean grey of each of four quarters; counts the images that it is shown."""

    name, digest = "quarters", "0" * 64

    def __init__(self) -> None:
        self.seen = 0

    def features(self, images: np.ndarray) -> tuple[np.ndarray, None]:
        self.seen += len(images)
        size = images.shape[1] // 2
        return images.reshape(len(images), 2, size, 2, size).mean((2, 4)).reshape(-1, 4) / 255, None


def test_each_class_has_its_floor_and_its_error(dataset: Dataset) -> None:
    extractor, samples, count = Quarters(), Shuffled(dataset), 700
    found = class_distances(samples, dataset, extractor, count, 0)
    train, test = dataset.split("train"), dataset.split("test")
    made, numbers = samples.sample(count), np.arange(count)

    def sums(images: np.ndarray) -> FeatureStatistics:
        return FeatureStatistics.of(extractor.features(images)[0], None)

    real = sums(train.take(np.flatnonzero(np.asarray(train.labels) == 7)))
    assert len(test) < count  # all of it is the floor
    held_out = sums(test.take(np.flatnonzero(np.asarray(test.labels) == 7)))
    assert metric_value(found, "fid_class_floor/quarters/7") == pytest.approx(frechet_distance(held_out, real))
    without = [
        frechet_distance(sums(made[(numbers % 10 == 7) & (numbers * 10 // count != part)]), real) for part in range(10)
    ]
    assert metric_value(found, "fid_class_se/quarters/7") == pytest.approx(np.sqrt(9 * np.var(without)), rel=1e-6)
    errors = [metric_value(found, f"fid_class_se/quarters/{k}") for k in range(10)]
    assert metric_value(found, "fid_class_se/quarters") == pytest.approx(np.sqrt(np.square(errors).sum()) / 10)
    floors = [metric_value(found, f"fid_class_floor/quarters/{k}") for k in range(10)]
    assert metric_value(found, "fid_class_floor/quarters") == pytest.approx(np.mean(floors))
    # Real images are looked at once.
    extractor.seen = 0
    assert class_distances(samples, dataset, extractor, count, 0) == found
    assert extractor.seen == count


def test_each_class_is_compared_with_its_own(dataset: Dataset) -> None:
    extractor, samples, count = RandomExtractor(ImageShape(*dataset.image_shape)), Shuffled(dataset), 1200
    found = class_distances(samples, dataset, extractor, count, 0)
    train = dataset.split("train")
    labels = np.asarray(train.labels)
    made = samples.sample(count)
    for label in (0, 7):
        real = extractor.features(train.take(np.flatnonzero(labels == label)))[0]
        fake = extractor.features(made[np.arange(count) % 10 == label])[0]
        # ||m1 - m2||^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), the root's trace by the eigenvalues of the product.
        first, second = np.cov(real.T), np.cov(fake.T)
        root = np.sqrt(np.maximum(np.linalg.eigvals(first @ second).real, 0)).sum()
        expected = ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * root
        assert metric_value(found, f"fid_class/random/{label}") == pytest.approx(expected, rel=1e-4)
    classes = [metric_value(found, f"fid_class/random/{k}") for k in range(10)]
    assert metric_value(found, "fid_class/random") == pytest.approx(np.mean(classes))


def test_the_floor_of_part_of_a_sorted_test_split_is_of_every_class(tmp_path: Path) -> None:
    """A hundred of 400 held-out images, which lie one class after the other."""
    dataset, extractor = sorted_by_class(tmp_path), Quarters()

    class Noise:
        def sample(self, count: int, seed: int = 0, first: int = 0) -> np.ndarray:
            return np.random.default_rng((seed, first)).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)

    found = class_distances(Noise(), dataset, extractor, 100, 0)
    train, test = dataset.split("train"), dataset.split("test")
    drawn = drawn_order(dataset, "test")[:100]
    for label, name in enumerate("abcd"):
        ours = drawn[np.asarray(test.labels)[drawn] == label]
        assert 10 <= len(ours) <= 40
        theirs = np.flatnonzero(np.asarray(train.labels) == label)
        sides = (
            FeatureStatistics.of(extractor.features(images)[0], None)
            for images in (test.take(ours), train.take(theirs))
        )
        assert metric_value(found, f"fid_class_floor/quarters/{name}") == pytest.approx(frechet_distance(*sides))
