"""Data sets by name: fetched from a server on this machine, or read from files laid where torchvision lays them."""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from requests import PreparedRequest, Response

from ganlib.data.columns import Columns
from ganlib.data.reading import Reading
from ganlib.data.sources import torchvision_sets
from ganlib.data.sources.cifar import CLASSES, Cifar10Source
from ganlib.data.sources.torchvision_sets import TorchvisionSource, mnist_location
from ganlib.data.storage import Location
from ganlib.errors import UserError

NOBODY = "http://127.0.0.1:9/"  # the discard port: nobody listens


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ganlib"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """(folder that is served, its address)"""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def idx(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def cifar_batch(count: int, seed: int) -> tuple[bytes, NDArray[np.uint8], list[int]]:
    """A batch as its description has it: the label, then the red, green and blue planes, each row by row."""
    images = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = [(seed + row) % 10 for row in range(count)]
    content = b"".join(
        bytes([label]) + b"".join(image[:, :, plane].tobytes() for plane in range(3))
        for label, image in zip(labels, images, strict=True)
    )
    return content, images, labels


@pytest.fixture
def cifar_files(tmp_path: Path) -> Path:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for number in range(1, 6):
        (folder / f"data_batch_{number}.bin").write_bytes(cifar_batch(3, number)[0])
    (folder / "test_batch.bin").write_bytes(cifar_batch(2, 6)[0])
    (folder / "batches.meta.txt").write_text("airplane\n")
    return folder


def check_cifar(source: Cifar10Source | TorchvisionSource) -> None:
    batches = [cifar_batch(3, number) for number in range(1, 6)] + [cifar_batch(2, 6)]
    images = np.concatenate([batch[1] for batch in batches])
    labels = [label for batch in batches for label in batch[2]]
    assert source.columns == Columns(class_names=CLASSES)
    assert source.splits == {"train": range(15), "test": range(15, 17)}
    assert [source.names[row] for row in (0, 14, 15)] == ["train/00000000", "train/00000014", "test/00000000"]
    np.testing.assert_array_equal(source.block(range(2, 16), (32, 32, 3)), images[2:16])
    assert source.labels(range(17)).tolist() == labels
    assert source.block(range(2), (32, 32, 1)) is None
    for row in (0, 3, 16):
        record = source.read(row)
        np.testing.assert_array_equal(np.asarray(record.image), images[row])
        assert record.label == labels[row]


def test_cifars_binary_version_is_read(cifar_files: Path) -> None:
    source = Cifar10Source(Location.of(cifar_files))
    check_cifar(source)
    check_cifar(pickle.loads(pickle.dumps(source)))
    assert len(pickle.dumps(source)) < 2000


def test_broken_cifar_files_are_named(cifar_files: Path, tmp_path: Path) -> None:
    path = cifar_files / "data_batch_2.bin"
    content = path.read_bytes()
    path.write_bytes(b"\x0a" + content[1:])
    with pytest.raises(UserError, match=f"{path} holds the label 10, but CIFAR-10 has 10 classes"):
        Cifar10Source(Location.of(cifar_files)).read(0)
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match=f"{path} is cut short or no CIFAR-10 batch: 9,218 bytes"):
        Cifar10Source(Location.of(cifar_files))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"has no data_batch_1\.bin"):
        Cifar10Source(Location.of(tmp_path / "empty"))


def test_cifar_is_fetched_checked_and_unpacked_once(
    cache: Path, server: tuple[Path, str], cifar_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = server
    with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as tar:
        tar.add(cifar_files, "cifar-10-batches-bin")
    monkeypatch.setattr(torchvision_sets, "CIFAR10_URL", f"{address}cifar-10-binary.tar.gz")
    with pytest.raises(UserError, match=rf"cannot download CIFAR-10 into {cache} \(File not found or corrupted"):
        TorchvisionSource("cifar10", Reading())
    assert [path.name for path in cache.iterdir()] == [".fetching"]

    content = (folder / "cifar-10-binary.tar.gz").read_bytes()
    monkeypatch.setattr(torchvision_sets, "CIFAR10_MD5", md5(content))
    source = TorchvisionSource("cifar10", Reading())
    assert (source.kind, source.name) == ("cifar10", "cifar10")
    check_cifar(source)
    monkeypatch.setattr(torchvision_sets, "CIFAR10_URL", NOBODY)
    again = pickle.loads(pickle.dumps(source))
    check_cifar(again)
    assert again.fingerprint() == source.fingerprint()
    assert sorted(path.name for path in cache.iterdir()) == [".fetching", "cifar-10-batches-bin"]


@pytest.mark.parametrize(("kind", "data_set"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_idx_sets_are_fetched(
    cache: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, kind: str, data_set: str
) -> None:
    folder, address = server
    images = np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)
    labels = np.array([9, 0, 3, 1, 2, 9, 4], np.uint8)
    resources = []
    for prefix, rows in (("train", slice(5)), ("t10k", slice(5, 7))):
        for what, array in (("images-idx3", images[rows]), ("labels-idx1", labels[rows])):
            name = f"{prefix}-{what}-ubyte.gz"
            (folder / name).write_bytes(gzip.compress(idx(array)))
            resources.append((name, md5((folder / name).read_bytes())))
    torchvision = pytest.importorskip("torchvision.datasets")
    monkeypatch.setattr(getattr(torchvision, data_set), "mirrors", [address])
    monkeypatch.setattr(getattr(torchvision, data_set), "resources", resources)
    source = TorchvisionSource(kind, Reading())
    names = source.columns.class_names
    assert names is not None
    assert (len(names), names[9]) == (10, "9" if kind == "mnist" else "ankle boot")
    assert source.splits == {"train": range(5), "test": range(5, 7)}
    np.testing.assert_array_equal(source.block(range(7), (28, 28, 1)), images[..., None])
    assert source.labels(range(7)).tolist() == labels.tolist()
    monkeypatch.setattr(getattr(torchvision, data_set), "mirrors", [NOBODY])
    assert pickle.loads(pickle.dumps(source)).read(6).label == 4
    if kind == "mnist":
        assert mnist_location() == Location.of(cache / "MNIST" / "raw")


def test_celeba_is_read_as_torchvision_leaves_it(cache: Path) -> None:
    folder = cache / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    rows, pictures = [], []
    for number in range(1, 5):
        pixels = np.random.default_rng(number).integers(0, 256, (218, 178, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "jpeg")
        (folder / f"{number:06d}.jpg").write_bytes(buffer.getvalue())
        pictures.append(np.asarray(Image.open(buffer)))
        rows.append(f"{number:06d}.jpg {-1 if number % 2 else 1:2d}  1 {1 if number > 2 else -1:2d}\n")
    (cache / "celeba" / "list_attr_celeba.txt").write_text("4\nBald Male Smiling \n" + "".join(rows))
    (cache / "celeba" / "list_eval_partition.txt").write_text(
        "".join(f"{number:06d}.jpg {split}\n" for number, split in ((1, 0), (2, 0), (3, 1), (4, 2)))
    )
    source = TorchvisionSource("celeba", Reading(attributes=["Smiling", "Bald"]))
    assert (source.kind, source.name) == ("celeba", "celeba")
    assert source.columns == Columns(domain_names=["Smiling", "Bald"])
    assert source.splits == {"train": range(2), "test": range(2, 4)}
    assert [source.read(row).domains for row in range(4)] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for row in range(4):
        np.testing.assert_array_equal(np.asarray(source.read(row).image), pictures[row])


class Drive(Quiet):
    """As Google Drive answers: a file is an attachment, and a page stands where there is none to be had."""

    def end_headers(self) -> None:
        if not self.path.endswith(".html"):
            self.send_header("Content-Disposition", f'attachment; filename="{self.path[1:]}"')
        super().end_headers()


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of what Google Drive holds, by identity, as far as gdown sees."""
    pytest.importorskip("gdown", reason="gdown is not installed; install the project again")
    from requests.adapters import HTTPAdapter

    folder, send = tmp_path / "drive", HTTPAdapter.send
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Drive, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def to_here(self: HTTPAdapter, request: PreparedRequest, **options: Any) -> Response:
            assert request.url is not None
            assert request.url.startswith("https://drive.google.com/")
            (identity,) = parse_qs(urlsplit(request.url).query)["id"]
            request.url = f"http://127.0.0.1:{server.server_port}/{identity}"
            return send(self, request, **options)

        monkeypatch.setattr(HTTPAdapter, "send", to_here)
        monkeypatch.setenv("HOME", str(tmp_path))  # where gdown keeps its cookies
        yield folder
        server.shutdown()


