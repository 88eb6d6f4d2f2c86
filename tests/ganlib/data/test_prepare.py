"""Preparing datasets: the same bytes whoever writes them, splits, limits, what is said of bad records."""

from __future__ import annotations

import fcntl
import os
import pickle
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from ganlib.data import Columns, Dataset, Preparation, open_source, plan, prepare_dataset, staging
from ganlib.data.prepare import ShardOutcome, ShardTask, ShardWriter
from ganlib.data.sources.base import Record
from ganlib.data.storage import Location
from ganlib.errors import UserError
from tests.s3 import s3_folder

from .conftest import SavePicture
from .list_source import ListSource, noise, noises

__all__ = ["s3_folder"]

SMALL = Preparation(size=8)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def seen(folder: Path) -> list[str]:
    """What `ls` shows."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_prepared_twice_is_the_same_bytes(tmp_path: Path) -> None:
    first, again = (prepare_dataset(noises(30), SMALL, tmp_path / place, "x") for place in "ab")
    assert first.path != again.path
    assert contents(first.path) == contents(again.path)
    assert set(contents(first.path)) == {"manifest.json", "train-00000.arrow", "test-00000.arrow"}
    assert first.path.name == f"x-{first.digest[:12]}"
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [".prepared", first.path.name]


class Shuffled:
    """A mapper that is given the writer's threads, does the tasks in another order, and counts them."""

    def __init__(self, seed: int, threads: int) -> None:
        self.seed, self.threads, self.count = seed, threads, 0

    def __call__(self, writer: ShardWriter, tasks: Sequence[ShardTask]) -> Iterator[ShardOutcome]:
        # As they go to another machine.
        writer = pickle.loads(pickle.dumps(replace(writer, threads=self.threads)))
        for index in np.random.default_rng(self.seed).permutation(len(tasks)):
            self.count += 1
            yield writer(tasks[index])


def test_threads_order_and_who_writes_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SHARD_BYTES", 7 * 192)
    records: dict[str, Record | str] = {f"{seed:03d}": Record(noise(seed % 90)) for seed in range(100)}
    records |= {"013": "cut short", "050": "empty file"}
    source, preparation = ListSource(records), SMALL.model_copy(update={"max_bad": 0.02})
    expected = prepare_dataset(source, preparation, tmp_path / "here", "x")
    assert len(expected.manifest.shards) > 10
    for seed, threads in enumerate([1, 4]):
        mapper = Shuffled(seed, threads)
        dataset = prepare_dataset(source, preparation, tmp_path / f"{threads}", "x", mapper=mapper)
        assert contents(dataset.path) == contents(expected.path)
        assert mapper.count >= len(expected.manifest.shards)


def test_a_fingerprint_that_is_known_opens_without_reading(tmp_path: Path) -> None:
    source = noises(20)
    dataset = prepare_dataset(source, SMALL, tmp_path, "x")
    reads, before = source.reads, {path: path.stat().st_mtime_ns for path in dataset.path.iterdir()}
    calls: list[tuple[int, int]] = []
    again = prepare_dataset(source, SMALL, tmp_path, "x", lambda done, total: calls.append((done, total)))
    assert again.path == dataset.path
    assert (source.reads, calls) == (reads, [])
    assert {path: path.stat().st_mtime_ns for path in dataset.path.iterdir()} == before


@pytest.mark.parametrize("memory", ["", "[]", "nonsense", '{"dataset": "../x-000000000000"}', "[" * 100_000])
def test_a_broken_memory_of_what_was_prepared_costs_only_time(tmp_path: Path, memory: str) -> None:
    dataset = prepare_dataset(noises(20), SMALL, tmp_path, "x")
    kept = list((tmp_path / ".prepared").iterdir())
    assert len(kept) == 2  # by the name, and by whichever name
    for name, mended in (("x", 2), (None, 1)):
        for path in kept:
            path.write_text(memory)
        # The source is a list, and is called so.
        assert prepare_dataset(noises(20), SMALL, tmp_path, name).path.name == f"{name or 'list'}-{dataset.digest[:12]}"
        assert sum(dataset.digest[:12] in path.read_text() for path in kept) == mended


