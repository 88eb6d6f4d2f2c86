"""Preparing and opening datasets: the same bytes, no copies, nothing half-written."""

import json
import resource
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from sklearn.datasets import load_digits

from ganlib.data import ClassifierRecord, Dataset, Preparation, open_source, prepare_dataset, shards
from ganlib.errors import UserError
from ganlib.files import file_digest

from .conftest import SavePicture

SMALL = Preparation(size=8, channels=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


def test_digits_are_resized_like_any_image(tmp_path: Path) -> None:
    dataset = prepare_dataset(open_source(None, "digits"), Preparation(size=16, channels=3), tmp_path, "digits")
    assert dataset.split("train").images.shape[1:] == (16, 16, 3)
    assert dataset.image_shape == (16, 16, 3)
    assert dataset.path.name == f"digits-{dataset.digest[:12]}"


def test_prepared_twice_is_the_same_bytes(digits: Dataset, tmp_path: Path) -> None:
    again = prepare_dataset(open_source("digits"), SMALL, tmp_path, "digits")
    assert again.path != digits.path
    assert contents(again.path) == contents(digits.path)
    assert set(contents(again.path)) == {"manifest.json", "train-00000.arrow", "test-00000.arrow"}


def test_a_dataset_that_stands_is_not_written_again(digits: Dataset) -> None:
    before = {path: path.stat().st_mtime_ns for path in digits.path.iterdir()}
    calls: list[tuple[int, int]] = []
    again = prepare_dataset(
        open_source("digits"), SMALL, digits.path.parent, "digits", lambda done, total: calls.append((done, total))
    )
    assert again.path == digits.path
    assert {path: path.stat().st_mtime_ns for path in digits.path.iterdir()} == before
    assert calls == []


def test_every_field_of_the_preparation_makes_another_dataset(digits: Dataset, tmp_path: Path) -> None:
    others: list[dict[str, float]] = [{"size": 9}, {"channels": 3}, {"test_share": 0.2}, {"max_bad": 0.5}]
    source = open_source("digits")
    digests = {prepare_dataset(source, SMALL.model_copy(update=other), tmp_path, "digits").digest for other in others}
    assert len(digests | {digits.digest}) == 5


@pytest.mark.parametrize(
    "field", [{"size": 7}, {"size": 1025}, {"channels": 2}, {"test_share": 1.0}, {"max_bad": -0.1}, {"crop": True}]
)
def test_a_preparation_out_of_range_is_refused(field: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(field))):
        Preparation.model_validate({"size": 8, "channels": 1} | field)


def test_progress_counts_every_record_once(save_picture: SavePicture, tmp_path: Path) -> None:
    for seed in range(7):
        save_picture(f"{seed}.png", seed)
    calls: list[tuple[int, int]] = []
    prepare_dataset(
        open_source(tmp_path / "pictures"),
        SMALL.model_copy(update={"test_share": 0.5}),
        tmp_path,
        "x",
        lambda done, total: calls.append((done, total)),
    )
    assert calls[-1] == (7, 7)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


def test_split_by_name_stays_when_images_are_added(save_picture: SavePicture, tmp_path: Path) -> None:
    preparation = SMALL.model_copy(update={"test_share": 0.3})

    def test_names() -> set[str]:
        source = open_source(tmp_path / "pictures")
        return set(prepare_dataset(source, preparation, tmp_path, "x").split("test").names)

    for seed in range(40):
        save_picture(f"m{seed}.png", seed)
    before = test_names()
    assert 0 < len(before) < 40
    for seed in range(20):
        save_picture(f"a{seed}.png", seed)
        save_picture(f"z{seed}.png", seed)
    assert {name for name in test_names() if name.startswith("m")} == before


def test_a_source_that_leaves_no_training_image_is_refused(save_picture: SavePicture, tmp_path: Path) -> None:
    save_picture("a.png", 1)
    with pytest.raises(UserError, match="pictures leaves nothing to train on"):
        prepare_dataset(
            open_source(tmp_path / "pictures"), SMALL.model_copy(update={"test_share": 0.999}), tmp_path / "out", "x"
        )
    assert not list((tmp_path / "out").iterdir())


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
    monkeypatch.setattr(shards, "SHARD_BYTES", 64 * 500)  # 500 images of 8x8x1
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
    with pytest.raises(ValueError, match="4 shards"):
        _ = train.images


