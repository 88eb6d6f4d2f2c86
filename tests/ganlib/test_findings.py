"""What a pass over images keeps: sums in splits, features of a fair draw, and all of it beside the dataset."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganlib.data import Columns, Dataset, Preparation, prepare_dataset
from ganlib.data.sources.base import Record
from ganlib.errors import UserError
from ganlib.evaluation.extractor import Extractor
from ganlib.evaluation.extractors import extractor_for
from ganlib.evaluation.findings import reference_findings, sample_findings

from .data.list_source import ListSource
from .test_evaluation import Noise


class Labels(Extractor):
    """Images of `sorted_by_class` are their labels, one-hot."""

    name, digest = "labels", "0" * 64

    def features(self, images: np.ndarray) -> tuple[np.ndarray, None]:
        return np.eye(4)[images[:, 0, 0, 0] // 60], None


def sorted_by_class(into: Path) -> Dataset:
    """Four classes, their images as folders have them, one class after the other: 40 each for training, 100 each for
    testing. An image's first line is 60 times its label, the rest is noise."""
    draw, records = np.random.default_rng(0), {}
    for split, count in (("train", 40), ("val", 100)):
        for number in range(4 * count):
            pixels = draw.integers(0, 256, (8, 8), dtype=np.uint8)
            label = number // count
            pixels[0] = 60 * label
            records[f"{split}/{label}/{number:03d}"] = Record(Image.fromarray(pixels), label=label)
    columns = Columns(class_names=["a", "b", "c", "d"])
    source = ListSource(records, columns, {"train": range(160), "test": range(160, 560)})
    return prepare_dataset(source, Preparation(size=8, channels=1), into, "sorted")


@pytest.fixture
def dataset(digits16: Dataset, tmp_path: Path) -> Dataset:
    """A copy that a test may write to."""
    shutil.copytree(digits16.path, tmp_path / digits16.path.name)
    return Dataset.open(tmp_path / digits16.path.name)


def test_samples_in_splits_add_up_to_all_of_them(dataset: Dataset) -> None:
    extractor = extractor_for(dataset, "random")
    found = sample_findings(lambda first, size: Noise().sample(size, 0, first), 1_234, extractor)
    assert [split.count for split in found.splits] == [124, 123, 124, 123, 123, 124, 123, 124, 123, 123]
    images = np.concatenate([Noise().sample(size, 0, first) for first, size in ((0, 1_000), (1_000, 234))])
    whole = extractor.features(images)[0]
    np.testing.assert_allclose(found.statistics.total, whole.sum(0), rtol=1e-9)
    np.testing.assert_allclose(found.splits[3].total, whole[371:494].sum(0), rtol=1e-6)
    np.testing.assert_allclose(found.features, whole, rtol=1e-4, atol=1e-5)


def test_what_is_found_of_a_split_is_found_once_and_kept_with_the_dataset(dataset: Dataset) -> None:
    extractor = extractor_for(dataset, "random")
    found = reference_findings(dataset, extractor, "train")
    (kept,) = (dataset.path / "reference").iterdir()
    assert kept.name.startswith(f"{extractor.label}-train-")
    written = kept.stat().st_mtime_ns

    def assert_found_again() -> None:
        again = reference_findings(dataset, extractor, "train")
        np.testing.assert_array_equal(again.statistics.outer, found.statistics.outer)
        np.testing.assert_array_equal(again.features, found.features)
        assert again.sharpness == found.sharpness

    assert_found_again()
    assert kept.stat().st_mtime_ns == written
    kept.write_bytes(kept.read_bytes()[:-1])  # cut short: found again
    assert_found_again()
    assert kept.stat().st_mtime_ns != written
    # One bit of a number, which still reads: it would be in every distance from then on.
    content = bytearray(kept.read_bytes())
    content[-5] ^= 1
    kept.write_bytes(content)
    with pytest.raises(UserError, match=f"{kept} has changed"):
        dataset.verify()
    assert_found_again()
    assert dataset.verify() == []
    assert reference_findings(dataset, extractor, "test", 50).statistics.count == 50
    assert reference_findings(dataset, extractor, "test", 10**6).statistics.count == len(dataset.split("test"))


def test_kept_features_are_a_fair_draw_of_the_split_and_all_of_it_where_they_fit(dataset: Dataset) -> None:
    extractor, train = extractor_for(dataset, "random"), dataset.split("train")
    whole = extractor.features(train.take(np.arange(len(train))))[0].astype(np.float32)
    found = reference_findings(dataset, extractor, "train").features
    assert found.shape == whole.shape
    assert not np.allclose(found[:100], whole[:100])  # not as they lie
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(whole, axis=0), rtol=1e-4, atol=1e-5)


def test_of_part_of_a_split_that_is_sorted_by_class_each_class_has_its_share(tmp_path: Path) -> None:
    dataset = sorted_by_class(tmp_path)
    assert np.asarray(dataset.split("test").labels).tolist() == np.repeat(np.arange(4), 100).tolist()
    found = reference_findings(dataset, Labels(), "test", 100)
    # Hypergeometric: 25 of each, by sqrt(100 * 1/4 * 3/4 * 300/399) = 3.8; within four of these.
    assert found.statistics.total.sum() == 100
    assert (abs(found.statistics.total - 25) <= 15).all()
    # The first of the features, by which memory is judged, are a draw of their own: 7.5 of 30, by 2.3.
    first = found.features[:30].sum(0)
    assert (abs(first - 7.5) <= 9).all()
    assert (first > 0).all()
    # Fewer are the first of more, and all are all.
    np.testing.assert_array_equal(reference_findings(dataset, Labels(), "test", 30).features, found.features[:30])
    assert reference_findings(dataset, Labels(), "test").statistics.total.tolist() == [100] * 4
