"""Preparation into an object store: the same files, damage, cut off, and by several at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganlib.data import Dataset, prepare_dataset
from ganlib.data.plan import ShardTask
from ganlib.data.shard_writer import ShardOutcome, ShardWriter
from ganlib.data.staging import Staging
from ganlib.data.storage import Location
from ganlib.errors import UserError
from tests.s3 import s3_folder  # noqa: F401

from . import preparing
from .preparing import run
from .test_prepare import contents


@pytest.mark.usefixtures("small_shards")
def test_an_object_store_gets_the_same_files(tmp_path: Path, s3_folder: str) -> None:  # noqa: F811
    here = prepare_dataset(preparing.source(), preparing.PREPARATION, tmp_path, "x")
    into = Location.of(s3_folder)
    there = prepare_dataset(preparing.source(), preparing.PREPARATION, s3_folder, "x")
    assert str(there.location) == f"{s3_folder}/{here.path.name}"
    assert {entry.name: (there.location / entry.name).read() for entry in there.location.list()} == contents(here.path)
    assert not [entry.name for entry in into.list(recursive=True) if "staging" in entry.name]
    source = preparing.source()
    assert prepare_dataset(source, preparing.PREPARATION, into, "x").location == there.location
    assert source.reads == 0
    there.verify()
    split, local = Dataset.open(str(there.location)).split("train"), here.split("train")
    assert not split.local
    assert len(split.shards) > 5
    indices = np.random.default_rng(0).permutation(len(local))
    np.testing.assert_array_equal(split.take(indices), local.take(indices))
    assert split.names == local.names
    np.testing.assert_array_equal(split.shards[2].load().images, local.shards[2].load().images)
    with pytest.raises(UserError, match="is in an object store"):
        _ = there.path


@pytest.mark.usefixtures("small_shards")
def test_an_object_store_s_damage_is_found_and_made_good(s3_folder: str) -> None:  # noqa: F811
    dataset = prepare_dataset(preparing.source(), preparing.PREPARATION, s3_folder, "x")
    shard = dataset.location / dataset.manifest.shards[1].file
    content = bytearray(shard.read())
    content[-300] ^= 1
    shard.write(bytes(content))
    with pytest.raises(UserError, match=f"{shard} has changed"):
        Dataset.open(dataset.location).verify()
    shard.remove()
    with pytest.raises(UserError, match=f"the shard {shard} is missing"):
        Dataset.open(dataset.location)
    prepare_dataset(preparing.source(), preparing.PREPARATION, s3_folder, "x").verify()


@pytest.mark.usefixtures("small_shards")
def test_a_preparation_into_an_object_store_goes_on_where_it_stopped(s3_folder: str) -> None:  # noqa: F811
    def interrupt(done: int, total: int) -> None:
        if done >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_dataset(preparing.source(), preparing.PREPARATION, s3_folder, "x", interrupt)
    source = preparing.source()
    prepare_dataset(source, preparing.PREPARATION, s3_folder, "x").verify()
    assert source.reads <= 30


class Stop:
    """Whoever comes here first waits until it may go on; who comes later passes."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> None:
        if not self.reached.is_set():
            self.reached.set()
            assert self.go_on.wait(60)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("where", ["test", "written", "copy"])
def test_of_two_at_once_in_a_store_the_later_has_what_the_first_left(
    where: str,
    s3_folder: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is stopped before it writes test's shards, leaves duplicates out of them, or takes them to their place; the
    first takes away what they share."""
    stop, copy = Stop(), Location.copy

    def mapper(writer: ShardWriter, tasks: Sequence[ShardTask]) -> Iterator[ShardOutcome]:
        for task in tasks:
            if task.split == where:
                stop()
            yield writer(task)
        if where == "written":
            stop()

    def copy_later(self: Location, target: Location) -> None:
        stop()
        copy(self, target)

    if where == "copy":
        monkeypatch.setattr(Location, "copy", copy_later)
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(prepare_dataset, preparing.source(), preparing.PREPARATION, s3_folder, "x", mapper=mapper)
        assert stop.reached.wait(60)
        first = prepare_dataset(preparing.source(), preparing.PREPARATION, s3_folder, "x")
        assert first.manifest.duplicates["left_out_of_test"] > 0
        stop.go_on.set()
        assert later.result(60).location == first.location
    Dataset.open(first.location).verify()
    assert not [entry.name for entry in Location.of(s3_folder).list(recursive=True) if "staging" in entry.name]


@pytest.mark.usefixtures("small_shards")
def test_of_two_at_once_in_a_store_neither_undoes_what_the_other_left_out(
    s3_folder: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The later writes test's shards, duplicates and all, when the first has left them out and is about to settle."""
    stop, written, settle = Stop(), threading.Event(), Staging.settle

    def mapper(writer: ShardWriter, tasks: Sequence[ShardTask]) -> Iterator[ShardOutcome]:
        for task in tasks:
            if task.split == "test":
                stop()
            yield writer(task)
        written.set()

    def settle_when_written(self: Staging, *arguments: Any) -> Dataset:
        stop.go_on.set()
        assert written.wait(60)
        return settle(self, *arguments)

    monkeypatch.setattr(Staging, "settle", settle_when_written)
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(prepare_dataset, preparing.source(), preparing.PREPARATION, s3_folder, "x", mapper=mapper)
        assert stop.reached.wait(60)
        prepare_dataset(preparing.source(), preparing.PREPARATION, s3_folder, "x").verify()
        later.result(60).verify()


def test_processes_at_once_in_a_store_all_have_the_dataset(s3_folder: str) -> None:  # noqa: F811
    for number in range(3):
        into = f"{s3_folder}/{number}"
        places = [line.split()[1] for line in run("together", into, 3) if line]
        assert len(places) == 3
        (place,) = set(places)
        dataset = Dataset.open(f"{into}/{place}")
        dataset.verify()
        assert dataset.manifest.duplicates["left_out_of_test"] > 0
        assert [entry.name for entry in Location.of(into).list() if entry.name != ".prepared"] == [place]
