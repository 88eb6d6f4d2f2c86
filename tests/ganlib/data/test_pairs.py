"""Pairs: side by side, and in two folders."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganlib.data.reading import Reading
from ganlib.data.sources import BadRecordError, open_source
from ganlib.errors import UserError

from .conftest import SHARED
from .pictures import as_folder, as_zip, encoded, noise, pngs, same


def test_the_first_half_is_the_image_and_the_other_its_partner(tmp_path: Path) -> None:
    folder = as_folder(tmp_path, pngs("train/2.png", "val/3.png", "train/1.png", size=(20, 10)))
    whole = np.asarray(noise(2, (20, 10)))
    source = pickle.loads(pickle.dumps(open_source(folder)))
    assert (source.kind, source.names) == ("pairs", ["train/1.png", "train/2.png", "val/3.png"])
    assert source.splits == {"train": range(2), "test": range(2, 3)}
    assert source.columns.model_dump(exclude_defaults=True) == {"partner": True}
    record = source.read(0)
    assert same(record.image, whole[:, :10])
    assert same(record.partner, whole[:, 10:])
    turned = open_source(folder, Reading(first="right"))
    assert same(turned.read(0).image, whole[:, 10:])
    assert same(turned.read(0).partner, whole[:, :10])
    assert turned.fingerprint() != source.fingerprint()


def test_a_pair_of_odd_width_is_a_bad_record(tmp_path: Path) -> None:
    folder = as_folder(tmp_path, {"1.png": encoded(noise(1, (20, 10))), "2.png": encoded(noise(2, (21, 10)))})
    source = open_source(folder, kind="pairs")
    assert source.read(0).image.size == (10, 10)
    with pytest.raises(BadRecordError, match="a pair side by side of odd width, 21"):
        source.read(1)


@pytest.mark.parametrize(
    ("image", "partner"),
    [("A", "B"), ("target", "input"), ("target", "source"), ("images", "edges"), ("photo", "sketch")],
)
def test_two_folders_are_matched_by_name(tmp_path: Path, image: str, partner: str) -> None:
    files = pngs(f"{image}/1.png", f"{image}/x/2.png", f"{partner}/x/2.bmp", f"{partner}/1.png")
    kind = "pair-folders" if image == "photo" else None
    source = pickle.loads(pickle.dumps(open_source(as_zip(tmp_path / "x.zip", files), kind=kind)))
    assert (source.kind, source.names, source.splits, source.faults) == ("pair-folders", ["1", "x/2"], None, [])
    assert source.columns.model_dump(exclude_defaults=True) == {"partner": True}
    for index, (one, other) in enumerate(((0, 3), (1, 2))):
        assert same(source.read(index).image, noise(one))
        assert same(source.read(index).partner, noise(other))
    turned = open_source(tmp_path / "x.zip", Reading(kind="pair-folders", first="right"))
    assert same(turned.read(0).image, noise(3))
    assert same(turned.read(0).partner, noise(0))


@pytest.mark.parametrize("form", ["{split}/{side}/{name}", "{side}/{split}/{name}"])
def test_splits_lie_above_or_below_the_sides(tmp_path: Path, form: str) -> None:
    places = [("train", "A", "2"), ("train", "B", "2"), ("test", "A", "1"), ("test", "B", "1")]
    names = [form.format(split=split, side=side, name=f"{name}.png") for split, side, name in places]
    source = open_source(as_folder(tmp_path, pngs(*names)))
    assert (source.kind, source.names) == ("pair-folders", ["train/2", "test/1"])
    assert source.splits == {"train": range(1), "test": range(1, 2)}
    assert same(source.read(1).image, noise(2))
    assert same(source.read(1).partner, noise(3))


def test_parts_without_partners_and_of_different_size_are_faults(tmp_path: Path) -> None:
    files = pngs("A/1.png", "A/2.png", "A/4.png", "A/4.bmp", "B/1.png", "B/3.png", "B/4.png", "A/5.png")
    source = open_source(as_folder(tmp_path, files | pngs("B/5.png", size=(12, 11))))
    assert (source.kind, source.names) == ("pair-folders", ["1", "5"])
    assert source.faults == [
        ("A/2.png", "a part of a pair without its partner"),
        ("A/4.bmp", "several files of one name"),
        ("A/4.png", "several files of one name"),
        ("B/3.png", "a part of a pair without its partner"),
        ("B/4.png", "several files of one name"),
    ]
    assert source.read(0).image.size == (12, 10)
    with pytest.raises(BadRecordError, match="two parts of a pair of different size, 12x10 and 12x11"):
        source.read(1)


def test_folders_that_hold_no_pairs_are_named(tmp_path: Path) -> None:
    for number, files in enumerate([["1.png"], ["a/1.png"], ["a/1.png", "b/1.png", "c/1.png"], ["a/1.png", "2.png"]]):
        with pytest.raises(UserError, match="does not hold two folders of images to match by name"):
            open_source(as_folder(tmp_path / str(number), pngs(*files)), kind="pair-folders")
    with pytest.raises(UserError, match="no image in a has the name of one in b"):
        open_source(as_folder(tmp_path / "none", pngs("a/1.png", "b/2.png")), kind="pair-folders")


def test_real_facades() -> None:
    archive = SHARED / "facades.zip"
    if not archive.is_file():
        pytest.skip(f"no {archive}")
    source = open_source(archive)
    assert (source.kind, source.name, source.faults) == ("pairs", "facades", [])
    assert source.splits == {"train": range(400), "test": range(400, 500)}
    with zipfile.ZipFile(archive) as file:
        for index in (0, 399, 400, 499):
            record = source.read(index)
            with file.open(source.names[index]) as entry, Image.open(entry) as whole:
                assert same(record.image, whole.crop((0, 0, 256, 256)))
                assert same(record.partner, whole.crop((256, 0, 512, 256)))
