"""Shards: every column there and back, plain Arrow, and broken files told from whole ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ganlib.data import Columns
from ganlib.data.layout import Layout, Rows
from ganlib.data.shards import ShardReader, serialise
from ganlib.data.storage import Location
from ganlib.errors import UserError

ALL = Columns(
    class_names=["a", "b"],
    domain_names=["x", "y", "z"],
    captions=True,
    boxes=True,
    keypoint_names=["k", "l"],
    partner=True,
)
LAYOUT = Layout((4, 4, 3), ALL)


def random_rows(count: int, layout: Layout = LAYOUT) -> Rows:
    rng = np.random.default_rng(count)
    rows = layout.empty(count)
    for array in rows.arrays.values():
        array[:] = rng.integers(0, 2, array.shape)
    rows.names[:] = [f"näme\n{row}" for row in range(count)]
    if rows.captions is not None:
        rows.captions[:] = [[f"one {row}", "ü"][: 1 + row % 2] for row in range(count)]
    return rows


def reader(path: Path, rows: int, layout: Layout = LAYOUT) -> ShardReader:
    return ShardReader(Location.of(path), layout, rows, 0)


@pytest.mark.parametrize("way", ["map", "load"])
def test_every_column_there_and_back(tmp_path: Path, way: str) -> None:
    rows = random_rows(7)
    path = tmp_path / "train-00000.arrow"
    path.write_bytes(serialise(rows, LAYOUT))
    shard = getattr(reader(path, 7), way)()
    found = {
        "image": shard.images,
        "partner": shard.partner,
        "label": shard.labels,
        "domains": shard.domains,
        "box": shard.box,
        "keypoints": shard.keypoints,
    }
    assert found.keys() == rows.arrays.keys()
    for name, array in rows.arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert not found[name].flags.writeable
    assert (shard.names, shard.captions) == (rows.names, rows.captions)


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    layout = Layout((1, 2, 1), Columns(dtype="float32"))
    path = tmp_path / "x.arrow"
    path.write_bytes(serialise(random_rows(3, layout), layout))
    shard = reader(path, 3, layout).load()
    assert shard.images.dtype == np.float32
    for column in (shard.partner, shard.labels, shard.domains, shard.box, shard.keypoints, shard.captions):
        assert column is None


def test_arrow_itself_reads_the_same(tmp_path: Path) -> None:
    rows = random_rows(5)
    with pa.ipc.open_file(serialise(rows, LAYOUT)) as file:
        assert file.num_record_batches == 1
        batch = file.get_batch(0)
    batch.validate(full=True)
    assert batch.schema == pa.schema(
        {
            "image": pa.list_(pa.uint8(), 48),
            "partner": pa.list_(pa.uint8(), 48),
            "label": pa.int64(),
            "domains": pa.list_(pa.uint8(), 3),
            "box": pa.list_(pa.float32(), 4),
            "keypoints": pa.list_(pa.float32(), 6),
            "captions": pa.list_(pa.string()),
            "name": pa.string(),
        }
    )
    assert batch.column("captions").to_pylist() == rows.captions
    assert batch.column("name").to_pylist() == rows.names
    assert batch.column("keypoints")[4].as_py() == rows.arrays["keypoints"][4].ravel().tolist()


def test_selecting_rows_gives_the_bytes_of_those_rows_alone() -> None:
    rows = random_rows(6)
    keep = np.array([True, False, True, True, False, True])
    alone = LAYOUT.empty(4)
    for place, row in enumerate([0, 2, 3, 5]):
        for name, array in rows.arrays.items():
            alone.arrays[name][place] = array[row]
        alone.names[place] = rows.names[row]
        assert alone.captions is not None
        assert rows.captions is not None
        alone.captions[place] = rows.captions[row]
    assert serialise(rows.select(keep), LAYOUT).equals(serialise(alone, LAYOUT))
    assert rows.select(np.ones(6, bool)) is rows


def _file(batch: pa.RecordBatch, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def test_other_files_are_refused_with_what_is_wrong(tmp_path: Path) -> None:
    whole = bytes(serialise(random_rows(5), LAYOUT))
    batch = pa.ipc.open_file(whole).get_batch(0)
    with_null = pa.array([None, 1, 0, 1, 1], pa.int64())
    cases = {
        "it is no Arrow file": b"",
        "it is no Arrow file ": whole[8:],
        "cannot read the shard": whole[:300],
        "cannot read the shard ": whole[: len(whole) // 2],
        "it is compressed": _file(batch, compression="zstd"),
        "it is compressed ": _file(batch, compression="lz4"),
        "a value is missing": _file(batch.set_column(2, "label", with_null)),
        "'label' is nothing, the manifest says int64": _file(batch.drop_columns(["label"])),
        "its columns are partner, image, .* says image, partner": _file(batch.select([1, 0, 2, 3, 4, 5, 6, 7])),
        "5 rows, the manifest says 4": whole,
    }
    path = tmp_path / "x.arrow"
    for message, content in cases.items():
        path.write_bytes(content)
        for way in ("map", "load"):
            with pytest.raises(UserError, match=message.strip()) as caught:
                getattr(reader(path, 4 if "4" in message else 5), way)()
            assert "\n" not in str(caught.value)
    path.unlink()
    for way in ("map", "load"):
        with pytest.raises(UserError, match=str(path)):
            getattr(reader(path, 5), way)()


FUZZED = bytes(serialise(random_rows(5), LAYOUT))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The file with some bytes changed, put in, or cut out; most of it in the headers, where the claims are."""
    content = bytearray(FUZZED)
    place = st.one_of(st.integers(0, 2600), st.integers(0, len(FUZZED) - 1))
    for _ in range(draw(st.integers(1, 4))):
        at, way = min(draw(place), len(content)), draw(st.sampled_from(["set", "word", "insert", "cut", "end"]))
        if way == "set":
            content[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif way == "word":
            value = draw(st.sampled_from([2**31 - 1, 2**62, 2**63 - 1, 2**64 - 1, 0, 1, 2**40]))
            content[at : at + 8] = value.to_bytes(8, "little")
        elif way == "insert":
            content[at:at] = draw(st.binary(min_size=1, max_size=20))
        elif way == "cut":
            del content[at : at + draw(st.integers(1, 40))]
        else:
            del content[at:]
    return bytes(content)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damaged())
