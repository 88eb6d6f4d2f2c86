"""IDX files: MNIST to the bit, and files that lie."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ganlib.data import Dataset, Preparation, open_source, prepare_dataset
from ganlib.data.sources.idx import read_idx
from ganlib.errors import UserError

from .conftest import WriteIdx

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(("split", "prefix", "count"), [("train", "train", 60000), ("test", "t10k", 10000)])
def test_mnist_is_bit_exact(mnist: Dataset, mnist_files: Path, split: str, prefix: str, count: int) -> None:
    images = gzip.decompress((mnist_files / f"{prefix}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((mnist_files / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())
    assert struct.unpack(">4I", images[:16]) == (2051, count, 28, 28)
    assert struct.unpack(">2I", labels[:8]) == (2049, count)
    prepared = mnist.split(split)  # type: ignore[arg-type]
    assert prepared.images.tobytes() == images[16:]
    assert prepared.labels is not None
    assert prepared.labels.astype(np.uint8).tobytes() == labels[8:]
    assert prepared.labels.dtype == np.int64


def test_mnist_has_its_published_counts_and_agrees_with_torchvision(
    mnist: Dataset, mnist_files: Path, tmp_path: Path
) -> None:
    assert mnist.manifest.class_counts == {
        "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    }
    assert mnist.class_names == list("0123456789")
    assert mnist.image_shape == (28, 28, 1)

    reader = pytest.importorskip("torchvision.datasets.mnist")
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (tmp_path / name).write_bytes(gzip.decompress((mnist_files / f"{name}.gz").read_bytes()))
    test = mnist.split("test")
    images = reader.read_image_file(str(tmp_path / "t10k-images-idx3-ubyte")).numpy()
    np.testing.assert_array_equal(test.images[..., 0], images)
    np.testing.assert_array_equal(test.labels, reader.read_label_file(str(tmp_path / "t10k-labels-idx1-ubyte")).numpy())


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_own_split_and_labels_raw_and_packed(write_idx: WriteIdx, tmp_path: Path, suffix: str) -> None:
    train, test = noise(5, 8, 8), 255 - noise(3, 8, 8)
    folder = write_idx(IMAGES + suffix, train).parent
    write_idx(LABELS + suffix, np.array([3, 0, 1, 0, 3], np.uint8))
    write_idx("t10k-images-idx3-ubyte" + suffix, test)
    write_idx("t10k-labels-idx1-ubyte" + suffix, np.array([4, 4, 0], np.uint8))

    dataset = prepare_dataset(open_source(folder), Preparation(size=8, channels=1), tmp_path, "tiny")
    np.testing.assert_array_equal(dataset.split("train").images[..., 0], train)
    np.testing.assert_array_equal(dataset.split("test").images[..., 0], test)
    np.testing.assert_array_equal(dataset.split("test").labels, [4, 4, 0])
    assert dataset.class_names == ["0", "1", "2", "3", "4"]
    assert dataset.manifest.class_counts == {"train": [2, 1, 0, 2, 0], "test": [1, 0, 0, 0, 2]}

    coloured = prepare_dataset(open_source(folder, "idx"), Preparation(size=8, channels=3), tmp_path, "tiny")
    np.testing.assert_array_equal(coloured.split("test").images, np.repeat(test[..., None], 3, axis=3))


def test_images_alone_have_no_labels_and_are_split_by_name(write_idx: WriteIdx, tmp_path: Path) -> None:
    images = noise(200, 8, 8)
    folder = write_idx(IMAGES, images).parent
    dataset = prepare_dataset(open_source(folder), Preparation(size=8, channels=1, test_share=0.5), tmp_path, "tiny")
    train, test = dataset.split("train"), dataset.split("test")
    assert train.labels is None
    assert dataset.class_names is None
    assert dataset.manifest.class_counts is None
    rows = [int(name.removeprefix("train/")) for name in train.names + test.names]
    assert sorted(rows) == list(range(200))
    np.testing.assert_array_equal(np.concatenate([train.images, test.images])[..., 0], images[rows])


def test_bad_headers_and_bodies_are_named(write_idx: WriteIdx) -> None:
    body = noise(4, 8, 8)
    lies = {
        "short": ((5, 8, 8), "5 x 8 x 8 = 320 bytes, 256 follow"),
        "long": ((3, 8, 8), "3 x 8 x 8 = 192 bytes, more follow"),
        "empty": ((0, 8, 8), "holds nothing"),
        "labels": ((256,), "begins with 0x00000801, expected 0x00000803"),
    }
    for name, (header, message) in lies.items():
        packed = write_idx(f"{name}.gz", body, header)
        with pytest.raises(UserError, match=f"{packed}.*{message}"):
            read_idx(packed, dimensions=3)
    raw = write_idx("raw", body, (5, 8, 8))
    with pytest.raises(UserError, match=f"{raw} .*5 x 8 x 8 = 320 bytes, the file can hold at most 272"):
        read_idx(raw, dimensions=3)
    raw.write_bytes(raw.read_bytes()[:10])
    with pytest.raises(UserError, match=f"{raw} ends within its header: 10 bytes, expected 16"):
        read_idx(raw, dimensions=3)
    raw.write_bytes(b"")
    with pytest.raises(UserError, match=f"{raw} begins with 0x, expected"):
        read_idx(raw, dimensions=3)


@pytest.mark.parametrize(
    ("name", "count"),
    [("raw", 4_000_000_000), ("tiny.gz", 4_000_000_000), ("packed.gz", 1_000_000)],
)
def test_a_lying_header_allocates_no_more_than_is_there(write_idx: WriteIdx, name: str, count: int) -> None:
    # The last packs so well that a file of its size could hold what it claims; it is found out only on reading.
    path = write_idx(name, np.zeros((100_000 if name == "packed.gz" else 10, 8, 8), np.uint8), (count, 8, 8))
    if name == "packed.gz":
        with path.open("ab") as file:
            file.write(bytes(80_000))  # zeros after a gzip stream are padding
    tracemalloc.start()
    with pytest.raises(UserError, match=rf"header lies: its header says {count} x 8 x 8 = {count * 64:,} bytes"):
        read_idx(path, dimensions=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 100_000 * 64


def test_broken_compression_is_named(write_idx: WriteIdx) -> None:
    path = write_idx(f"{IMAGES}.gz", noise(50, 8, 8))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-6] ^= 1  # in the checksum
    for content in (whole[: len(whole) // 2], bytes(flipped), b"not gzip", whole[:10] + b"\xff" * 99):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"{path} is a broken gzip file"):
            read_idx(path, dimensions=3)


def test_files_that_do_not_belong_together_are_named(write_idx: WriteIdx, tmp_path: Path) -> None:
    def prepare() -> Dataset:
        return prepare_dataset(open_source(tmp_path / "idx"), Preparation(size=8, channels=1), tmp_path / "out", "x")

    labels = write_idx(LABELS, np.zeros(3, np.uint8))
    with pytest.raises(UserError, match=f"{tmp_path}/idx has no {IMAGES}"):
        prepare()
    write_idx(IMAGES, noise(4, 8, 8))
    with pytest.raises(UserError, match=f"{labels} holds 3 labels, but {IMAGES} holds 4 images"):
        prepare()
    write_idx(LABELS, np.zeros(4, np.uint8))
    write_idx("t10k-images-idx3-ubyte", noise(4, 8, 9))
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte is missing"):
        prepare()
    write_idx("t10k-labels-idx1-ubyte", np.zeros(4, np.uint8))
    with pytest.raises(UserError, match="holds 8x9 images, the training file 8x8"):
        prepare()
    assert not list((tmp_path / "out").glob("*"))
