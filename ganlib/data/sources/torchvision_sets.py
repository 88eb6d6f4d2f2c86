"""Data sets by name, fetched through torchvision into ~/.cache/ganlib ($XDG_CACHE_HOME is honoured), once."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from numpy.typing import NDArray

from ganlib.data.columns import Columns
from ganlib.data.reading import Reading
from ganlib.data.sources.base import Record, Source, SplitName
from ganlib.data.sources.cifar import Cifar10Source
from ganlib.data.sources.idx import IdxSource
from ganlib.data.storage import Location
from ganlib.errors import UserError

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
_CIFAR10_FOLDER = "cifar-10-batches-bin"
_CELEBA_FILES = ("img_align_celeba.zip", "list_attr_celeba.txt", "list_eval_partition.txt")
FASHION_CLASSES = [
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
]


class TorchvisionSource(Source):
    """MNIST ("mnist"), FashionMNIST ("fashion-mnist"), CIFAR-10 ("cifar10") or CelebA ("celeba"), by name.

    Fetched when it is opened, unless it is there; and so on each machine that its records are read on. CelebA's
    attributes are domains, chosen by `reading.attributes`. Raises UserError where it cannot be fetched.
    """

    def __init__(self, kind: str, reading: Reading) -> None:
        self.kind = self.name = kind
        self.reading = reading
        self._source = _OPENERS[kind](reading)

    def __getstate__(self) -> tuple[str, Reading]:
        return self.kind, self.reading

    def __setstate__(self, state: tuple[str, Reading]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    @property
    def columns(self) -> Columns:
        columns = self._source.columns
        return columns.model_copy(update={"class_names": FASHION_CLASSES}) if self.kind == "fashion-mnist" else columns

    @property
    def names(self) -> Sequence[str]:
        return self._source.names

    @property
    def splits(self) -> Mapping[SplitName, range] | None:
        return self._source.splits

    @property
    def faults(self) -> Sequence[tuple[str, str]]:
        return self._source.faults

    def fingerprint(self) -> str:
        return self._source.fingerprint()

    def read(self, index: int) -> Record:
        return self._source.read(index)

    def block(self, rows: range, image_shape: tuple[int, int, int]) -> NDArray[np.uint8] | None:
        return self._source.block(rows, image_shape)

    def labels(self, rows: range) -> NDArray[np.int64]:
        return self._source.labels(rows)


def mnist_location() -> Location:
    """The folder with MNIST's four IDX files, fetched unless it is there. Raises UserError."""
    return _idx_location("MNIST")


def _idx_location(data_set: str) -> Location:
    """Of torchvision's class `data_set`, which has MNIST's files."""
    folder = _cache() / data_set / "raw"
    # torchvision unpacks a file once its download is whole and checked: the unpacked ones vouch for the packed.
    files = [f"{split}-{what}" for split in ("train", "t10k") for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]

    def fetch() -> None:
        from torchvision import datasets  # a slow import, needed here only

        getattr(datasets, data_set)(_cache(), download=True)

    _fetch(data_set, lambda: all((folder / file).is_file() for file in files), fetch)
    return Location.of(folder)


def _cifar10_location() -> Location:
    """The folder of the binary version: the one that torchvision itself reads is made of pickles."""
    folder = _cache() / _CIFAR10_FOLDER

    def fetch() -> None:
        from torchvision.datasets.utils import download_and_extract_archive

        _fetch_folder(folder, lambda into: download_and_extract_archive(CIFAR10_URL, into, md5=CIFAR10_MD5))

    _fetch("CIFAR-10", folder.is_dir, fetch, f"unpack {CIFAR10_URL.rpartition('/')[2]} there by hand")
    return Location.of(folder)


def _celeba_location() -> Location:
    """The folder of img_align_celeba/, list_attr_celeba.txt and list_eval_partition.txt."""
    folder = _cache() / "celeba"

    def fetch() -> None:
        from gdown.exceptions import DownloadError  # torchvision fetches from Google Drive by gdown
        from torchvision.datasets import CelebA
        from torchvision.datasets.utils import download_file_from_google_drive, extract_archive

        def fetch_into(parent: Path) -> None:
            into = parent / folder.name
            for identity, md5, name in CelebA.file_list:
                if name in _CELEBA_FILES:
                    download_file_from_google_drive(identity, into, name, md5)
            extract_archive(into / _CELEBA_FILES[0], remove_finished=True)

        try:
            _fetch_folder(folder, fetch_into)
        except DownloadError as error:  # what Google answers where a file was fetched too often that day
            raise RuntimeError(" ".join(str(error).split())) from error

    _fetch("CelebA", folder.is_dir, fetch)
    return Location.of(folder)


def _celeba(reading: Reading) -> Source:
    from ganlib.data.sources.attributes import AttributesSource
    from ganlib.data.trees import open_tree

    return AttributesSource(open_tree(_celeba_location()), reading)


_OPENERS: dict[str, Callable[[Reading], Source]] = {
    "mnist": lambda reading: IdxSource(mnist_location()),
    "fashion-mnist": lambda reading: IdxSource(_idx_location("FashionMNIST")),
    "cifar10": lambda reading: Cifar10Source(_cifar10_location()),
    "celeba": _celeba,
}


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ganlib"


def _fetch(
    title: str,
    is_there: Callable[[], bool],
    fetch: Callable[[], None],
    otherwise: str = "give the folder of its files with --source",
) -> None:
    """Fetch what is not there, one process at a time. Raises UserError."""
    try:
        if is_there():
            return
        _cache().mkdir(parents=True, exist_ok=True)
        with (_cache() / ".fetching").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_there():
                fetch()
    except (OSError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise UserError(f"cannot download {title} into {_cache()} ({reason}); {otherwise}") from error


def _fetch_folder(folder: Path, fetch: Callable[[Path], None]) -> None:
    """`fetch` makes a folder called so in the folder that it is given; whole, it is moved into place."""
    parent = Path(mkdtemp(prefix=".fetching-", dir=folder.parent))
    try:
        fetch(parent)
        (parent / folder.name).rename(folder)
    finally:
        shutil.rmtree(parent, ignore_errors=True)
