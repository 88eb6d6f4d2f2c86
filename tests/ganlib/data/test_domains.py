"""Unpaired domains."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from ganlib.data.sources import Source, open_source
from ganlib.errors import UserError

from .pictures import as_folder, as_zip, noise, pngs, same


def domains(source: Source) -> dict[str, tuple[int, ...] | None]:
    return {name: source.read(index).domains for index, name in enumerate(source.names)}


def test_train_and_test_of_each(tmp_path: Path) -> None:
    names = ["trainB/1.png", "trainA/2.png", "testA/3.png", "testB/x/4.png", "trainA/1.png"]
    source = pickle.loads(pickle.dumps(open_source(as_zip(tmp_path / "horses.zip", pngs(*names)))))
    assert (source.kind, source.name, source.faults) == ("domains", "horses", [])
    assert source.columns.model_dump(exclude_defaults=True) == {"domain_names": ["A", "B"]}
    assert source.splits == {"train": range(3), "test": range(3, 5)}
    assert list(domains(source).items()) == [
        ("trainA/1.png", (1, 0)),
        ("trainA/2.png", (1, 0)),
        ("trainB/1.png", (0, 1)),
        ("testA/3.png", (1, 0)),
        ("testB/x/4.png", (0, 1)),
    ]
    assert same(source.read(1).image, noise(1))


def test_train_alone_has_no_splits_and_there_may_be_more_domains(tmp_path: Path) -> None:
    source = open_source(as_folder(tmp_path, pngs("trainA/1.png", "trainB/1.png", "trainSketch/1.png")))
    assert (source.kind, source.splits) == ("domains", None)
    assert source.columns.domain_names == ["A", "B", "Sketch"]
    assert source.read(2).domains == (0, 0, 1)


def test_one_folder_a_domain(tmp_path: Path) -> None:
    source = open_source(as_folder(tmp_path / "x", pngs("zebra/1.png", "horse/a/1.png")), kind="domains")
    assert (source.kind, source.splits) == ("domains", None)
    assert source.columns.domain_names == ["horse", "zebra"]
    assert domains(source) == {"horse/a/1.png": (1, 0), "zebra/1.png": (0, 1)}
    below = open_source(
        as_folder(tmp_path / "y", pngs("train/b/1.png", "train/a/1.png", "val/b/2.png")), kind="domains"
    )
    assert below.splits == {"train": range(2), "test": range(2, 3)}
    assert domains(below) == {"train/a/1.png": (1, 0), "train/b/1.png": (0, 1), "val/b/2.png": (0, 1)}


def test_a_test_domain_that_is_not_trained_on_is_no_such_layout(tmp_path: Path) -> None:
    assert open_source(as_folder(tmp_path, pngs("trainA/1.png", "trainB/1.png", "testC/1.png"))).kind == "folder"


def test_folders_that_are_no_domains_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds an image in no domain's folder \(1.png\); move it"):
        open_source(as_folder(tmp_path / "x", pngs("a/1.png", "1.png")), kind="domains")
    with pytest.raises(UserError, match=r"holds one domain only \(a\)"):
        open_source(as_folder(tmp_path / "y", pngs("a/1.png")), kind="domains")
