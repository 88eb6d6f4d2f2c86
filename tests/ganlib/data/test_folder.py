"""Image files, flat or one folder a class, wherever they lie: what is found, and what is wrong with it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ganlib.data.sources import BadRecordError, open_source
from ganlib.data.storage import Location
from ganlib.errors import UserError
from tests.s3 import s3_folder  # noqa: F401

from .conftest import SHARED
from .pictures import Content, as_folder, as_tar, as_zip, noise, pngs, same


def test_flat_images_have_no_labels_and_are_in_the_order_of_names(tmp_path: Path) -> None:
    files = pngs("b.png", "C.PNG", "10.png", "9.png", "notes.txt.png", ".hidden.png", "ü.png", "new\nline.png")
    source = open_source(as_folder(tmp_path / "pictures", files | {"readme.txt": "a"}))
    assert (source.kind, source.name, source.splits, source.faults) == ("folder", "pictures", None, [])
    assert source.names == ["10.png", "9.png", "C.PNG", "b.png", "new\nline.png", "notes.txt.png", "ü.png"]
    assert source.columns.model_dump(exclude_defaults=True) == {}
    record = source.read(3)
    assert same(record.image, noise(0))
    assert (record.label, record.captions, record.domains, record.partner) == (None, (), None, None)


def test_folders_are_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    files = pngs("dog/b/1.png", "cat/2.png", "dog/1.png", "ant/x.png", ".git/1.png")
    (tmp_path / "pictures" / "empty").mkdir(parents=True)
    source = open_source(as_folder(tmp_path / "pictures", files))
    assert source.names == ["ant/x.png", "cat/2.png", "dog/1.png", "dog/b/1.png"]
    assert source.columns.class_names == ["ant", "cat", "dog"]
    assert [source.read(index).label for index in range(4)] == [0, 1, 2, 2]


def test_one_folder_is_no_class(tmp_path: Path) -> None:
    source = open_source(as_folder(tmp_path / "pictures", pngs("images/1.png")))
    assert source.columns.class_names is None
    assert source.names == ["images/1.png"]


@pytest.mark.parametrize("test", ["test", "val", "valid", "validation"])
def test_train_and_test_are_splits_with_classes_in_them(tmp_path: Path, test: str) -> None:
    names = [f"{test}/b/1.png", "train/b/9.png", "train/a/2.png", f"{test}/c/3.png"]
    source = open_source(as_folder(tmp_path / "pictures", pngs(*names) | {"LICENSE": "free"}))
    assert source.names == ["train/a/2.png", "train/b/9.png", f"{test}/b/1.png", f"{test}/c/3.png"]
    assert source.splits == {"train": range(2), "test": range(2, 4)}
    assert source.columns.class_names == ["a", "b", "c"]
    assert [source.read(index).label for index in range(4)] == [0, 1, 1, 2]
    flat = open_source(as_folder(tmp_path / "flat", pngs(f"{test}/1.png", "train/1.png")))
    assert (flat.columns.class_names, flat.splits) == (None, {"train": range(1), "test": range(1, 2)})


def test_folders_of_other_names_beside_train_are_classes(tmp_path: Path) -> None:
    for files in (
        ["train/1.png", "bus/1.png"],
        ["train/1.png", "test/1.png", "bus/1.png"],
        ["val/1.png", "test/1.png"],
    ):
        source = open_source(as_folder(tmp_path / str(len(files) + len(files[0])), pngs(*files)))
        assert source.splits is None
        assert source.columns.class_names == sorted({name.split("/")[0] for name in files})


NAMES = ["train/a/1.png", "train/b/1.png", "test/a/2.png", "train/b/ü 3.png"]


def put(place: Location, files: dict[str, Content]) -> Path | str:
    for name, content in files.items():
        (place / name).write(content if isinstance(content, bytes) else content.encode())
    return str(place)


@pytest.mark.parametrize("form", ["zip", "zip of the folder", "tar", "tar.gz"])
def test_archives_give_what_the_folder_gives(tmp_path: Path, form: str) -> None:
    files = pngs(*NAMES)
    folder = open_source(as_folder(tmp_path / "pictures", files))
    make: dict[str, Callable[[], Path]] = {
        "zip": lambda: as_zip(tmp_path / "pictures.zip", files),
        "zip of the folder": lambda: as_zip(tmp_path / "pictures.zip", {f"pictures/{n}": c for n, c in files.items()}),
        "tar": lambda: as_tar(tmp_path / "pictures.tar", files),
        "tar.gz": lambda: as_tar(tmp_path / "pictures.tar.gz", files),
    }
    source = pickle.loads(pickle.dumps(open_source(str(make[form]()))))
    assert (source.kind, source.name, source.names, source.splits) == (
        "folder",
        "pictures",
        folder.names,
        folder.splits,
    )
    for index in range(len(NAMES)):
        assert source.read(index).label == folder.read(index).label
        assert same(source.read(index).image, folder.read(index).image)


@pytest.mark.parametrize("form", ["", ".zip", ".tar"])
def test_a_store_gives_what_the_folder_gives(tmp_path: Path, form: str, s3_folder: str) -> None:  # noqa: F811
    files = pngs(*NAMES)
    folder = open_source(f"file://{as_folder(tmp_path / 'pictures', files)}")
    place = Location.of(s3_folder) / f"pictures{form}"
    if form:
        place.write((as_zip if form == ".zip" else as_tar)(tmp_path / f"pictures{form}", files).read_bytes())
    else:
        put(place, files)
    source = pickle.loads(pickle.dumps(open_source(str(place))))
    assert (source.kind, source.name, source.names, source.splits) == (
        "folder",
        "pictures",
        folder.names,
        folder.splits,
    )
    assert all(same(source.read(index).image, folder.read(index).image) for index in range(len(NAMES)))
    assert source.fingerprint() == open_source(str(place)).fingerprint()
    if not form:
        (place / "train/a/1.png").remove()
        with pytest.raises(BadRecordError, match="cannot be read: it does not exist"):
            source.read(0)


def test_folders_that_cannot_be_read_as_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{tmp_path}/empty holds no images"):
        open_source(tmp_path / "empty")
    (tmp_path / "empty" / "readme.txt").touch()
    with pytest.raises(UserError, match=f"{tmp_path}/empty holds no images"):
        open_source(tmp_path / "empty")
    with pytest.raises(UserError, match=f"{tmp_path}/empty.zip holds no images"):
        open_source(as_zip(tmp_path / "empty.zip", {}))
    with pytest.raises(UserError, match=r"both itself \(stray.png\) and in sub-folders \(cat\)"):
        open_source(as_folder(tmp_path / "both", pngs("cat/1.png", "stray.png", "zebra.png")))


def test_a_circle_of_links_and_a_link_up_are_passed_over(tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "pictures", pngs("1.png", "2.png"))
    (folder / "loop").symlink_to(folder)
    (folder / "up").symlink_to("..")
    (folder / "circle").symlink_to("circle")
    assert open_source(folder).names == ["1.png", "2.png"]
    elsewhere = as_folder(tmp_path / "elsewhere", pngs("3.png"))
    (folder / "linked.png").symlink_to(elsewhere / "3.png")
    assert open_source(folder).names == ["1.png", "2.png", "linked.png"]


def test_a_name_that_is_no_text_is_kept_readable(tmp_path: Path) -> None:
    source = open_source(as_folder(tmp_path / "pictures", pngs(os.fsdecode(b"\xff.png"))))
    assert source.names == [r"\xff.png"]
    assert same(source.read(0).image, noise(0))


def test_fingerprint_follows_names_and_contents(tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "pictures", pngs("a.png", "b.png"))
    found = [open_source(folder).fingerprint()]
    assert open_source(folder).fingerprint() == found[0]
    (folder / "a.png").rename(folder / "c.png")
    found.append(open_source(folder).fingerprint())
    before = (folder / "c.png").stat()
    (folder / "c.png").write_bytes((folder / "c.png").read_bytes()[::-1])
    os.utime(folder / "c.png", ns=(before.st_atime_ns, before.st_mtime_ns))  # as unpacking sets it
    found.append(open_source(folder).fingerprint())
    assert len(set(found)) == 3


def test_real_avatars_equal_pillow_by_hand(tmp_path: Path) -> None:
    import zipfile

    archive = SHARED / "avatars.zip"
    if not archive.is_file():
        pytest.skip(f"no {archive}")
    source = open_source(archive, kind="folder")
    assert len(source.names) == 12_000
    with zipfile.ZipFile(archive) as file:
        for index in range(0, 12_000, 600):
            with file.open(source.names[index]) as entry, Image.open(entry) as image:
                assert same(source.read(index).image, image)
