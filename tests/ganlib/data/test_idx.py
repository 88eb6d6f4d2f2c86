"""IDX files: MNIST to the bit, and files that lie."""

import gzip
import pickle
import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ganlib.data.columns import Columns
from ganlib.data.sources import idx_files, open_source
from ganlib.data.sources.idx import IdxSource
from ganlib.data.sources.idx_files import read_idx
from ganlib.data.storage import Location
from ganlib.errors import UserError
from tests.s3 import s3_folder  # noqa: F401

from .conftest import WriteIdx

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def opened(folder: Path) -> IdxSource:
    return IdxSource(Location.of(folder))


def test_mnist_is_bit_exact_and_has_its_published_counts(mnist_files: Path) -> None:
    source = opened(mnist_files)
    assert source.splits == {"train": range(60000), "test": range(60000, 70000)}
    assert source.columns == Columns(class_names=list("0123456789"))
    assert len(source.names) == 70000
    assert [source.names[row] for row in (0, 59999, 60000, -1)] == [
        "train/00000000",
        "train/00059999",
        "test/00000000",
        "test/00009999",
    ]
    counts = {
        "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        "t10k": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    }
    for prefix, rows in zip(("train", "t10k"), source.splits.values(), strict=True):
        images = gzip.decompress((mnist_files / f"{prefix}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((mnist_files / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())
        block = source.block(rows, (28, 28, 1))
        assert block is not None
        assert block.shape == (len(rows), 28, 28, 1)
        assert block.tobytes() == images[16:]
        assert source.labels(rows).astype(np.uint8).tobytes() == labels[8:]
        assert np.bincount(source.labels(rows)).tolist() == counts[prefix]
        record = source.read(rows[7])
        assert record.image.tobytes() == images[16 + 7 * 784 : 16 + 8 * 784]
        assert record.label == labels[8 + 7]


def test_mnist_agrees_with_torchvision(mnist_files: Path, tmp_path: Path) -> None:
    reader = pytest.importorskip("torchvision.datasets.mnist")
    for name in (TEST_IMAGES, TEST_LABELS):
        (tmp_path / name).write_bytes(gzip.decompress((mnist_files / f"{name}.gz").read_bytes()))
    images = reader.read_image_file(str(tmp_path / TEST_IMAGES)).numpy()
    np.testing.assert_array_equal(read_idx(mnist_files / f"{TEST_IMAGES}.gz", 3), images)
    labels = reader.read_label_file(str(tmp_path / TEST_LABELS)).numpy()
    np.testing.assert_array_equal(read_idx(mnist_files / f"{TEST_LABELS}.gz", 1), labels)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_own_split_and_labels_raw_and_packed(write_idx: WriteIdx, suffix: str) -> None:
    train, test = noise(5, 8, 6), 255 - noise(3, 8, 6)
    folder = write_idx(IMAGES + suffix, train).parent
    write_idx(LABELS + suffix, np.array([3, 0, 1, 0, 3], np.uint8))
    write_idx(TEST_IMAGES + suffix, test)
    write_idx(TEST_LABELS + suffix, np.array([4, 4, 0], np.uint8))
    source = opened(folder)
    assert (source.kind, source.name) == ("idx", "idx")
    assert source.splits == {"train": range(5), "test": range(5, 8)}
    assert source.columns == Columns(class_names=["0", "1", "2", "3", "4"])
    whole = np.concatenate([train, test])
    for rows in (range(5), range(5, 8), range(3, 7), range(0, 8, 3), range(7, -1, -2), range(2, 2)):
        block = source.block(rows, (8, 6, 1))
        np.testing.assert_array_equal(block, whole[list(rows), ..., None])
        np.testing.assert_array_equal(source.labels(rows), np.array([3, 0, 1, 0, 3, 4, 4, 0])[list(rows)])
    assert source.labels(range(8)).dtype == np.int64
    for row in range(8):
        record = source.read(row)
        assert record.image.size == (6, 8)
        np.testing.assert_array_equal(np.asarray(record.image), whole[row])
        assert record.label == [3, 0, 1, 0, 3, 4, 4, 0][row]
    assert source.block(range(5), (8, 6, 3)) is None
    assert source.block(range(5), (6, 8, 1)) is None


def test_images_alone_have_neither_labels_nor_splits(write_idx: WriteIdx) -> None:
    source = opened(write_idx(IMAGES, noise(20, 8, 8)).parent)
    assert source.columns == Columns()
    assert source.splits is None
    assert source.read(3).label is None
    assert list(source.names) == [f"train/{row:08d}" for row in range(20)]


def test_where_both_stand_the_packed_one_is_read(write_idx: WriteIdx) -> None:
    write_idx(IMAGES, noise(4, 8, 8))
    packed = 255 - noise(4, 8, 8)
    source = opened(write_idx(f"{IMAGES}.gz", packed).parent)
    np.testing.assert_array_equal(source.block(range(4), (8, 8, 1)), packed[..., None])


def test_what_is_pickled_is_small_and_reads_the_same(write_idx: WriteIdx) -> None:
    source = opened(write_idx(IMAGES, noise(2000, 8, 8)).parent)
    before = source.read(1999)
    content = pickle.dumps(source)
    assert len(content) < 2000
    again = pickle.loads(content)
    assert again.fingerprint() == source.fingerprint()
    assert again.read(1999).image.tobytes() == before.image.tobytes()


def test_an_object_store_is_read_alike(write_idx: WriteIdx, s3_folder: str) -> None:  # noqa: F811
    images, labels = noise(50, 8, 8), np.arange(50, dtype=np.uint8) % 7
    folder = Location.of(s3_folder) / "digits"
    for name, array in ((f"{IMAGES}.gz", images), (LABELS, labels)):
        (folder / name).write(write_idx(name, array).read_bytes())
    assert open_source(str(folder)).kind == "idx"
    source = pickle.loads(pickle.dumps(IdxSource(folder)))
    assert (source.name, source.columns.class_names) == ("digits", list("0123456"))
    np.testing.assert_array_equal(source.block(range(50), (8, 8, 1)), images[..., None])
    assert source.labels(range(50)).tolist() == labels.tolist()
    with pytest.raises(UserError, match=f"cannot read {folder}/absent: it does not exist"):
        read_idx(folder / "absent", 3)


def test_the_fingerprint_follows_the_files_and_needs_none_of_their_content(write_idx: WriteIdx) -> None:
    path = write_idx(IMAGES, noise(4, 8, 8))
    first = opened(path.parent).fingerprint()
    assert opened(path.parent).fingerprint() == first
    write_idx(LABELS, np.zeros(4, np.uint8))
    labelled = opened(path.parent).fingerprint()
    assert labelled != first
    path.write_bytes(b"no IDX file")
    assert opened(path.parent).fingerprint() not in (first, labelled)


def test_its_files_are_recognised(write_idx: WriteIdx, tmp_path: Path) -> None:
    """In both spellings: LeCun's, and Kaggle's."""
    assert open_source(write_idx(f"{IMAGES}.gz", noise(4, 8, 8)).parent).kind == "idx"
    (tmp_path / "idx").rename(tmp_path / "first")
    write_idx("train-images.idx3-ubyte", noise(4, 8, 8))
    write_idx("train-labels.idx1-ubyte", np.arange(4, dtype=np.uint8))
    write_idx("t10k-images.idx3-ubyte.gz", 255 - noise(2, 8, 8))
    folder = write_idx("t10k-labels.idx1-ubyte", np.array([1, 0], np.uint8)).parent
    source = open_source(folder)
    assert source.kind == "idx"
    assert source.splits == {"train": range(4), "test": range(4, 6)}
    np.testing.assert_array_equal(source.block(range(4), (8, 8, 1)), noise(4, 8, 8)[..., None])
    np.testing.assert_array_equal(source.block(range(4, 6), (8, 8, 1)), 255 - noise(2, 8, 8)[..., None])
    assert source.labels(range(6)).tolist() == [0, 1, 2, 3, 1, 0]
    with pytest.raises(UserError, match=r"train-images\.idx3-ubyte is one IDX file of several"):
        open_source(folder / "train-images.idx3-ubyte")


def test_of_a_raw_file_only_what_is_asked_for_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / IMAGES
    with path.open("wb") as file:
        file.write(struct.pack(">4I", 0x803, 500_000, 28, 28))
        file.truncate(16 + 500_000 * 784)  # 392 MB, with holes that read as zeros
        file.seek(16 + 499_998 * 784)
        file.write(noise(2, 28, 28).tobytes())
    tracemalloc.start()
    source = opened(tmp_path)
    assert len(source.names) == 500_000
    assert not source.block(range(1000, 1100), (28, 28, 1)).any()
    np.testing.assert_array_equal(source.block(range(499_998, 500_000), (28, 28, 1)), noise(2, 28, 28)[..., None])
    np.testing.assert_array_equal(np.asarray(source.read(499_999).image), noise(2, 28, 28)[1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    with path.open("r+b") as file:
        file.truncate(16 + 784)
    with pytest.raises(UserError, match=f"{path} was cut short while it was read"):
        source.read(1)


def test_a_large_raw_file_in_a_store_is_read_by_position(
    write_idx: WriteIdx,
    s3_folder: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, images = Location.of(s3_folder), noise(3000, 28, 28)
    (folder / IMAGES).write(write_idx(IMAGES, images).read_bytes())
    monkeypatch.setattr(idx_files, "READ_WHOLE", 1 << 20)
    read = []
    monkeypatch.setattr(idx_files, "read_idx", lambda *place: read.append(place))
    source = IdxSource(folder)
    for rows in (range(2990, 3000), range(5), range(1300, 1400)):  # a block of a mebibyte holds 1,337
        np.testing.assert_array_equal(source.block(rows, (28, 28, 1)), images[list(rows), ..., None])
    assert read == []


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
    [("raw", 2_000_000_000), ("tiny.gz", 2_000_000_000), ("packed.gz", 1_000_000)],
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


def test_a_source_of_two_billion_claimed_images_is_refused_at_once(write_idx: WriteIdx) -> None:
    source = opened(write_idx(f"{IMAGES}.gz", noise(10, 8, 8), (2_000_000_000, 8, 8)).parent)
    for ask in (lambda: source.names, lambda: source.splits or source.names, lambda: source.read(0)):
        with pytest.raises(UserError, match="its header says 2000000000 x 8 x 8"):
            ask()


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
    labels = write_idx(LABELS, np.zeros(3, np.uint8))
    folder = labels.parent
    with pytest.raises(UserError, match=f"{tmp_path}/idx has no {IMAGES}"):
        opened(folder)
    write_idx(IMAGES, noise(4, 8, 8))
    with pytest.raises(UserError, match=f"{labels} holds 3 labels, but {IMAGES} holds 4 images"):
        opened(folder).read(0)
    write_idx(LABELS, np.zeros(4, np.uint8))
    write_idx(TEST_IMAGES, noise(4, 8, 9))
    with pytest.raises(UserError, match=f"{TEST_LABELS} is missing"):
        opened(folder)
    write_idx(TEST_LABELS, np.zeros(4, np.uint8))
    with pytest.raises(UserError, match="holds 8x9 images, the training file 8x8"):
        opened(folder).read(0)


HEADER = struct.pack(">4I", 0x803, 4, 8, 8)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A name and what a broken writer, disk or enemy makes of an IDX file of 4 images, packed or not."""
    magic = draw(st.sampled_from([0x803, 0x801, 0x80D, 0]) | st.integers(0, 2**32 - 1))
    sizes = draw(st.lists(st.sampled_from([0, 1, 4, 8, 2**31, 2**32 - 1]) | st.integers(0, 64), min_size=1, max_size=4))
    body = draw(st.sampled_from([bytes(256), bytes(100_000)]) | st.binary(max_size=600))
    content = draw(st.sampled_from([HEADER, struct.pack(f">I{len(sizes)}I", magic, *sizes)])) + body
    packed = draw(st.booleans())
    if packed:
        content = gzip.compress(content, mtime=0)
    content = content[: draw(st.just(len(content)) | st.integers(0, len(content)))]
    content += draw(st.sampled_from([b"", bytes(50), b"more"]))
    if content and draw(st.booleans()):
        place = draw(st.integers(0, len(content) - 1))
        content = content[:place] + bytes([content[place] ^ draw(st.integers(1, 255))]) + content[place + 1 :]
    return ("fuzz.gz" if draw(st.integers(0, 9)) < 9 * packed + 1 else "fuzz"), content


@settings(max_examples=400, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=files(), dimensions=st.sampled_from([1, 3]))
def test_any_file_is_read_or_refused_within_what_its_size_justifies(
    tmp_path: Path, file: tuple[str, bytes], dimensions: int
) -> None:
    path = tmp_path / file[0]
    path.write_bytes(file[1])
    array = images = None
    tracemalloc.start()
    try:
        with suppress(UserError):
            array = read_idx(path, dimensions)
            assert array.ndim == dimensions
            assert 0 < array.size <= len(file[1]) * (1032 if path.suffix == ".gz" else 1)
        if dimensions == 3 and path.suffix != ".gz":
            with suppress(UserError):
                images = idx_files.open_images(Location.of(path))[:]
            assert (images is None) == (array is None)
            if images is not None and array is not None:
                np.testing.assert_array_equal(images, array)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # Once what it can hold (a growing bytearray is copied), and the reader's own buffers.
    assert peak < 3 * len(file[1]) * (1032 if path.suffix == ".gz" else 1) + (3 << 20)
