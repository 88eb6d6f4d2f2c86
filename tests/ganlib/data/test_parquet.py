"""Parquet files written by hand, pixel against pixel; and those that cannot be right."""

import io
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ganlib.data.columns import Columns
from ganlib.data.reading import Reading
from ganlib.data.sources import parquet_rows
from ganlib.data.sources.base import BadRecordError, Record
from ganlib.data.sources.parquet import ParquetSource
from ganlib.data.storage import Location
from ganlib.errors import UserError
from tests.s3 import s3_folder  # noqa: F401

STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})
CAPTIONS = [f"caption {row}" for row in range(10)]


def pixels(row: int) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def png(row: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(row)).save(buffer, "png")
    return buffer.getvalue()


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def opened(path: Path, **options: Any) -> ParquetSource:
    return ParquetSource(Location.of(path), Reading(**options))


def drawn(record: Record) -> list[Any]:
    return np.asarray(record.image).tolist()


def images(count: int, first: int = 0) -> pa.Array:
    return pa.array([png(first + row) for row in range(count)], pa.binary())


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.struct({"bytes": pa.binary(), "path": pa.string()})]
)
def test_bytes_and_hugging_faces_struct(tmp_path: Path, kind: pa.DataType) -> None:
    struct = pa.types.is_struct(kind)
    values = [{"bytes": png(row), "path": f"{row}.png"} if struct else png(row) for row in range(10)]
    columns = {
        "id": pa.array(range(10)),
        "image": pa.array(values, kind),
        "label": pa.array([row % 3 for row in range(10)]),
    }
    path = write(tmp_path / "cats.parquet", {**columns, "text": pa.array(CAPTIONS)}, row_group_size=4)
    source = opened(path)
    assert (source.kind, source.name) == ("parquet", "cats")
    assert source.columns == Columns(class_names=["0", "1", "2"], captions=True)
    assert list(source.names) == [f"cats.parquet/{row:08d}" for row in range(10)]
    assert source.splits is None
    for row in (0, 3, 4, 9, 2, 8, 8, 7):
        record = source.read(row)
        assert drawn(record) == pixels(row).tolist()
        assert (record.label, record.captions) == (row % 3, (CAPTIONS[row],))


def test_a_folder_is_read_in_the_order_of_its_files_names(tmp_path: Path) -> None:
    folder = tmp_path / "birds"
    write(folder / "b.parquet", {"image": images(3, 0)})
    write(folder / "a" / "c.parquet", {"image": images(2, 3)})
    write(folder / "b.parquet.parquet", {"image": images(1, 5)})
    (folder / "notes.txt").write_text("no table")
    (folder / "_temporary.parquet").write_bytes(b"no table")
    source = opened(folder)
    assert source.name == "birds"
    assert list(source.names) == sorted(source.names)
    assert list(source.names) == [
        "a/c.parquet/00000000",
        "a/c.parquet/00000001",
        "b.parquet.parquet/00000000",
        "b.parquet/00000000",
        "b.parquet/00000001",
        "b.parquet/00000002",
    ]
    assert [drawn(source.read(row)) for row in range(6)] == [pixels(row).tolist() for row in (3, 4, 5, 0, 1, 2)]
    assert source.columns == Columns()


@pytest.mark.parametrize("names", [("test-00000-of-00001", "train-00000-of-00001"), ("val/0", "train/0")])
def test_hugging_faces_splits_are_kept(tmp_path: Path, names: tuple[str, str]) -> None:
    write(tmp_path / "data" / f"{names[0]}.parquet", {"image": images(2)})
    write(tmp_path / "data" / f"{names[1]}.parquet", {"image": images(3, 2)})
    source = opened(tmp_path / "data")
    assert source.splits == {"train": range(3), "test": range(3, 5)}
    assert [drawn(source.read(row)) for row in range(5)] == [pixels(row).tolist() for row in (2, 3, 4, 0, 1)]
    write(tmp_path / "data" / "trainers.parquet", {"image": images(1)})
    assert opened(tmp_path / "data").splits is None