def test_two_preparations_at_once_give_one_dataset(tmp_path: Path) -> None:
    together = threading.Barrier(2, timeout=30)
    datasets: list[Dataset] = []

    def meet(done: int, total: int) -> None:
        """Neither goes on before the other is as far, thus neither is done before both have begun."""
        together.wait()

    def prepare() -> None:
        datasets.append(prepare_dataset(open_source("digits"), SMALL, tmp_path, "x", meet))

    threads = [threading.Thread(target=prepare) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [dataset.path for dataset in datasets] == list(tmp_path.iterdir()) * 2
    datasets[0].verify()


def test_a_preparation_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_dataset(open_source("digits"), SMALL, tmp_path, "x", interrupt)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["file/below", "/proc/nowhere"])
def test_an_output_folder_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"cannot write .*{place}/x-"):
        prepare_dataset(open_source("digits"), SMALL, tmp_path / place, "x")


def test_a_full_disk_is_named_and_nothing_stays(tmp_path: Path) -> None:
    source = open_source("digits")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))  # the training shard needs 1603 * 64 bytes
    try:
        with pytest.raises(UserError, match=f"cannot write {tmp_path}/out/x-[0-9a-f]*: File too large"):
            prepare_dataset(source, SMALL, tmp_path / "out", "x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "out").iterdir())


@pytest.fixture
def own(tmp_path: Path) -> Dataset:
    """A dataset that a test may break."""
    return prepare_dataset(open_source("digits"), SMALL, tmp_path, "digits")


def test_open_gives_what_preparation_gave(own: Dataset) -> None:
    opened = Dataset.open(own.path)
    assert opened.manifest == own.manifest
    assert (opened.name, opened.digest) == ("digits", own.digest)
    assert opened.class_names == list("0123456789")
    for shard in opened.manifest.shards:
        assert shard.sha256 == file_digest(own.path / shard.file)
    opened.verify()


def test_verify_finds_one_changed_bit(own: Dataset) -> None:
    shard = own.path / "test-00000.arrow"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=f"the shard {shard} has changed"):
        Dataset.open(own.path).verify()


def test_a_shard_cut_short_or_missing_is_found_on_opening_and_made_again(own: Dataset) -> None:
    shard = own.path / "train-00000.arrow"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(UserError, match=f"{shard} has {len(content) - 1:,} bytes, not {len(content):,}"):
        Dataset.open(own.path)
    shard.unlink()
    with pytest.raises(UserError, match=f"{shard}: No such file"):
        Dataset.open(own.path)
    prepare_dataset(open_source("digits"), SMALL, own.path.parent, "digits").verify()
    assert shard.read_bytes() == content


def test_a_shard_of_other_content_is_refused_when_mapped(own: Dataset) -> None:
    shard = own.path / "train-00000.arrow"
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(UserError, match=f"cannot read the shard {shard}"):
        Dataset.open(own.path).split("train")
    manifest = json.loads((own.path / "manifest.json").read_text())
    manifest["image_shape"] = [16, 4, 2]
    (own.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"holds 194 rows of fixed_size_list.*not what the manifest says"):
        Dataset.open(own.path).split("test")


def test_manifests_that_are_missing_broken_or_newer_are_named(own: Dataset) -> None:
    path = own.path / "manifest.json"
    whole = json.loads(path.read_text())
    broken = {
        "is broken: .*; prepare": path.read_text()[:100],
        "is broken at digest: ": json.dumps(whole | {"digest": "x"}),
        "is broken at surprise: ": json.dumps(whole | {"surprise": 1}),
        "is broken at shards.0.file: ": json.dumps(whole | {"shards": [whole["shards"][0] | {"file": "../x.arrow"}]}),
        "is broken at the whole: ": "[]",
        "train shards do not add up to 5": json.dumps(whole | {"counts": {"train": 5, "test": 194}}),
        "schema version 2, and .* knows versions up to 1": json.dumps(whole | {"schema_version": 2, "new": 1}),
    }
    for message, content in broken.items():
        path.write_text(content)
        with pytest.raises(UserError, match=f"{path} .*{message}"):
            Dataset.open(own.path)
    path.unlink()
    with pytest.raises(UserError, match=f"{own.path} is no prepared dataset"):
        Dataset.open(own.path)


def test_the_classifier_is_recorded_without_changing_the_digest(own: Dataset) -> None:
    record = ClassifierRecord(file="classifier.safetensors", sha256="0" * 64, accuracy=0.97, feature_dim=128)
    recorded = own.record_classifier(record)
    assert recorded.manifest.classifier == record
    opened = Dataset.open(own.path)
    assert opened.manifest.classifier == record
    assert opened.digest == own.digest
    assert prepare_dataset(open_source("digits"), SMALL, own.path.parent, "digits").manifest.classifier == record