def test_the_same_content_from_elsewhere_is_the_same_dataset(save_picture: SavePicture, tmp_path: Path) -> None:
    for seed in range(12):
        save_picture(f"{seed:02d}.png", seed)
    dataset = prepare_dataset(open_source(tmp_path / "pictures"), SMALL, tmp_path / "out", "x")
    before = {path: path.stat().st_mtime_ns for path in dataset.path.iterdir()}
    for path in (tmp_path / "pictures").iterdir():
        path.write_bytes(path.read_bytes())
    again = prepare_dataset(open_source(tmp_path / "pictures"), SMALL, tmp_path / "out", "x")
    assert again.path == dataset.path
    assert {path: path.stat().st_mtime_ns for path in dataset.path.iterdir()} == before
    assert len(list((tmp_path / "out" / ".prepared").iterdir())) == 2 * 2  # of two sources, by name and without


def test_every_field_of_the_preparation_makes_another_dataset(tmp_path: Path) -> None:
    changes: list[dict[str, object]] = [
        {},
        {"size": 9},
        {"channels": 1},
        {"fit": "pad"},
        {"pairs": "edges"},
        {"test_share": 0.2},
        {"max_bad": 0.5},
    ]
    source = noises(20)
    digests = {prepare_dataset(source, SMALL.model_copy(update=change), tmp_path, "x").digest for change in changes}
    assert len(digests) == len(changes)


@pytest.mark.parametrize(
    "field",
    [
        {"size": 7},
        {"size": 1025},
        {"channels": 2},
        {"fit": "squeeze"},
        {"pairs": "all"},
        {"test_share": 1.0},
        {"max_bad": -0.1},
        {"crop": True},
    ],
)
def test_a_preparation_out_of_range_is_refused(field: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(field))):
        Preparation.model_validate({"size": 8, "channels": 1} | field)


@pytest.mark.parametrize("name", ["", ".x", "a/b", "a\nb", "../x"])
def test_a_name_that_is_no_folders_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="a dataset cannot be called"):
        prepare_dataset(noises(3), SMALL, tmp_path / "out", name)
    assert not (tmp_path / "out").exists()


def test_progress_counts_every_record_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SHARD_BYTES", 3 * 192)
    calls: list[tuple[int, int]] = []
    records: dict[str, Record | str] = {str(seed): Record(noise(seed)) for seed in range(17)} | {"3": "bad"}
    prepare_dataset(
        ListSource(dict(sorted(records.items()))),
        SMALL.model_copy(update={"max_bad": 0.1}),
        tmp_path,
        "x",
        lambda done, total: calls.append((done, total)),
    )
    assert calls[-1] == (17, 17)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert len(calls) >= 6


def test_split_by_name_stays_when_images_are_added(tmp_path: Path) -> None:
    preparation = SMALL.model_copy(update={"test_share": 0.3})
    names = sorted([f"m{seed}" for seed in range(40)])
    more = sorted([*names, *(f"{way}{seed}" for seed in range(20) for way in "az")])

    def test_names(names: list[str]) -> set[str]:
        records = {name: Record(noise(seed)) for seed, name in enumerate(names)}
        return set(prepare_dataset(ListSource(records), preparation, tmp_path, "x").split("test").names)

    before = test_names(names)
    assert 0 < len(before) < 40
    assert {name for name in test_names(more) if name.startswith("m")} == before


def test_splits_of_the_source_are_kept(tmp_path: Path) -> None:
    source = noises(9)
    records = {name: source.read(row) for row, name in enumerate(source.names)}
    dataset = prepare_dataset(
        ListSource(records, splits={"test": range(2, 5), "train": range(5, 9)}), SMALL, tmp_path, "x"
    )
    assert dataset.split("train").names == ["0005", "0006", "0007", "0008"]
    assert dataset.split("test").names == ["0002", "0003", "0004"]
    alone = prepare_dataset(ListSource(records, splits={"train": range(9)}), SMALL, tmp_path, "y")
    assert alone.manifest.counts == {"train": 9, "test": 0}


def test_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    message = "list leaves nothing to train on"
    with pytest.raises(UserError, match=message):
        prepare_dataset(noises(1), SMALL.model_copy(update={"test_share": 0.999}), tmp_path / "out", "x")
    bad = ListSource({"0": "bad", "1": Record(noise(1))}, splits={"train": range(1), "test": range(1, 2)})
    with pytest.raises(UserError, match=message):
        prepare_dataset(bad, SMALL.model_copy(update={"max_bad": 0.9}), tmp_path / "out", "x")
    assert not list((tmp_path / "out").iterdir())