def test_classes_from_strings_integers_and_metadata(tmp_path: Path) -> None:
    strings = opened(write(tmp_path / "s.parquet", {"image": images(4), "label": ["dog", "cat", None, "dog"]}))
    assert strings.columns.class_names == ["cat", "dog"]
    assert [strings.read(row).label for row in (0, 1, 3)] == [1, 0, 1]
    with pytest.raises(BadRecordError, match=r"^no label$"):
        strings.read(2)

    encoded = pa.array(["x", "y", "x"]).dictionary_encode()
    assert opened(write(tmp_path / "d.parquet", {"image": images(3), "label": encoded})).columns.class_names == [
        "x",
        "y",
    ]

    sparse = opened(write(tmp_path / "i.parquet", {"image": images(3), "label": [10, 9, 10]}))
    assert (sparse.columns.class_names, sparse.read(0).label) == (["9", "10"], 1)

    info = {"info": {"features": {"label": {"names": ["ant", "bee", "cow"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": images(2), "label": pa.array([2, -1])})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), tmp_path / "h.parquet")
    named = opened(tmp_path / "h.parquet")
    assert (named.columns.class_names, named.read(0).label) == (["ant", "bee", "cow"], 2)
    with pytest.raises(BadRecordError, match="the label -1 is of no class"):
        named.read(1)


def test_captions_are_strings_or_lists_of_them(tmp_path: Path) -> None:
    columns = {"image": images(4), "caption": pa.array([["a cat", "a pet"], [], None, ["", "one"]])}
    source = opened(write(tmp_path / "c.parquet", columns))
    assert source.read(0).captions == ("a cat", "a pet")
    assert source.read(3).captions == ("one",)
    for row in (1, 2):
        with pytest.raises(BadRecordError, match=r"^no caption$"):
            source.read(row)


def test_named_columns_are_taken(tmp_path: Path) -> None:
    columns = {"image": images(2), "other": images(2, 5), "breed": ["a", "b"], "said": ["x", "y"], "label": [0, 1]}
    source = opened(
        write(tmp_path / "n.parquet", columns), image_column="other", label_column="breed", caption_column="said"
    )
    record = source.read(1)
    assert drawn(record) == pixels(6).tolist()
    assert (record.label, record.captions, source.columns.class_names) == (1, ("y",), ["a", "b"])
    alone = opened(write(tmp_path / "alone.parquet", {"scan": images(2), "number": [1, 2]}))
    assert drawn(alone.read(1)) == pixels(1).tolist()


def test_domains_are_drawn_from_captions(tmp_path: Path) -> None:
    said = ["red hair", "bald", None, "Blue eyes and red hair", "blue shoe"]
    folder = tmp_path / "faces"
    write(folder / "train.parquet", {"image": images(3), "caption": said[:3]})
    write(folder / "test.parquet", {"image": images(2, 3), "caption": said[3:]})
    source = opened(folder, domain_rule={"red": ["red"], "blue": ["blue"]})
    assert source.columns == Columns(captions=True, domain_names=["red", "blue"])
    assert list(source.names) == ["train.parquet/00000000", "test.parquet/00000000", "test.parquet/00000001"]
    assert source.splits == {"train": range(1), "test": range(1, 3)}
    assert source.faults == [("train.parquet/00000002", "no caption")]
    assert [source.read(row).domains for row in range(3)] == [(1, 0), (1, 1), (0, 1)]
    assert [drawn(source.read(row)) for row in range(3)] == [pixels(row).tolist() for row in (0, 3, 4)]
    bare = write(tmp_path / "bare.parquet", {"image": images(1)})
    with pytest.raises(UserError, match=f"{bare} has no captions to draw domains from"):
        opened(bare, domain_rule={"red": ["red"]})


def test_bad_records_are_of_their_row_only(tmp_path: Path) -> None:
    struct = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    values = [
        {"bytes": png(0), "path": None},
        {"bytes": None, "path": "elsewhere.png"},
        None,
        {"bytes": b"text", "path": ""},
    ]
    source = opened(write(tmp_path / "b.parquet", {"image": pa.array(values, struct)}))
    assert drawn(source.read(0)) == pixels(0).tolist()
    for row in (1, 2):
        with pytest.raises(BadRecordError, match=r"^no image bytes$"):
            source.read(row)
    with pytest.raises(BadRecordError, match=r"^not a"):
        source.read(3)


def test_columns_of_another_type_are_named_with_what_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "w.parquet", {"image": ["a.png", "b.png"], "label": [0.5, 1.5], "text": [1, 2]})
    with pytest.raises(UserError, match=f"column 'image' of {path} is string, expected bytes, or a struct"):
        opened(path)
    floats = write(tmp_path / "f.parquet", {"image": pa.array([[0.5, 1.0]] * 2), "label": [0, 1]})
    with pytest.raises(UserError, match=r"column 'image' of .* is list<.*>, expected bytes"):
        opened(floats)
    path = write(tmp_path / "v.parquet", {"image": images(2), "label": [0.5, 1.5], "text": [1, 2]})
    assert opened(path).columns == Columns()
    with pytest.raises(UserError, match=f"column 'label' of {path} is double, expected integers or strings"):
        opened(path, label_column="label")
    with pytest.raises(UserError, match=f"column 'text' of {path} is int64, expected strings"):
        opened(path, caption_column="text")
    with pytest.raises(UserError, match=f"{path} has no column 'labl'; did you mean 'label'"):
        opened(path, label_column="labl")
    two = write(tmp_path / "two.parquet", {"left": images(2), "right": images(2), "n": [1, 2]})
    with pytest.raises(
        UserError, match=rf"which column of {two} is the image, of left \(binary\), right \(binary\), n"
    ):
        opened(two)


def test_files_that_are_none_or_do_not_agree(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("image,label\n")
    with pytest.raises(UserError, match=f"cannot read {tmp_path}/x.parquet as Parquet") as caught:
        opened(tmp_path / "x.parquet")
    assert "\n" not in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{tmp_path}/empty holds no .parquet file"):
        opened(tmp_path / "empty")
    none = write(tmp_path / "none.parquet", {"image": images(0)})
    with pytest.raises(UserError, match=f"{none} holds no rows to train on"):
        opened(none)
    mixed = tmp_path / "mixed"
    write(mixed / "a.parquet", {"image": images(1), "label": [1]})
    write(mixed / "b.parquet", {"image": images(1), "label": ["one"]})
    with pytest.raises(
        UserError, match=f"column 'label' of {mixed}/b.parquet is string, but int64 in {mixed}/a.parquet"
    ):
        opened(mixed)
    write(mixed / "b.parquet", {"image": images(1)})
    with pytest.raises(UserError, match=f"{mixed}/b.parquet has no column 'label', which {mixed}/a.parquet has"):
        opened(mixed)


@pytest.mark.parametrize("place", [6, 2000])  # in a page's header; in a page that carries its checksum
def test_a_damaged_page_stops_with_the_files_name(tmp_path: Path, place: int) -> None:
    path = write(tmp_path / "p.parquet", {"image": images(200)}, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[place] ^= 255
    path.write_bytes(content)
    source = opened(path)
    for _ in range(2):
        with pytest.raises(UserError, match=f"cannot read {path} as Parquet"):
            source.read(0)


def test_the_fingerprint_is_of_files_and_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "f.parquet", {"image": images(2), "img": images(2, 3)})
    first = opened(path).fingerprint()
    assert opened(path).fingerprint() == first
    assert opened(path, image_column="img").fingerprint() != first
    source = pickle.loads(pickle.dumps(opened(path)))
    assert source.fingerprint() == first
    assert drawn(source.read(1)) == pixels(1).tolist()
    write(path, {"image": images(3), "img": images(3)})
    assert opened(path).fingerprint() != first


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a row or two, so that cursors move on, run out and are begun anew."""
    monkeypatch.setattr(parquet_rows, "_PIECE_BYTES", 300)
    monkeypatch.setattr(parquet_rows, "_REACH_ROWS", 3)
    monkeypatch.setattr(parquet_rows, "_CURSORS", 3)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("row_group_size", [7, 100])
def test_any_order_and_any_threads_read_the_same(tmp_path: Path, row_group_size: int) -> None:
    source = opened(write(tmp_path / "t.parquet", {"image": images(60)}, row_group_size=row_group_size))
    orders: list[Callable[[int], list[int]]] = [
        lambda part: list(range(60)),
        lambda part: list(range(part, 60, 4)),
        lambda part: np.random.default_rng(part).permutation(60).tolist(),
        lambda part: list(range(59, -1, -1)),
    ]
    for order in orders:
        start = threading.Barrier(4)

        def read(part: int, order: Callable[[int], list[int]] = order, start: threading.Barrier = start) -> None:
            start.wait()
            for row in order(part):
                assert drawn(source.read(row)) == pixels(row).tolist()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(read, range(4)))


def test_reading_on_decodes_each_row_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_rows = []
    real = parquet_rows._Cursor.read

    def read(cursor: parquet_rows._Cursor, row: int) -> dict[str, Any]:
        before = cursor.next
        found = real(cursor, row)
        read_rows.append(cursor.next - before)
        return found

    monkeypatch.setattr(parquet_rows._Cursor, "read", read)
    source = opened(write(tmp_path / "o.parquet", {"image": images(300)}, row_group_size=100))
    for row in range(300):
        source.read(row)
    assert sum(read_rows) == 300


@pytest.mark.slow
def test_memory_is_of_a_piece_where_a_row_group_is_all_of_a_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blobs = [png(0) + rng.bytes(100_000) for _ in range(1200)]  # what follows a PNG's end is passed over
    path = write(tmp_path / "m.parquet", {"image": pa.array(blobs, pa.binary())}, row_group_size=1200)
    assert path.stat().st_size > 120e6
    script = f"""
import resource
from ganlib.data.reading import Reading
from ganlib.data.sources.parquet import ParquetSource
from ganlib.data.storage import Location
source = ParquetSource(Location.of({str(path)!r}), Reading())
source.read(0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for row in range(1200):
    source.read(row)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    grown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 80


def test_an_object_store_is_read_alike(tmp_path: Path, s3_folder: str) -> None:  # noqa: F811
    folder = Location.of(s3_folder) / "birds"
    for name, first in (("train/0", 0), ("train/1", 30), ("test/0", 60)):
        path = write(tmp_path / f"{name}.parquet", {"image": images(30, first)}, row_group_size=8)
        (folder / f"{name}.parquet").write(path.read_bytes())
    source = ParquetSource(folder, Reading())
    assert (source.name, source.splits) == ("birds", {"train": range(60), "test": range(60, 90)})
    assert source.names[59] == "train/1.parquet/00000029"
    source = pickle.loads(pickle.dumps(source))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda row: drawn(source.read(row)), range(90))) == [pixels(n).tolist() for n in range(90)]
    alone = ParquetSource(folder / "test/0.parquet", Reading())
    assert (alone.name, len(alone.names), drawn(alone.read(29))) == ("0", 30, pixels(89).tolist())
    (folder / "train/1.parquet").write(b"no table")
    with pytest.raises(UserError, match=rf"cannot read {folder}/train/1\.parquet as Parquet"):
        ParquetSource(folder, Reading())


def test_it_starts_without_torch_and_pandas(tmp_path: Path) -> None:
    path = write(tmp_path / "s.parquet", {"image": images(2), "label": ["a", "b"], "text": ["x", "y"]})
    script = f"""
import sys
from ganlib.data.reading import Reading
from ganlib.data.sources.parquet import ParquetSource
from ganlib.data.storage import Location
assert ParquetSource(Location.of({str(path)!r}), Reading()).read(1).label == 1
print([name for name in ("torch", "pandas") if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"