def test_celeba_is_fetched_from_google_drive(cache: Path, drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CelebA

    image = io.BytesIO()
    Image.new("RGB", (178, 218), (0, 120, 0)).save(image, "png")
    with zipfile.ZipFile(drive / "pictures", "w") as archive:
        for number in (1, 2):
            archive.writestr(f"img_align_celeba/{number:06d}.jpg", image.getvalue())
    (drive / "attributes").write_text("2\nBald Smiling \n000001.jpg -1  1\n000002.jpg  1  1\n")
    (drive / "partition").write_text("000001.jpg 0\n000002.jpg 2\n")
    names = {
        "pictures": "img_align_celeba.zip",
        "attributes": "list_attr_celeba.txt",
        "partition": "list_eval_partition.txt",
    }
    files = [(identity, md5((drive / identity).read_bytes()), name) for identity, name in names.items()]
    monkeypatch.setattr(CelebA, "file_list", [*files, ("none", "0" * 32, "identity_CelebA.txt")])
    source = TorchvisionSource("celeba", Reading())
    assert source.splits == {"train": range(1), "test": range(1, 2)}
    assert source.columns == Columns(domain_names=["Bald", "Smiling"])
    assert [source.read(row).domains for row in range(2)] == [(0, 1), (1, 1)]
    picture = source.read(1).image
    assert isinstance(picture, Image.Image)
    assert (picture.size, picture.getpixel((0, 0))) == ((178, 218), (0, 120, 0))
    assert not (cache / "celeba" / "img_align_celeba.zip").exists()


def test_google_s_refusal_is_one_line(cache: Path, drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CelebA

    (drive / "quota.html").write_text("<p>Too many users have viewed or downloaded this file recently.</p>")
    for identity, reason in (("quota.html", "have had many accesses"), ("absent", "404")):
        monkeypatch.setattr(CelebA, "file_list", [(identity, "0" * 32, "img_align_celeba.zip")])
        line = f"cannot download CelebA into {cache} .*{reason}.*give the folder of its files with --source"
        with pytest.raises(UserError, match=line) as caught:
            TorchvisionSource("celeba", Reading())
        assert "\n" not in str(caught.value)
        assert [path.name for path in cache.iterdir()] == [".fetching"]


def test_without_a_network_one_line_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision = pytest.importorskip("torchvision.datasets")
    for data_set in ("MNIST", "FashionMNIST"):
        monkeypatch.setattr(getattr(torchvision, data_set), "mirrors", [NOBODY])
    monkeypatch.setattr(torchvision_sets, "CIFAR10_URL", f"{NOBODY}cifar-10-binary.tar.gz")
    lines = {
        "mnist": "cannot download MNIST into .*refused.*give the folder of its files with --source",
        "fashion-mnist": "cannot download FashionMNIST into .*refused.*give the folder of its files with --source",
        "cifar10": r"cannot download CIFAR-10 into .*refused.*unpack cifar-10-binary\.tar\.gz there by hand",
    }
    for kind, line in lines.items():
        with pytest.raises(UserError, match=line) as caught:
            TorchvisionSource(kind, Reading())
        assert "\n" not in str(caught.value)
    assert not list(cache.glob(".fetching-*"))


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=f"cannot download MNIST into {tmp_path}/file/ganlib .*Not a directory"):
        mnist_location()
