"""Choosing a source from what a person names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ganlib.data.reading import Reading
from ganlib.data.sources import open_source
from ganlib.errors import UserError

from .conftest import SHARED, WriteIdx
from .pictures import Content, as_folder, as_tar, as_zip, pngs

CAPTIONS = "file,caption\n1.png,one\n2.png,two\n"
ATTRIBUTES = "2\nSmiling Young\n1.png 1 -1\n2.png -1 1\n"
TWO = pngs("1.png", "2.png")
WIDE = pngs("train/1.png", "train/2.png", "val/3.png", size=(20, 10))
RECOGNISED: dict[str, tuple[dict[str, Content], str]] = {
    "flat": (TWO, "folder"),
    "classes": (pngs("a/1.png", "b/1.png", "c/1.png"), "folder"),
    "unpaired": (pngs("trainA/1.png", "trainB/2.png", "testA/3.png", "testB/4.png"), "domains"),
    "captions.csv": (TWO | {"captions.csv": CAPTIONS}, "captions"),
    "other.csv": (TWO | {"all.csv": CAPTIONS}, "captions"),
    "a csv of something else": (TWO | {"sizes.csv": "file,size\n1.png,2\n"}, "folder"),
    "a csv that is no text": (TWO | {"sizes.csv": b"\xff\xfe\x00"}, "folder"),
    "metadata.csv": (TWO | {"metadata.csv": "file_name,text\n1.png,one\n2.png,two\n"}, "captions"),
    "jsonl": (TWO | {"x.jsonl": '{"image": "1.png", "text": "a"}\n{"image": "2.png", "text": "b"}\n'}, "captions"),
    "txt": (TWO | {"1.txt": "one", "2.txt": "two"}, "captions"),
    "one txt": (TWO | {"README.txt": "one"}, "folder"),
    "celeba": (TWO | {"list_attr_celeba.txt": ATTRIBUTES}, "attributes"),
    "celeba.csv": (TWO | {"list_attr_celeba.csv": "image_id,Young\n1.png,1\n2.png,-1\n"}, "attributes"),
    "pairs": (WIDE, "pairs"),
    "wide, but flat": (pngs("1.png", "2.png", size=(20, 10)), "folder"),
    "one that is not wide": (WIDE | pngs("train/0.png"), "folder"),
    "A and B": (pngs("A/1.png", "A/2.png", "B/1.png", "B/2.png"), "pair-folders"),
    "edges and images": (pngs("edges/1.png", "edges/2.png", "images/1.png"), "pair-folders"),
    "A and B of other names": (pngs("A/1.png", "A/2.png", "B/3.png", "B/4.png"), "folder"),
    "two of the same names": (pngs("cat/1.png", "dog/1.png"), "folder"),
}


@pytest.mark.parametrize("make", [as_folder, as_zip, as_tar])
@pytest.mark.parametrize("case", RECOGNISED)
def test_what_is_there_settles_the_kind(tmp_path: Path, make: object, case: str) -> None:
    suffix = {as_folder: "", as_zip: ".zip", as_tar: ".tar"}[make]  # type: ignore[index]
    files, kind = RECOGNISED[case]
    assert open_source(make(tmp_path / f"x{suffix}", files)).kind == kind  # type: ignore[operator]


def test_idx_and_parquet_are_recognised(write_idx: WriteIdx, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    idx = write_idx("train-images-idx3-ubyte.gz", np.zeros((1, 8, 8), np.uint8)).parent
    assert open_source(str(idx)).kind == "idx"
    assert open_source(idx, kind="mnist").kind == "idx"
    assert open_source(idx).name == "idx"
    with pytest.raises(UserError, match="is one IDX file of several; name the folder"):
        open_source(idx / "train-images-idx3-ubyte.gz")
    table = pa.table({"image": [pngs("1")["1"]]})
    folder = as_folder(tmp_path / "parquet", {"README.md": "x"})
    pq.write_table(table, folder / "a.parquet")
    assert open_source(folder / "a.parquet").kind == "parquet"
    assert open_source(folder).kind == "parquet"


def test_a_kind_settles_it_by_reading_or_by_word(tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "x", pngs("A/1.png", "A/2.png", "B/1.png", "B/2.png"))
    for kind in ("folder", "domains", "pairs", "pair-folders"):
        assert open_source(folder, kind=kind).kind == kind
        assert open_source(folder, Reading(kind=kind)).kind == kind
        assert open_source(folder, Reading(kind="captions"), kind=kind).kind == kind


def test_words_are_sources_without_a_place() -> None:
    assert open_source("digits").kind == "digits"
    assert open_source(None, kind="digits").kind == "digits"
    assert open_source("digits", kind="digits").kind == "digits"
    for word in ("gaussian-mixture-1d", "gaussian-ring", "gaussian-grid", "random-fields"):
        assert open_source(word, Reading(count=10)).kind == word
        assert len(open_source(None, Reading(count=10), kind=word).names) == 10


def test_real_sets_are_recognised() -> None:
    if not SHARED.is_dir():
        pytest.skip(f"no {SHARED}")
    assert open_source(SHARED / "facades.zip").kind == "pairs"
    assert open_source(SHARED / "avatars.zip").kind == "captions"
    assert open_source(SHARED / "mnist").kind == "idx"
    assert open_source(SHARED / "mnist", Reading(count=10), kind="placed-mnist").kind == "placed-mnist"


def test_tables_may_be_named_themselves(tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "x", TWO | {"a.csv": CAPTIONS, "b.csv": CAPTIONS, "list_attr.txt": ATTRIBUTES})
    with pytest.raises(UserError, match=f"{folder} holds two tables of captions, a.csv and b.csv; leave one there"):
        open_source(folder)
    assert open_source(folder / "b.csv").kind == "captions"
    assert open_source(folder / "list_attr.txt").kind == "attributes"
    assert open_source(folder / "a.csv", kind="captions").names == ["1.png", "2.png"]


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    for spec in (tmp_path / "absent", f"file://{tmp_path}/absent"):
        with pytest.raises(UserError, match=f"the source {tmp_path}/absent does not exist"):
            open_source(spec)
    (tmp_path / "avatars.rar").touch()
    with pytest.raises(UserError, match=f"the source {tmp_path}/avatars.rar is a file of a kind that is not read"):
        open_source(tmp_path / "avatars.rar")
    (tmp_path / "avatars.zip").touch()
    with pytest.raises(UserError, match=f"{tmp_path}/avatars.zip is a broken zip or none"):
        open_source(tmp_path / "avatars.zip")
    for kind in (None, "folder", "captions"):
        with pytest.raises(UserError, match="no source is given"):
            open_source(None, kind=kind)
    with pytest.raises(UserError, match="no source kind 'folders'; did you mean 'folder'"):
        open_source(tmp_path, kind="folders")
    with pytest.raises(UserError, match="no source kind 'zzz'; it is one of digits, idx, folder"):
        open_source(tmp_path, kind="zzz")
    with pytest.raises(UserError, match=r"'digits' is read from no place; leave .* out"):
        open_source(tmp_path, kind="digits")
    with pytest.raises(UserError, match="http://, which is not read"):
        open_source("http://host/x.zip")


@pytest.mark.parametrize(
    ("option", "value", "kinds"),
    [
        ("first", "right", "pairs and pair-folders"),
        ("attributes", ["a"], "attributes and celeba"),
        ("image_column", "a", "captions and parquet"),
        ("caption_column", "a", "captions and parquet"),
        ("label_column", "a", "parquet"),
        ("domain_rule", {"a": ["b"]}, "captions and parquet"),
    ],
)
def test_an_option_that_the_kind_does_not_read_is_refused(
    tmp_path: Path, option: str, value: object, kinds: str
) -> None:
    folder = as_folder(tmp_path / "x", TWO)
    with pytest.raises(UserError, match=rf"x is read as folder, which has no use for {option} \(that is for {kinds}\)"):
        open_source(folder, Reading.model_validate({option: value}))


def test_a_table_of_captions_has_no_column_of_labels(tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "x", TWO | {"captions.csv": "file,caption,kind\n1.png,one,a\n2.png,two,b\n"})
    with pytest.raises(UserError, match="x is read as captions, which has no use for label_column"):
        open_source(folder, Reading(label_column="kind"))


def test_opening_images_starts_fast(tmp_path: Path) -> None:
    """A worker that prepares images imports neither torch nor pandas nor what other kinds need."""
    folder = as_zip(tmp_path / "x.zip", TWO | {"captions.csv": CAPTIONS})
    code = (
        "import sys; from ganlib.data.sources import open_source; open_source(sys.argv[1]).read(0);"
        "print({'torch', 'torchvision', 'pandas', 'sklearn', 'scipy', 'pyarrow.fs'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
