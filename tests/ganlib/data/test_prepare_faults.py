"""Preparation cut off, twice at once, on full and forbidden disks, and in an object store."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganlib.data import Dataset, Preparation, plan, prepare_dataset
from ganlib.data.plan import ShardTask
from ganlib.data.shard_writer import ShardOutcome, ShardWriter
from ganlib.data.staging import Staging
from ganlib.data.storage import Location, StoreError
from ganlib.errors import UserError
from tests.s3 import s3_folder  # noqa: F401

from . import preparing
from .list_source import ListSource, noises
from .test_prepare import contents, seen

SMALL = Preparation(size=8)
ROOT = Path(__file__).parents[3]


def run(*arguments: object) -> list[str]:
    command = [sys.executable, "-m", "tests.ganlib.data.preparing", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout.split("\n")


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SHARD_BYTES", preparing.SHARD_BYTES)


@pytest.mark.usefixtures("small_shards")
def test_killed_at_any_moment_and_begun_again_it_is_the_same(tmp_path: Path) -> None:
    """Every file that is written is written once with a kill in the midst of it."""
    whole = prepare_dataset(preparing.source(), preparing.PREPARATION, tmp_path / "whole", "x")
    assert whole.manifest.duplicates["left_out_of_test"] > 0
    assert whole.manifest.skipped_count == 1
    expected, shards = contents(whole.path), len(whole.manifest.shards)
    moments = 2 * shards + 7  # each shard and its outcome; shards without duplicates; manifest; two memories
    places = [tmp_path / f"killed-{moment:02d}" for moment in range(moments)]
    killed = [line == "1" for line in run("kill", *places) if line]
    assert sum(killed) >= 2 * shards + 2
    assert killed == sorted(killed, reverse=True)  # the last ones were through before their moment came
    resumed = []
    for place, was_killed in zip(places, killed, strict=True):
        if was_killed:
            # All that was not whole is hidden.
            assert seen(place) in ([], [whole.path.name])
        source = preparing.source()
        dataset = prepare_dataset(source, preparing.PREPARATION, place, "x")
        resumed.append(source.reads)
        assert dataset.path.name == whole.path.name
        assert contents(dataset.path) == expected
        assert seen(place) == [whole.path.name]
        assert {path.name for path in place.iterdir()} == {".prepared", whole.path.name}
    # The first had nothing to go on with, and later ones less and less to do.
    assert resumed[0] == 60
    assert resumed[shards] < 40
    assert min(resumed) == 0


@pytest.mark.usefixtures("small_shards")
def test_interrupted_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done >= 30:
            raise KeyboardInterrupt

    source = noises(60)
    with pytest.raises(KeyboardInterrupt):
        prepare_dataset(source, SMALL, tmp_path / "cut", "x", interrupt)
    assert seen(tmp_path / "cut") == []
    calls: list[tuple[int, int]] = []
    again = noises(60)
    dataset = prepare_dataset(again, SMALL, tmp_path / "cut", "x", lambda done, total: calls.append((done, total)))
    assert calls[0][0] >= 30
    assert calls[-1] == (60, 60)
    assert again.reads <= 30
    assert contents(dataset.path) == contents(prepare_dataset(noises(60), SMALL, tmp_path / "whole", "x").path)


def test_processes_at_once_write_each_shard_once(tmp_path: Path) -> None:
    lines = [line.split() for line in run("together", tmp_path, 3) if line]
    written = [int(count) for count, _ in lines]
    (name,) = {name for _, name in lines}
    assert len(lines) == 3
    assert sorted(written)[:2] == [0, 0]
    assert max(written) > 8
    assert {path.name for path in tmp_path.iterdir()} == {".prepared", name}
    Dataset.open(tmp_path / name).verify()


def test_threads_at_once_give_one_dataset(tmp_path: Path) -> None:
    sources, datasets = [noises(60) for _ in range(3)], []
    threads = [
        threading.Thread(
            target=lambda source: datasets.append(prepare_dataset(source, SMALL, tmp_path, "x")), args=(one,)
        )
        for one in sources
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(datasets) == 3
    assert {dataset.path for dataset in datasets} == {tmp_path / seen(tmp_path)[0]}
    assert sorted(source.reads for source in sources) == [0, 0, 60]


def test_a_source_that_fails_as_a_whole_leaves_nothing(tmp_path: Path) -> None:
    class Broken(ListSource):
        def read(self, index: int):  # type: ignore[no-untyped-def]
            if index == 7:
                raise UserError("the archive ends in its midst")
            return super().read(index)

    source = noises(20)
    broken = Broken({name: source.read(row) for row, name in enumerate(source.names)})
    with pytest.raises(UserError, match="the archive ends in its midst"):
        prepare_dataset(broken, SMALL, tmp_path / "out", "x")
    assert not list((tmp_path / "out").iterdir())


def test_a_store_that_fails_in_the_midst_stops_it_and_what_is_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "SHARD_BYTES", 5 * 192)

    class Far(ListSource):
        reachable = False

        def read(self, index: int):  # type: ignore[no-untyped-def]
            if index >= 15 and not self.reachable:
                raise StoreError("cannot read s3://bucket/15.png: timed out")
            return super().read(index)

    near = noises(20)
    far = Far({name: near.read(row) for row, name in enumerate(near.names)}, splits={"train": range(20)})

    def in_order(writer, tasks):  # type: ignore[no-untyped-def]
        return map(writer, tasks)

    with pytest.raises(UserError, match=r"cannot read s3://bucket/15\.png: timed out"):
        prepare_dataset(far, SMALL, tmp_path, "x", mapper=in_order)
    assert seen(tmp_path) == []
    far.reachable, far.reads = True, 0
    dataset = prepare_dataset(far, SMALL, tmp_path, "x", mapper=in_order)
    assert far.reads == 5  # three shards of five stayed
    assert (dataset.manifest.counts["train"], dataset.manifest.skipped_count) == (20, 0)


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk can be mounted by root alone")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_named_and_room_lets_it_go_on(
    tmpfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "SHARD_BYTES", 200_000)
    kept = prepare_dataset(noises(20), SMALL, tmpfs, "kept")
    before, preparation = contents(kept.path), Preparation(size=64)
    source = noises(90, width=64, height=64)  # 1.1 MB
    with pytest.raises(UserError, match=f"cannot write {tmpfs}/.*No space left on device; .*room") as caught:
        prepare_dataset(source, preparation, tmpfs, "x")
    assert "\n" not in str(caught.value)
    assert seen(tmpfs) == [kept.path.name]
    assert contents(kept.path) == before
    Dataset.open(kept.path).verify()
    subprocess.run(["mount", "-o", "remount,size=4m", str(tmpfs)], check=True)
    reads = source.reads
    dataset = prepare_dataset(source, preparation, tmpfs, "x")
    assert source.reads - reads < 90
    assert contents(dataset.path) == contents(prepare_dataset(source, preparation, tmp_path / "whole", "x").path)


def test_a_read_only_disk_is_named_and_what_it_holds_is_read(tmpfs: Path) -> None:
    kept = prepare_dataset(noises(20), SMALL, tmpfs, "kept")
    subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
    with pytest.raises(UserError, match=f"cannot write {tmpfs}: Read-only file system; choose a folder"):
        prepare_dataset(noises(21), SMALL, tmpfs, "x")
    assert prepare_dataset(noises(20), SMALL, tmpfs, "kept").path == kept.path


@pytest.fixture
def forbidden() -> Iterator[Path]:
    """A folder that this process may read and not write, while the test runs as nobody (if it is root)."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        prepare_dataset(noises(20), SMALL, place, "kept")
        root = os.geteuid() == 0
        if not root:
            place.chmod(0o555)
        else:
            os.seteuid(65534)
        try:
            yield place
        finally:
            if root:
                os.seteuid(0)
            place.chmod(0o755)


def test_a_folder_without_write_permission_is_named(forbidden: Path) -> None:
    before = contents(forbidden)
    with pytest.raises(UserError, match=f"cannot write {forbidden}: Permission denied; choose a folder"):
        prepare_dataset(noises(21), SMALL, forbidden, "x")
    assert contents(forbidden) == before
    prepare_dataset(noises(20), SMALL, forbidden, "kept").verify()


@pytest.mark.parametrize("place", ["file/below", "/proc/nowhere"])
def test_an_output_folder_that_cannot_be_made_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"cannot .*{place}"):
        prepare_dataset(noises(3), SMALL, tmp_path / place, "x")


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
