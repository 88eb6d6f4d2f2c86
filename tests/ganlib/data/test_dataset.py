"""Datasets opened: no copies, many shards as one, damage found."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits

from ganlib.data import ClassifierRecord, Columns, Dataset, Preparation, open_source, plan, prepare_dataset
from ganlib.data.sources.base import Record
from ganlib.errors import UserError
from ganlib.files import file_digest

from .list_source import ListSource, noise

SMALL = Preparation(size=8, channels=1)


def test_digits_are_scikit_learns_scaled_to_bytes(digits: Dataset) -> None:
    images, labels = load_digits(return_X_y=True)
    train, test = digits.split("train"), digits.split("test")
    rows = [int(name) for name in train.names + test.names]
    assert sorted(rows) == list(range(1797))
    expected = np.array([round(level * 255 / 16) for level in range(17)])[images[rows].astype(int)]
    np.testing.assert_array_equal(np.concatenate([train.images, test.images]).reshape(1797, 64), expected)
    assert train.labels is not None
    assert test.labels is not None
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), labels[rows])
    # 1797 draws at 0.1: 179.7 expected, standard deviation 12.7
    assert abs(len(test) - 179.7) < 4 * 12.7


def test_images_are_the_memory_map_itself(digits: Dataset) -> None:
    train = digits.split("train")
    images, labels = train.images, train.labels
    assert labels is not None
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    spans = [
        tuple(int(end, 16) for end in fields[0].split("-"))
        for fields in maps
        if fields[-1] == str(digits.path / "train-00000.arrow")
    ]
    first = images.__array_interface__["data"][0]
    assert any(start <= first and first + images.nbytes <= stop for start, stop in spans)
    assert images.flags.c_contiguous
    assert not images.flags.writeable
    assert np.shares_memory(images, train.images)
    copy = train.take(np.arange(3))
    assert copy.flags.writeable
    assert not np.shares_memory(copy, images)


def test_shards_are_plain_arrow_with_one_batch_each(digits: Dataset) -> None:
    with pa.ipc.open_file(str(digits.path / "test-00000.arrow")) as reader:
        assert reader.num_record_batches == 1
        assert reader.schema == pa.schema({"image": pa.list_(pa.uint8(), 64), "label": pa.int64(), "name": pa.string()})
        batch = reader.get_batch(0)
        batch.validate(full=True)
    assert batch.num_rows == digits.manifest.counts["test"]
    assert batch.column("image")[0].as_py() == digits.split("test").images[0].ravel().tolist()


def test_many_shards_read_as_one(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SHARD_BYTES", 64 * 500)  # 500 images of 8x8x1
    dataset = prepare_dataset(open_source("digits"), SMALL, tmp_path, "digits")
    assert [(shard.file, shard.rows) for shard in dataset.manifest.shards] == [
        ("train-00000.arrow", 500),
        ("train-00001.arrow", 500),
        ("train-00002.arrow", 500),
        ("train-00003.arrow", 103),
        ("test-00000.arrow", 194),
    ]
    train, whole = dataset.split("train"), digits.split("train")
    assert train.names == whole.names
    np.testing.assert_array_equal(train.labels, whole.labels)
    np.testing.assert_array_equal(train.images, whole.images)
    assert [(shard.start, shard.rows) for shard in train.shards] == [(0, 500), (500, 500), (1000, 500), (1500, 103)]
    np.testing.assert_array_equal(train.shards[3].load().images, whole.images[1500:])
    assert train.local
    indices = np.random.default_rng(0).integers(0, 1603, 4000)
    indices[:4] = (0, 499, 500, 1602)
    for split in (train, whole):
        taken = split.take(indices)
        np.testing.assert_array_equal(taken, whole.images[indices])
        assert taken.flags.c_contiguous
        assert split.take(np.empty(0, np.int64)).shape == (0, 8, 8, 1)
        for out in (-1, 1603):
            with pytest.raises(IndexError, match=f"{out}"):
                split.take(np.array([0, out]))


def test_every_column_comes_out_as_it_went_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SHARD_BYTES", 2 * 8 * 8 * 3 * 2)  # two pairs a shard
    columns = Columns(domain_names=["x", "y"], captions=True, boxes=True, keypoint_names=["eye", "ear"], partner=True)
    records = {
        f"{row}": Record(
            noise(row, 16, 8),
            partner=noise(100 + row, 16, 8),
            domains=(row % 2, 1),
            captions=(f"number {row}",) * (1 + row % 2),
            box=(4 + row, 0, 4, 8),
            keypoints=np.array([[8, 4 + row, 1], [2, 2, 1]], np.float32),
        )
        for row in range(5)
    }
    dataset = prepare_dataset(ListSource(records, columns), Preparation(size=8, test_share=0), tmp_path, "all")
    split = dataset.split("train")
    assert len(split.shards) == 3
    assert split.columns == columns == dataset.columns
    assert split.dtype == dataset.dtype == np.uint8
    np.testing.assert_array_equal(split.column("domains"), [[0, 1], [1, 1], [0, 1], [1, 1], [0, 1]])
    # The centre square is x from 4 to 12: a box from 4 + row, 4 wide, is whole in it up to row 4.
    box, keypoints = split.column("box"), split.column("keypoints")
    assert box is not None
    assert keypoints is not None
    assert box.tolist() == [[row / 8, 0, 0.5, 1] for row in range(5)]
    assert keypoints.tolist() == [[[0.5, (4 + row) / 8, 1], [0, 0, 0]] for row in range(5)]
    assert split.column("captions") == [["number 0"], ["number 1"] * 2, ["number 2"], ["number 3"] * 2, ["number 4"]]
    assert split.labels is None
    for taken, first in ((split.take(np.array([4, 1])), 0), (split.take_partner(np.array([4, 1])), 100)):
        centres = [np.asarray(noise(first + row, 16, 8))[:, 4:12] for row in (4, 1)]
        np.testing.assert_array_equal(taken, np.stack(centres))
    found = split.records(np.array([4, 1, 4]))
    assert found.names == ["4", "1", "4"]
    assert found.captions == [["number 4"], ["number 1"] * 2, ["number 4"]]
    assert found.arrays["domains"].tolist() == [[0, 1], [1, 1], [0, 1]]
    for column, values in (("box", box), ("keypoints", keypoints), ("image", split.images)):
        np.testing.assert_array_equal(found.arrays[column], values[[4, 1, 4]])
    np.testing.assert_array_equal(found.arrays["partner"], split.take_partner(np.array([4, 1, 4])))
    with pytest.raises(IndexError, match="5"):
        split.records(np.array([5]))
    empty = dataset.split("test")
    assert empty.column("domains").shape == (0, 2)  # type: ignore[union-attr]
    assert empty.column("captions") == []
    assert empty.take_partner(np.empty(0, np.int64)).shape == (0, 8, 8, 3)


def test_a_dataset_without_a_column_says_so(digits: Dataset) -> None:
    split = digits.split("train")
    assert split.column("domains") is None
    assert split.column("captions") is None
    with pytest.raises(ValueError, match="no pairs"):
        split.take_partner(np.array([0]))


def test_points_are_kept_as_they_are(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(6, 1, 2, 1)).astype(np.float32)
    records = {str(row): Record(point, label=row % 2) for row, point in enumerate(points)}
    columns = Columns(dtype="float32", class_names=["a", "b"])
    dataset = prepare_dataset(ListSource(records, columns), Preparation(size=8, test_share=0), tmp_path, "points")
    assert dataset.image_shape == (1, 2, 1)
    split = dataset.split("train")
    assert split.dtype == split.images.dtype == np.float32
    np.testing.assert_array_equal(split.images, points)
    np.testing.assert_array_equal(split.labels, [0, 1] * 3)


def test_threads_may_take_at_once(digits: Dataset) -> None:
    train = digits.split("train")
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(train.take(np.arange(1603)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((one == train.images).all() for one in found)
    assert len(found) == 4


@pytest.fixture
def own(tmp_path: Path) -> Dataset:
    """A dataset that a test may break."""
    return prepare_dataset(open_source("digits"), SMALL, tmp_path, "digits")


def test_open_gives_what_preparation_gave(own: Dataset) -> None:
    for place in (own.path, str(own.path), own.location, f"file://{own.path}"):
        opened = Dataset.open(place)
        assert opened.manifest == own.manifest
        assert opened.path == own.path
    assert (opened.name, opened.digest) == ("digits", own.digest)
    assert opened.class_names == list("0123456789")
    for shard in opened.manifest.shards:
        assert shard.sha256 == file_digest(own.path / shard.file)


def test_verify_reads_every_byte_and_finds_one_changed_bit(own: Dataset) -> None:
    calls: list[tuple[int, int]] = []
    own.verify(lambda done, total: calls.append((done, total)))
    sizes = [(own.path / shard.file).stat().st_size for shard in own.manifest.shards]
    assert calls == [(sizes[0], sum(sizes)), (sum(sizes), sum(sizes))]
    shard = own.path / "test-00000.arrow"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=f"{shard} has changed; delete {own.path} and prepare"):
        Dataset.open(own.path).verify()


def test_verify_finds_a_changed_manifest_and_a_changed_classifier(own: Dataset) -> None:
    manifest = own.path / "manifest.json"
    whole = manifest.read_text()
    manifest.write_text(whole.replace('"test_share": 0.1', '"test_share": 0.2'))
    with pytest.raises(UserError, match=f"the manifest of {own.path} has changed"):
        Dataset.open(own.path).verify()
    manifest.write_text(whole)
    (own.path / "classifier.safetensors").write_bytes(b"weights")
    record = ClassifierRecord(
        file="classifier.safetensors",
        sha256=file_digest(own.path / "classifier.safetensors"),
        accuracy=0.9,
        feature_dim=8,
    )
    own.record_classifier(record).verify()
    (own.path / "classifier.safetensors").write_bytes(b"Weights")
    with pytest.raises(UserError, match=r"classifier\.safetensors has changed"):
        Dataset.open(own.path).verify()


def test_a_shard_cut_short_or_missing_is_found_on_opening_and_made_again(own: Dataset) -> None:
    shard = own.path / "train-00000.arrow"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(UserError, match=f"{shard} has {len(content) - 1:,} bytes, not {len(content):,}"):
        Dataset.open(own.path)
    shard.unlink()
    with pytest.raises(UserError, match=f"the shard {shard} is missing"):
        Dataset.open(own.path)
    prepare_dataset(open_source("digits"), SMALL, own.path.parent, "digits").verify()
    assert shard.read_bytes() == content


def test_a_shard_of_other_content_is_refused_when_mapped(own: Dataset) -> None:
    shard = own.path / "train-00000.arrow"
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(UserError, match=f"cannot read the shard {shard}: it is no Arrow file"):
        Dataset.open(own.path).split("train")


def test_the_classifier_is_recorded_without_changing_the_digest(own: Dataset) -> None:
    record = ClassifierRecord(file="classifier.safetensors", sha256="0" * 64, accuracy=0.97, feature_dim=128)
    recorded = own.record_classifier(record)
    assert recorded.manifest.classifier == record
    opened = Dataset.open(own.path)
    assert opened.manifest.classifier == record
    assert opened.digest == own.digest
    assert prepare_dataset(open_source("digits"), SMALL, own.path.parent, "digits").manifest.classifier == record
