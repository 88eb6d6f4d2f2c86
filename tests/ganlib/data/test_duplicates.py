"""Identical pixels: counted, and kept out of test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ganlib.data import Columns, Preparation, plan, prepare_dataset
from ganlib.data.duplicates import find_duplicates
from ganlib.data.sources.base import Record

from .list_source import ListSource, noise

SMALL = Preparation(size=8)


def test_the_count_is_that_of_sets() -> None:
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 30, (n, 2), dtype=np.uint64) for n in (400, 300))
    rows_of_train, rows_of_test = (list(map(tuple, part.tolist())) for part in (train, test))
    found = find_duplicates(train, test)
    assert found.train == 400 - len(set(rows_of_train))
    assert found.left_out.tolist() == [row in set(rows_of_train) for row in rows_of_test]
    kept = [row for row in rows_of_test if row not in set(rows_of_train)]
    assert found.test == len(kept) - len(set(kept))
    empty = find_duplicates(train[:0], test[:0])
    assert (empty.train, empty.test, len(empty.left_out)) == (0, 0, 0)


@pytest.mark.parametrize("shard_rows", [1000, 2])
def test_test_images_that_are_in_train_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_rows: int
) -> None:
    monkeypatch.setattr(plan, "SHARD_BYTES", shard_rows * 192)
    train, test = [0, 1, 2, 1, 1], [7, 1, 2, 8, 7, 9]
    seeds = train + test
    records = {f"{row:02d}": Record(noise(seed), label=seed % 2) for row, seed in enumerate(seeds)}
    source = ListSource(records, Columns(class_names=["even", "odd"]), {"train": range(5), "test": range(5, 11)})
    dataset = prepare_dataset(source, SMALL, tmp_path, "x")
    manifest = dataset.manifest
    assert manifest.duplicates == {"train": 2, "test": 1, "left_out_of_test": 2}
    assert manifest.counts == {"train": 5, "test": 4}
    assert manifest.class_counts == {"train": [2, 3], "test": [1, 3]}
    assert manifest.original_sizes == {"8x8": 11}
    assert dataset.split("test").names == ["05", "08", "09", "10"]
    np.testing.assert_array_equal(
        dataset.split("test").images, np.stack([np.asarray(noise(seed)) for seed in (7, 8, 7, 9)])
    )
    dataset.verify()


def test_a_test_split_that_is_all_in_train_is_empty(tmp_path: Path) -> None:
    records = {str(row): Record(noise(row % 2)) for row in range(4)}
    dataset = prepare_dataset(
        ListSource(records, splits={"train": range(2), "test": range(2, 4)}), SMALL, tmp_path, "x"
    )
    assert dataset.manifest.counts == {"train": 2, "test": 0}
    assert len(dataset.split("test")) == 0
    assert sorted(path.name for path in dataset.path.iterdir()) == ["manifest.json", "train-00000.arrow"]


def test_a_pair_is_the_same_where_both_sides_are(tmp_path: Path) -> None:
    sides = [(0, 1), (0, 2), (0, 1), (3, 1)]
    records = {str(row): Record(noise(a), partner=noise(b)) for row, (a, b) in enumerate(sides)}
    source = ListSource(records, Columns(partner=True), {"train": range(2), "test": range(2, 4)})
    dataset = prepare_dataset(source, SMALL, tmp_path, "x")
    assert dataset.manifest.duplicates == {"train": 0, "test": 0, "left_out_of_test": 1}
    assert dataset.split("test").names == ["3"]


def test_points_are_not_compared(tmp_path: Path) -> None:
    records = {str(row): Record(np.full((1, 2, 1), 0.5, np.float32)) for row in range(4)}
    source = ListSource(records, Columns(dtype="float32"), {"train": range(2), "test": range(2, 4)})
    dataset = prepare_dataset(source, SMALL, tmp_path, "x")
    assert dataset.manifest.duplicates == {}
    assert dataset.manifest.resampling is None
    assert dataset.manifest.counts == {"train": 2, "test": 2}
