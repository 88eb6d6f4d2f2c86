"""The manifest: read back as it was written, and anything else refused in one line."""

from __future__ import annotations

import copy
import json
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ganlib.data import ClassifierRecord, Columns, Dataset, Manifest, Preparation, Reading, prepare_dataset
from ganlib.data.sources.base import Record
from ganlib.errors import UserError

from .list_source import ListSource, noise


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    records = {f"{seed:02d}": Record(noise(seed), label=seed % 2, domains=(1, seed % 3 // 2)) for seed in range(9)}
    columns = Columns(class_names=["even", "odd"], domain_names=["all", "some"])
    source = ListSource(records, columns, {"train": range(6), "test": range(6, 9)}, faults=[("zz", "gone")])
    preparation = Preparation(size=8, max_bad=0.2)
    made = prepare_dataset(source, preparation, tmp_path_factory.mktemp("store"), "x")
    return made.record_classifier(
        ClassifierRecord(file="classifier.safetensors", sha256="0" * 64, accuracy=0.5, feature_dim=128)
    )


def test_the_counts_are_those_counted_by_hand(dataset: Dataset) -> None:
    manifest = dataset.manifest
    assert manifest.schema_version == 2
    assert manifest.counts == {"train": 6, "test": 3}
    assert manifest.class_counts == {"train": [3, 3], "test": [2, 1]}
    assert manifest.domain_counts == {"train": [6, 2], "test": [3, 1]}
    assert manifest.original_sizes == {"8x8": 9}
    assert [(one.record, one.reason) for one in manifest.skipped] == [("zz", "gone")]
    assert manifest.skipped_count == 1
    assert manifest.resampling == "lanczos"
    assert (manifest.source.kind, manifest.source.name) == ("list", "list")
    assert manifest.source.reading == Reading()


def test_it_is_read_as_it_was_written_from_a_path_or_a_location(dataset: Dataset) -> None:
    assert Manifest.read(dataset.path) == Manifest.read(dataset.location) == dataset.manifest
    assert dataset.manifest.content_digest() == dataset.digest


def test_other_versions_say_what_to_do(dataset: Dataset, tmp_path: Path) -> None:
    whole = json.loads((dataset.path / "manifest.json").read_text())
    path = tmp_path / "manifest.json"
    for version, advice in {
        3: "schema version 3, and this program knows 2; update the program",
        1: "schema version 1, from an older program; prepare the dataset again",
        "2": "has no schema_version",
        None: "has no schema_version",
    }.items():
        path.write_text(json.dumps(whole | {"schema_version": version, "later": 1}))
        with pytest.raises(UserError, match=f"{path} .*{advice}"):
            Manifest.read(tmp_path)


def _changed(whole: dict[str, Any], *place: str | int, to: Any) -> str:
    changed = copy.deepcopy(whole)
    inner: Any = changed
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = to
    return json.dumps(changed)


def test_broken_ones_say_where(dataset: Dataset, tmp_path: Path) -> None:
    whole = json.loads((dataset.path / "manifest.json").read_text())
    path = tmp_path / "manifest.json"
    first, second = whole["shards"]
    cases = {
        "is broken: ": (dataset.path / "manifest.json").read_text()[:100],
        "is broken at digest: ": _changed(whole, "digest", to="x"),
        "is broken at surprise: ": _changed(whole, "surprise", to=1),
        "is broken at shards.0.file: ": _changed(whole, "shards", 0, "file", to="../x.arrow"),
        "is broken at shards.0.rows: ": _changed(whole, "shards", 0, "rows", to=0),
        "is broken at shards.1.sha256: ": _changed(whole, "shards", 1, "sha256", to="abc"),
        "is broken at classifier.file: ": _changed(whole, "classifier", "file", to="/etc/passwd"),
        "is broken at classifier.accuracy: ": _changed(whole, "classifier", "accuracy", to=float("nan")),
        "is broken at image_shape.0: ": _changed(whole, "image_shape", to=[0, 8, 3]),
        "is broken at image_shape.1: ": _changed(whole, "image_shape", to=[8, 10**30, 3]),
        "train shards do not add up to 5": _changed(whole, "counts", "train", to=5),
        "test shards do not add up to 0": _changed(whole, "counts", to={"train": 6}),
        "not first those of train": _changed(whole, "shards", to=[second, first]),
        "names a shard twice": _changed(whole, "shards", 1, "file", to=first["file"]),
        "not one count a class": _changed(whole, "class_counts", "test", to=[3]),
        "domain names without counts": _changed(whole, "domain_counts", to=None),
        "has no schema_version": "[]",
        "is broken: .*recursion": "[" * 100_000,
    }
    for message, content in cases.items():
        path.write_text(content)
        with pytest.raises(UserError, match=message) as caught:
            Manifest.read(tmp_path)
        assert str(path) in str(caught.value)
        assert str(caught.value).endswith("prepare the dataset again")
        assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(UserError, match=f"{tmp_path} is no prepared dataset"):
        Manifest.read(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def _places(value: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place] * bool(place) + [found for key, part in inner for found in _places(part, (*place, key))]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_manifest_of_other_values_opens_or_is_refused(dataset: Dataset, tmp_path: Path, data: st.DataObject) -> None:
    """And where it opens, so do its shards, or they are refused."""
    whole = json.loads((dataset.path / "manifest.json").read_text())
    content = _changed(whole, *data.draw(st.sampled_from(_places(whole))), to=data.draw(JSON))
    _open(tmp_path, dataset, content.encode())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_manifest_of_other_bytes_opens_or_is_refused(dataset: Dataset, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray((dataset.path / "manifest.json").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    _open(tmp_path, dataset, bytes(content))


@pytest.mark.parametrize(
    "claims",
    [
        {("image_shape",): [2**16, 2**16, 4]},
        {("counts", "train"): 2**47, ("shards", 0, "rows"): 2**47},
        {("image_shape",): [2**16, 2**16, 4], ("counts", "train"): 2**47, ("shards", 0, "rows"): 2**47},
    ],
)
def test_a_manifest_that_claims_more_than_there_is_is_refused_and_takes_no_memory(
    dataset: Dataset, tmp_path: Path, claims: dict[tuple[str | int, ...], Any]
) -> None:
    content = (dataset.path / "manifest.json").read_text()
    for place, value in claims.items():
        content = _changed(json.loads(content), *place, to=value)
    assert not _open(tmp_path, dataset, content.encode())


def _open(folder: Path, dataset: Dataset, content: bytes) -> bool:
    """Whether it opens, with all that is in it; in memory that its size justifies."""
    for shard in dataset.manifest.shards:
        link = folder / shard.file
        if not link.exists():
            link.symlink_to(dataset.path / shard.file)
    (folder / "manifest.json").write_bytes(content)
    tracemalloc.start()
    try:
        with suppress(UserError):
            opened = Dataset.open(folder)
            for split in (opened.split("train"), opened.split("test")):
                assert len(split.take(np.arange(len(split)))) == len(split) == len(split.names)
            return True
        return False
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # Whatever it claims of counts, shapes and rows: the objects that its text makes, and the reader's own.
        assert peak < 30 * len(content) + (1 << 17)