def test_small_images_are_enlarged_and_their_sizes_are_told(save_picture: SavePicture, tmp_path: Path) -> None:
    for seed in range(6):
        save_picture(f"{seed}.png", seed, (5, 4) if seed < 4 else (20, 30))
    preparation = Preparation(size=16, test_share=0)
    dataset = prepare_dataset(open_source(tmp_path / "pictures"), preparation, tmp_path, "x")
    assert dataset.manifest.original_sizes == {"5x4": 4, "20x30": 2}
    with Image.open(tmp_path / "pictures" / "0.png") as image:  # of 5x4, the columns 0 to 3
        enlarged = np.asarray(image.crop((0, 0, 4, 4)).resize((16, 16), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(dataset.split("train").images[0] - enlarged).max() <= 1


def test_many_sizes_are_told_up_to_twenty(tmp_path: Path) -> None:
    records = {f"{width:03d}": Record(noise(width, width, 9)) for width in range(10, 40)}
    records |= {f"{width:03d}": Record(noise(width, 8, 8)) for width in range(50, 53)}
    dataset = prepare_dataset(ListSource(records), SMALL, tmp_path, "x")
    sizes = dataset.manifest.original_sizes
    assert list(sizes.items())[:2] == [("8x8", 3), ("10x9", 1)]
    assert (len(sizes), sizes["other"], sum(sizes.values())) == (21, 11, 33)


def test_edges_make_the_other_side(tmp_path: Path) -> None:
    from ganlib.data.edges import contours

    dataset = prepare_dataset(noises(4), SMALL.model_copy(update={"pairs": "edges", "test_share": 0}), tmp_path, "x")
    split = dataset.split("train")
    assert dataset.columns.partner
    rows = np.arange(4)
    np.testing.assert_array_equal(split.take_partner(rows), np.stack([contours(image) for image in split.take(rows)]))
    pairs = ListSource({"a": Record(noise(1), partner=noise(2))}, Columns(partner=True))
    points = ListSource({"a": Record(np.zeros((1, 1, 1), np.float32))}, Columns(dtype="float32"))
    for source, message in ((pairs, "holds pairs already"), (points, "holds points")):
        with pytest.raises(UserError, match=message):
            prepare_dataset(source, SMALL.model_copy(update={"pairs": "edges"}), tmp_path, "x")


def test_bad_records_are_skipped_counted_and_named(tmp_path: Path) -> None:
    good = noise(1, 16, 8)
    columns = Columns(class_names=["a"], captions=True, boxes=True, partner=True)
    whole = {"label": 0, "captions": ("c",), "box": (4.0, 0.0, 2.0, 2.0), "partner": noise(2, 16, 8)}
    records: dict[str, Record | str] = {
        "0": Record(good, **whole),  # type: ignore[arg-type]
        "1": "cut short",
        "2": Record(good, **whole | {"label": None}),  # type: ignore[arg-type]
        "3": Record(good, **whole | {"label": 1}),  # type: ignore[arg-type]
        "4": Record(good, **whole | {"captions": ()}),  # type: ignore[arg-type]
        "5": Record(good, **whole | {"box": (0.0, 0.0, 2.0, 2.0)}),  # type: ignore[arg-type]
        "6": Record(good, **whole | {"partner": noise(2, 8, 16)}),  # type: ignore[arg-type]
    }
    source = ListSource(records, columns, {"train": range(7)}, faults=[("x.txt", "no image")])
    dataset = prepare_dataset(source, SMALL.model_copy(update={"max_bad": 0.9}), tmp_path, "x")
    assert dataset.split("train").names == ["0"]
    assert {one.record: one.reason for one in dataset.manifest.skipped} == {
        "x.txt": "no image",
        "1": "cut short",
        "2": "it has no label",
        "3": "its label 1 is none of the 1 classes",
        "4": "it has no caption",
        "5": "its box lies outside the picture",
        "6": "the two parts of the pair are of different size, 16x8 and 8x16",
    }
    assert dataset.manifest.skipped_count == 7


def test_the_manifest_names_the_first_thousand(tmp_path: Path) -> None:
    source = ListSource({"a": Record(noise(1))}, splits={"train": range(1)}, faults=[("x", "gone")] * 1500)
    manifest = prepare_dataset(source, SMALL.model_copy(update={"max_bad": 0.9999}), tmp_path, "x").manifest
    assert (len(manifest.skipped), manifest.skipped_count) == (1000, 1500)


@pytest.mark.parametrize(("bad", "faults", "stops"), [(1, 1, False), (2, 0, False), (2, 1, True), (0, 3, True)])
def test_past_max_bad_it_stops_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: int, faults: int, stops: bool
) -> None:
    monkeypatch.setattr(plan, "SHARD_BYTES", 5 * 192)
    records: dict[str, Record | str] = {f"{seed:03d}": Record(noise(seed)) for seed in range(100)}
    records |= {f"{row:03d}": "cut\nshort" for row in range(40, 40 + bad)}
    source = ListSource(records, faults=[("fault\n", "gone")] * faults)
    preparation = SMALL.model_copy(update={"max_bad": 0.02})  # of 100 to 103: two
    kept = prepare_dataset(noises(5), SMALL, tmp_path, "x")
    before = contents(tmp_path)
    if not stops:
        assert prepare_dataset(source, preparation, tmp_path, "x").manifest.skipped_count == 2
        return
    with pytest.raises(
        UserError, match=f"list: 3 of {100 + faults} records cannot be used, max_bad .* 0.02: "
    ) as caught:
        prepare_dataset(source, preparation, tmp_path, "x")
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("(") == 3
    assert contents(tmp_path) == before
    assert seen(tmp_path) == [kept.path.name]


def test_leftovers_of_the_killed_go_after_a_day(tmp_path: Path) -> None:
    old, young, other = tmp_path / ".x.arrow.0123456789ab.tmp", tmp_path / ".y.ba9876543210.tmp", tmp_path / ".z.tmp"
    for path in (old, young, other):
        path.mkdir()
        (path / "part").write_bytes(b"x")
    stale = tmp_path / ".f.json.0123456789ab.tmp"
    stale.write_bytes(b"x")
    for path in (old, other, stale):
        os.utime(path, (time.time() - 90_000, time.time() - 90_000))
    prepare_dataset(noises(3), SMALL, tmp_path, "x")
    assert [path.exists() for path in (old, stale, young, other)] == [False, False, True, True]


@pytest.mark.parametrize("store", ["local", "s3"])
def test_what_is_staged_goes_once_nobody_has_gone_on_with_it_for_a_month(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    store: str,
) -> None:
    into = Location.of(tmp_path / "out" if store == "local" else request.getfixturevalue("s3_folder"))

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    def cut_off(name: str) -> None:
        with pytest.raises(KeyboardInterrupt):
            prepare_dataset(noises(20), SMALL, into, name, interrupt)

    def staged() -> int:
        return sum(entry.folder and entry.name.startswith(".staging-") for entry in into.list())

    cut_off("a")
    now, passed = time.time(), 0.0
    monkeypatch.setattr(staging, "time", SimpleNamespace(time=lambda: now + passed))
    passed = 29 * 24 * 3600
    cut_off("b")
    assert staged() == 2
    passed = 31 * 24 * 3600
    if into.local is not None:
        places = [entry.name for entry in into.list() if entry.folder and entry.name.startswith(".staging-")]
        with ExitStack() as at_work:  # somebody, on both
            for place in places:
                fcntl.flock(at_work.enter_context((into.local / f"{place}.lock").open("w")), fcntl.LOCK_EX)
            prepare_dataset(noises(20), SMALL, into, "c")
        assert staged() == 2
        (into.local / ".staging-0123456789ab.lock").touch()  # of one that was killed before it wrote anything
    dataset = prepare_dataset(noises(21), SMALL, into, "d")
    assert staged() == 0
    assert not [entry.name for entry in into.list() if entry.name.endswith(".lock")]
    dataset.verify()


def test_seventy_thousand_images_open_from_few_files(mnist: Dataset) -> None:
    assert mnist.manifest.counts == {"train": 60_000, "test": 10_000}
    assert len(mnist.manifest.shards) == 4
    assert mnist.manifest.duplicates == {"train": 0, "test": 0, "left_out_of_test": 0}
