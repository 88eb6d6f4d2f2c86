"""Sources made by hand, and the real ones where they are at hand."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ganlib.data import Dataset, Preparation, open_source, plan, prepare_dataset

from . import preparing

SHARED = Path(__file__).parents[3].parent / "shared" / "data"

WriteIdx = Callable[..., Path]
SavePicture = Callable[..., Path]


@pytest.fixture
def write_idx(tmp_path: Path) -> WriteIdx:
    """write_idx(name, array, header=None) puts an IDX file into tmp_path/idx; `header` lies about the shape."""

    def write(name: str, array: NDArray[np.uint8], header: tuple[int, ...] | None = None) -> Path:
        shape = header or array.shape
        content = struct.pack(f">I{len(shape)}I", 0x0800 + len(shape), *shape) + array.tobytes()
        path = tmp_path / "idx" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


@pytest.fixture
def save_picture(tmp_path: Path) -> SavePicture:
    """save_picture(name, seed, size=(12, 10)) saves random RGB noise, (width, height), as tmp_path/pictures/name."""

    def save(name: str, seed: int, size: tuple[int, int] = (12, 10)) -> Path:
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path

    return save


@pytest.fixture(scope="session")
def mnist_files() -> Path:
    folder = SHARED / "mnist"
    if not folder.is_dir():
        pytest.skip(f"no MNIST in {folder}")
    return folder


@pytest.fixture(scope="session")
def mnist(mnist_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    into = tmp_path_factory.mktemp("mnist")
    return prepare_dataset(open_source(mnist_files), Preparation(size=28, channels=1), into, "mnist")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare_dataset(
        open_source("digits"), Preparation(size=8, channels=1), tmp_path_factory.mktemp("digits"), "digits"
    )


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of six records of tests.ganlib.data.preparing."""
    monkeypatch.setattr(plan, "SHARD_BYTES", preparing.SHARD_BYTES)
