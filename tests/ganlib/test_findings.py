"""What a pass over images keeps: sums in splits, features of a fair draw, and all of it beside the dataset."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from ganlib.data import Dataset
from ganlib.errors import UserError
from ganlib.evaluation.extractors import extractor_for
from ganlib.evaluation.findings import reference_findings, sample_findings

from .test_evaluation import Noise


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
