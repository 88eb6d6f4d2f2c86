"""`gan prepare` and `gan data` as a person types them, on disk and in an object store."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganlib.data import Dataset, Preparation, prepare_dataset
from ganlib.data.sources.base import Record
from pipelines.cli.data import describe_dataset
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home
from pipelines.shipped import find_recipe
from tests.ganlib.data.list_source import ListSource, noise
from tests.pipelines.command import gan, refused
from tests.s3 import s3_folder

__all__ = ["s3_folder"]


@pytest.fixture
def captioned(tmp_path: Path) -> Path:
    """A zip of 20 pictures of 24x24, each of one colour, with captions; the last caption has no picture."""
    path = tmp_path / "squares.zip"
    lines = ["file,caption"]
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(20):
            picture = tmp_path / f"{index:02d}.png"
            Image.new("RGB", (24, 24), (10 * index, 0, 0)).save(picture)
            archive.write(picture, f"images/{index:02d}.png")
            lines.append(f"images/{index:02d}.png,{'dark' if index < 10 else 'bright'} red")
        archive.writestr("captions.csv", "\n".join([*lines, "images/99.png,nothing"]))
    return path


def test_a_dataset_is_prepared_listed_shown_and_verified(captioned: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    home = tmp_path / "home"
    (tmp_path / "squares").mkdir()
    monkeypatch.chdir(tmp_path)  # where a folder is called as the dataset is
    words = ["prepare", "squares", "--source", captioned, "--home", home, "data.size=12", "--max-bad", 0.1]
    assert gan(*words, "data.read.domain_rule={dark: [dark], bright: [bright]}") == 0
    said = capsys.readouterr().out
    assert "2 domains, captions" in said
    assert "images/99.png" in said
    (folder,) = (home / "datasets").glob("squares-*")
    dataset = Dataset.open(folder)
    assert sum(dataset.manifest.counts.values()) == 20
    assert dataset.manifest.skipped_count == 1
    assert gan("data", "list", "--home", home) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 2
    assert listed[1].split()[0] == "squares"
    assert gan("data", "show", "squares", "--home", home, "-o", tmp_path / "sheet.png", "-n", 4) == 0
    assert "24x24: 20" in capsys.readouterr().out
    with Image.open(tmp_path / "sheet.png") as sheet:
        reds = np.unique(np.asarray(sheet.convert("RGB")).reshape(-1, 3), axis=0)
    train = dataset.split("train").take(np.arange(len(dataset.split("train"))))[:, 0, 0, 0]
    # Four of the training images are on the sheet, the first and the last among them.
    shown = {int(red) for red, green, blue in reds if green == 0 and blue == 0 and red in train}
    assert {int(train[0]), int(train[-1])} <= shown
    capsys.readouterr()
    (folder / "reference").mkdir()
    (folder / "reference" / "old.json").write_text("{}")
    assert gan("data", "verify", "squares", "--home", home) == 0
    whole, unknown = capsys.readouterr().out.splitlines()
    assert whole.startswith(f"{folder}: 2 shards, ")
    assert unknown.startswith("not checked, as they carry no digest: reference/old.json; ")
    shard = folder / dataset.manifest.shards[0].file
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    assert shard.name in refused(capsys, "data", "verify", "squares", "--home", home)


def test_what_a_dataset_holds_is_shown_class_by_class_with_what_was_skipped_and_why(tmp_path: Path, capsys) -> None:
    rng = np.random.default_rng(0)
    for place, count in {"train/cat": 5, "train/dog": 3, "test/cat": 2, "test/dog": 1}.items():
        (tmp_path / "pets" / place).mkdir(parents=True)
        for index in range(count):
            picture = Image.fromarray(rng.integers(0, 256, (20, 30 if index else 24, 3), dtype=np.uint8))
            picture.save(tmp_path / "pets" / place / f"{index}.png")
    cut = tmp_path / "pets/train/dog/cut.png"
    cut.write_bytes(cut.with_name("0.png").read_bytes()[:200])
    (tmp_path / "pets/test/cat/none.jpg").touch()
    words = ["--home", tmp_path / "home"]
    assert gan("prepare", "pets", "--source", tmp_path / "pets", "data.size=8", "--max-bad", 0.2, *words) == 0
    capsys.readouterr()
    assert gan("data", "show", "pets", *words, "-o", tmp_path / "sheet.png") == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "images 8 train, 3 test",
        "class cat: 5 train, 2 test",
        "class dog: 3 train, 1 test",
        "size before 30x20: 7",
        "size before 24x20: 4",
        "skipped 2 records",
        "test/cat/none.jpg: empty file",
    ):
        assert line in shown
    (why,) = (line for line in shown if line.startswith("train/dog/cut.png: "))
    assert "broken or cut short" in why
    assert shown.index("skipped 2 records") == shown.index(why) - 1  # in the source's order: train comes first


def test_of_many_skipped_records_it_is_said_how_many_are_not_named(tmp_path: Path, capsys) -> None:
    records = {f"{seed:04d}": Record(noise(seed)) for seed in range(20)}
    source = ListSource(records, faults=[(f"{number:04d}.png", "gone") for number in range(1234)])
    dataset = prepare_dataset(source, Preparation(size=8, max_bad=0.99), tmp_path, "x")
    for whole, named, rest in ((True, 1000, "... and 234 more, not written down"), (False, 10, "... and 1,224 more")):
        describe_dataset(dataset, whole)
        said = [line.strip() for line in capsys.readouterr().out.splitlines()]
        assert "skipped      1,234 records" in said
        assert [line for line in said if line.endswith(": gone")] == [f"{row:04d}.png: gone" for row in range(named)]
        assert said[said.index(f"{named - 1:04d}.png: gone") + 1] == rest


def test_a_source_is_read_as_the_kind_that_is_said(captioned: Path, tmp_path: Path, capsys) -> None:
    """Recognised, it is pictures with captions, one of which has no picture."""
    words = ["--source", captioned, "--home", tmp_path / "home", "data.size=12", "data.channels=1"]
    assert gan("prepare", "plain", "--kind", "folder", *words) == 0
    assert "images alone" in capsys.readouterr().out
    (folder,) = (tmp_path / "home" / "datasets").glob("plain-*")
    manifest = Dataset.open(folder).manifest
    assert (manifest.source.kind, manifest.source.reading.kind) == ("folder", "folder")
    assert (sum(manifest.counts.values()), manifest.skipped_count) == (20, 0)
    assert "data.read.kind is 'foldr'" in refused(capsys, "prepare", "plain", "--kind", "foldr", *words)


def test_a_prepared_dataset_is_a_source_by_its_name(captioned: Path, tmp_path: Path, capsys) -> None:
    home = tmp_path / "home"
    small = ["data.size=16", "--max-bad", 0.1]
    assert gan("prepare", "squares", "--source", captioned, "--home", home, *small) == 0
    first = capsys.readouterr().out
    assert gan("prepare", "avatars", "--source", "squares", "--home", home) == 0
    assert capsys.readouterr().out.splitlines()[0] == first.splitlines()[0]
    said = refused(capsys, "train", "avatars", "--source", "squares", "--home", home)
    assert "16x16x3" in said


def test_a_dataset_has_the_name_that_it_is_given_though_it_is_a_recipe_s(
    captioned: Path, tmp_path: Path, capsys
) -> None:
    """And whoever trains on that source, by whichever recipe, has this dataset: nothing is prepared twice."""
    home = tmp_path / "home"
    words = ["--source", captioned, "--home", home, "data.size=16", "--max-bad", 0.1]
    assert gan("prepare", "avatars", *words) == 0
    (folder,) = (home / "datasets").glob("[!.]*")
    assert folder.name.rpartition("-")[0] == "avatars"
    assert gan("data", "show", "avatars", "--home", home, "-o", tmp_path / "sheet.png") == 0
    assert str(folder) in capsys.readouterr().out

    def from_it(recipe: str) -> Dataset:
        found = find_recipe(recipe, ["data.size=16", "data.max_bad=0.1"])
        return DatasetRequest(found.data, Home(home), str(captioned)).prepare()

    for recipe in ("avatars", "dcgan-64"):
        assert from_it(recipe).path == folder
    # A second name is a second dataset, of the same content; with the first one gone, it is the one.
    assert gan("prepare", "others", "data.channels=3", *words) == 0
    assert sorted(path.name for path in (home / "datasets").glob("[!.]*")) == [
        folder.name,
        folder.name.replace("avatars", "others"),
    ]
    shutil.rmtree(folder)
    assert from_it("avatars").name == "others"


def test_too_many_bad_records_stop_it(captioned: Path, tmp_path: Path, capsys) -> None:
    home = tmp_path / "home"
    said = refused(capsys, "prepare", "squares", "--source", captioned, "--home", home)
    assert "images/99.png" in said
    assert not list((home / "datasets").glob("squares-*"))


def test_an_object_store_is_source_and_store(captioned: Path, tmp_path: Path, s3_folder: str, capsys) -> None:
    from ganlib.data.storage import Location

    (Location.of(s3_folder) / "squares.zip").write(captioned.read_bytes())
    home, store = tmp_path / "home", f"{s3_folder}/datasets"
    words = ["--home", home, "--store", store]
    small = ["data.size=12", "--max-bad", 0.1]
    assert gan("prepare", "squares", "--source", f"{s3_folder}/squares.zip", *words, *small) == 0
    capsys.readouterr()
    assert gan("data", "list", *words) == 0
    name = capsys.readouterr().out.splitlines()[1].split()[-1]
    local = tmp_path / "local"
    assert gan("prepare", "squares", "--source", captioned, "--home", local, *small) == 0
    # The same content has the same name and bytes, wherever it came from and wherever it lies.
    assert (local / "datasets" / name).is_dir()
    assert gan("data", "verify", f"{store}/{name}", *words) == 0
    remote, here = Dataset.open(f"{store}/{name}"), Dataset.open(local / "datasets" / name)
    rows = np.arange(len(here.split("train")))
    assert (remote.split("train").take(rows) == here.split("train").take(rows)).all()


def test_what_is_not_there_is_said(tmp_path: Path, capsys) -> None:
    home = tmp_path / "home"
    assert "there is no dataset nowhere" in refused(capsys, "data", "show", "nowhere", "--home", home)
    assert "does not exist" in refused(capsys, "prepare", "x", "--source", tmp_path / "none", "--home", home)
    assert gan("data", "list", "--home", home) == 0
    assert "did you mean 'data.size'" in refused(
        capsys, "prepare", "x", "--source", tmp_path, "--home", home, "data.sise=3"
    )