def test_a_damaged_shard_is_refused_or_read_and_never_costs_memory(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.arrow"
    path.write_bytes(content)
    before = pa.total_allocated_bytes()
    try:
        shard = reader(path, 5).load()
    except UserError:
        assert pa.total_allocated_bytes() - before < len(content) + 65536
        return
    assert pa.total_allocated_bytes() - before < len(content) + 65536
    # Whatever is in it, all of it can be touched.
    assert shard.images.sum() >= 0
    assert shard.partner is not None
    assert shard.partner.sum() >= 0
    assert len(shard.names) == len(shard.captions or ()) == 5
    assert shard.labels is not None
    assert shard.labels.shape == (5,)


BOMB = """
import sys, resource
import pyarrow as pa
from ganlib.data import Columns
from ganlib.data.layout import Layout
from ganlib.data.shards import ShardReader
from ganlib.data.storage import Location
from ganlib.errors import UserError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    ShardReader(Location.of(sys.argv[1]), Layout((1, 1 << 28, 1), Columns()), 2, 0).load()
except UserError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_compressed_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """512 MiB of zeros in some kilobytes: refused before Arrow makes room for them."""
    width = 1 << 28
    values = pa.Array.from_buffers(pa.uint8(), 2 * width, [None, pa.py_buffer(np.zeros(2 * width, np.uint8))])
    batch = pa.record_batch(
        {"image": pa.FixedSizeListArray.from_arrays(values, width), "name": pa.array(["a", "b"], pa.string())}
    )
    path = tmp_path / "x.arrow"
    path.write_bytes(_file(batch, compression="zstd"))
    del values, batch
    assert path.stat().st_size < 1 << 20
    done = subprocess.run([sys.executable, "-c", BOMB, str(path)], capture_output=True, text=True, check=True)
    message, kilobytes = done.stdout.splitlines()
    assert "it is compressed" in message
    assert int(kilobytes) < 100_000
