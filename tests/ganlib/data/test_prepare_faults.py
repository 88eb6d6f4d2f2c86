"""Preparation cut off, twice at once, and on full and forbidden disks."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ganlib.data import Dataset, Preparation, plan, prepare_dataset
from ganlib.data.plan import ShardTask
from ganlib.data.shard_writer import ShardOutcome, ShardWriter
from ganlib.data.storage import StoreError
from ganlib.errors import UserError

from . import preparing
from .list_source import ListSource, noises
from .preparing import run
from .test_prepare import contents, seen

SMALL = Preparation(size=8)


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


def test_a_file_that_the_disk_cuts_short_stops_it_and_what_is_whole_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a full disk does: the kernel refuses what goes past 150,000 bytes of a file, which every shard does but the
    last of train, and test's. (A small disk, above, can be mounted by root alone.)"""
    monkeypatch.setattr(plan, "SHARD_BYTES", 200_000)
    kept = prepare_dataset(noises(20), SMALL, tmp_path / "store", "kept")
    before, preparation = contents(kept.path), Preparation(size=64)
    source = noises(90, width=64, height=64)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, limits[1]))
    try:
        with pytest.raises(UserError, match=f"cannot write {tmp_path}/store/.*: File too large; .*has room") as caught:
            prepare_dataset(source, preparation, tmp_path / "store", "x", mapper=backwards)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert seen(tmp_path / "store") == [kept.path.name]
    assert contents(kept.path) == before
    Dataset.open(kept.path).verify()
    assert not list((tmp_path / "store").rglob("*.tmp"))
    reads = source.reads
    dataset = prepare_dataset(source, preparation, tmp_path / "store", "x")
    assert 0 < source.reads - reads < 90
    assert contents(dataset.path) == contents(prepare_dataset(source, preparation, tmp_path / "whole", "x").path)


def backwards(writer: ShardWriter, tasks: Sequence[ShardTask]) -> Iterator[ShardOutcome]:
    return map(writer, reversed(tasks))


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
