"""Unpaired batches: each domain's images in an order of their own, whoever takes which rows."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from ganlib.data import Columns, Dataset, Preparation, open_source, prepare_dataset
from ganlib.data.augment import Augment
from ganlib.data.batch import quantise
from ganlib.data.reading import Reading
from ganlib.data.sources.base import BadRecordError, Record
from ganlib.data.streamed import StreamedBatches
from ganlib.data.unpaired import PartialSplit, UnpairedBatches, epoch_images, open_unpaired
from ganlib.errors import UserError

from .list_source import ListSource, noise
from .pictures import as_folder, encoded
from .pictures import noise as picture


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """33 pictures, two of five in the first domain, in shards of five."""
    records = {}
    for number in range(33):
        first = number % 5 < 2
        record = Record(noise(number), domains=(int(first), int(not first)), captions=(str(number),))
        records[f"{number:02d}"] = record
    source = ListSource(records, Columns(domain_names=["a", "b"], captions=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ganlib.data.plan.SHARD_BYTES", 5 * 8 * 8 * 3)
        preparation = Preparation(size=8, test_share=0)
        return prepare_dataset(source, preparation, tmp_path_factory.mktemp("unpaired"), "x")


def keys(images: torch.Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in quantise(images)]


def of_domain(dataset: Dataset, domain: int) -> set[bytes]:
    split = dataset.split("train")
    rows = np.flatnonzero(split.column("domains")[:, domain])  # type: ignore[index]
    return {image.tobytes() for image in split.take(rows)}


@pytest.mark.parametrize("loading", ["resident", "streamed"])
def test_each_side_goes_through_its_own_domain_in_epochs_of_its_own(
    dataset: Dataset, loading: Literal["resident", "streamed"]
) -> None:
    batches = open_unpaired(dataset.split("train"), 3, 0, (0, 3), loading=loading)
    counts = dataset.manifest.domain_counts
    assert counts is not None
    first, second = counts["train"]
    assert (batches.count, batches.per_epoch, batches.loading) == (max(first, second), max(first, second) // 3, loading)
    assert epoch_images(dataset, "unpaired") == max(first, second) < epoch_images(dataset, "as-stored") == 33
    for domain, count, side in ((0, first, "images"), (1, second, "partners")):
        seen = [keys(getattr(batches[index], side)) for index in range(2 * (count // 3))]
        epochs = [list(chain(*seen[: count // 3])), list(chain(*seen[count // 3 :]))]
        for epoch in epochs:  # each image once, but for those that no batch is left for
            assert len(set(epoch)) == len(epoch) == count // 3 * 3
            assert set(epoch) <= of_domain(dataset, domain)
        assert epochs[0] != epochs[1]


@pytest.mark.parametrize("loading", ["resident", "streamed"])
def test_workers_take_slices_of_the_same_batches(dataset: Dataset, loading: Literal["resident", "streamed"]) -> None:
    def opened(rows: tuple[int, int]) -> UnpairedBatches:
        return open_unpaired(dataset.split("train"), 5, 1, rows, loading=loading, augment=Augment(mirror=True))

    whole, parts = opened((0, 5)), [opened((0, 2)), opened((2, 5))]
    for index in (7, 0, 3):
        batch = whole[index]
        assert batch.domains is batch.captions is None
        for side in ("images", "partners"):
            joined = torch.cat([getattr(part[index], side) for part in parts])
            assert torch.equal(joined, getattr(batch, side))


def test_sides_of_one_length_do_not_stay_paired(tmp_path: Path) -> None:
    """Pairs in two domains, as many on each side: their orders have nothing to do with each other."""
    records: dict[str, Any] = {}
    for number in range(32):
        for domain in range(2):
            one = (int(domain == 0), int(domain == 1))
            records[f"{domain}{number:02d}"] = Record(noise(100 * domain + number), domains=one)
    source = ListSource(records, Columns(domain_names=["a", "b"]))
    split = prepare_dataset(source, Preparation(size=8, test_share=0), tmp_path, "x").split("train")
    batches = open_unpaired(split, 32, 0, (0, 32), loading="resident")
    orders = [side.order(0).tolist() for side in (batches.first, batches.second)]
    assert sum(a == b for a, b in zip(*orders, strict=True)) < 6


def test_a_part_of_a_split_is_a_split(dataset: Dataset) -> None:
    whole = dataset.split("train")
    rows = np.array([0, 1, 7, 19, 32])
    part = PartialSplit(whole, rows)
    assert len(part) == 5
    assert part.names == [whole.names[row] for row in rows]
    assert part.column("captions") == [[str(row)] for row in rows]
    np.testing.assert_array_equal(part.images, whole.images[rows])
    np.testing.assert_array_equal(part.take(np.array([4, 0])), whole.images[[32, 0]])
    np.testing.assert_array_equal(part.column("domains"), whole.column("domains")[rows])  # type: ignore[index]
    loaded = [shard.load() for shard in part.shards]
    np.testing.assert_array_equal(np.concatenate([shard.images for shard in loaded]), part.images)
    assert list(chain(*(shard.captions for shard in loaded))) == part.column("captions")
    assert [shard.start for shard in part.shards] == np.cumsum([0, *[shard.rows for shard in part.shards]])[
        :-1
    ].tolist()
    assert len(part.shards) > 2
    with pytest.raises(IndexError):
        part.take(np.array([5]))
    # In windows of two shards, as streaming takes them.
    streamed = StreamedBatches(part, 5, 0, (0, 5), window_bytes=1)
    assert sorted(keys(streamed[0].images)) == sorted(image.tobytes() for image in part.images)


def test_a_domain_of_fewer_images_than_a_batch(dataset: Dataset) -> None:
    with pytest.raises(UserError, match=r"a batch of 19 images cannot be drawn from 1[0-9]; lower train.batch"):
        open_unpaired(dataset.split("train"), 19, 0, (0, 19))


def test_domains_are_exclusive_where_every_record_is_in_one(dataset: Dataset, tmp_path: Path) -> None:
    assert dataset.exclusive_domains
    assert dataset.judged_names == ["a", "b"]
    records = {str(n): Record(noise(n), domains=(1, n % 2)) for n in range(6)}
    source = ListSource(records, Columns(domain_names=["a", "b"]))
    both = prepare_dataset(source, Preparation(size=8, test_share=0), tmp_path, "x")
    assert not both.exclusive_domains
    assert both.judged_names is None
    # As many domains as records, but two of one record and none of another.
    shared = [(1, 1), (0, 0), (1, 0), (0, 1)]
    records = {str(n): Record(noise(n), domains=domains) for n, domains in enumerate(shared)}
    source = ListSource(records, Columns(domain_names=["a", "b"]))
    uneven = prepare_dataset(source, Preparation(size=8, test_share=0), tmp_path, "y")
    assert uneven.manifest.domain_counts == {"train": [2, 2], "test": [0, 0]}
    assert uneven.manifest.in_one_domain == {"train": 2, "test": 0}
    assert not uneven.exclusive_domains
    # A manifest from before they were counted says the same.
    for one, exclusive in ((dataset, True), (both, False), (uneven, False)):
        before = Dataset(one.location, one.manifest.model_copy(update={"in_one_domain": None}))
        assert before.exclusive_domains is exclusive


def test_the_halves_of_pairs_are_two_domains(tmp_path: Path) -> None:
    files = {
        "train/1.png": picture(1, (20, 10)),
        "val/2.png": picture(2, (20, 10)),
        "train/3.png": picture(3, (21, 10)),
    }
    folder = as_folder(tmp_path, {name: encoded(image) for name, image in files.items()})
    source = open_source(folder, Reading(kind="halves"))
    assert source.columns.model_dump(exclude_defaults=True) == {"domain_names": ["left", "right"]}
    assert source.names[:2] == ["train/1.png#left", "train/1.png#right"]
    assert source.splits == {"train": range(4), "test": range(4, 6)}
    left, right = source.read(0), source.read(1)
    pixels = np.asarray(files["train/1.png"])
    np.testing.assert_array_equal(np.asarray(left.image), pixels[:, :10])
    np.testing.assert_array_equal(np.asarray(right.image), pixels[:, 10:])
    assert (left.domains, right.domains) == ((1, 0), (0, 1))
    with pytest.raises(BadRecordError, match="a pair side by side of odd width, 21"):
        source.read(2)
