"""IDX files, as MNIST and its kin come: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-..., raw or gzip."""

import gzip
import math
import zlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganlib.data.sources.base import SPLITS, Source, SplitName
from ganlib.errors import UserError
from ganlib.files import canonical_digest, file_digest

_PREFIX: dict[SplitName, str] = {"train": "train", "test": "t10k"}
_IMAGES, _LABELS = "%s-images-idx3-ubyte", "%s-labels-idx1-ubyte"
# DEFLATE packs at most 1,032 bytes into one (258 from two bits), so a file's size bounds what a header may claim of it.
_MOST_INFLATION = 1032


class _Files(NamedTuple):
    images: Path
    labels: Path | None


class IdxSource(Source):
    """The IDX files of a folder; labels and test files may be absent. Where `x` and `x.gz` both stand, `x.gz` is read.

    Opening looks at names alone; the files are read, once, when their content is first asked for, and anything wrong
    with them raises UserError then.
    """

    kind = "idx"

    def __init__(self, folder: Path) -> None:
        self.name = folder.resolve().name
        self._files = _find_files(folder)

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Whether any of the four files is there; opening says which one is missing."""
        return any(_find(folder, name) for prefix in _PREFIX.values() for name in (_IMAGES % prefix, _LABELS % prefix))

    def digest(self) -> str:
        paths = [path for files in self._files.values() for path in files if path is not None]
        return canonical_digest([[path.name, file_digest(path)] for path in paths])

    @cached_property
    def names(self) -> list[str]:
        return [f"{split}/{index:08d}" for split, images in self._images.items() for index in range(len(images))]

    @cached_property
    def labels(self) -> NDArray[np.int64] | None:
        parts = []
        for split, files in self._files.items():
            if files.labels is None:
                return None
            labels = read_idx(files.labels, dimensions=1)
            count = len(self._images[split])
            if len(labels) != count:
                raise UserError(
                    f"{files.labels} holds {len(labels)} labels, but {files.images.name} holds {count} images; "
                    "take both files from the same data set"
                )
            parts.append(labels.astype(np.int64))
        return np.concatenate(parts)

    @property
    def class_names(self) -> list[str] | None:
        return None if self.labels is None else [str(label) for label in range(int(self.labels.max()) + 1)]

    @property
    def splits(self) -> Mapping[SplitName, range] | None:
        if "test" not in self._images:
            return None
        train, total = len(self._images["train"]), sum(map(len, self._images.values()))
        return {"train": range(train), "test": range(train, total)}

    def image(self, index: int) -> Image.Image:
        train = self._images["train"]
        return Image.fromarray(train[index] if index < len(train) else self._images["test"][index - len(train)])

    def block(self, indices: NDArray[np.int64], image_shape: tuple[int, int, int]) -> NDArray[np.uint8] | None:
        train = self._images["train"]
        if image_shape != (*train.shape[1:], 1):
            return None
        in_train = indices < len(train)
        if in_train.all():
            return train[indices, ..., None]
        if in_train.any():
            return None
        return self._images["test"][indices - len(train), ..., None]

    @cached_property
    def _images(self) -> dict[SplitName, NDArray[np.uint8]]:
        images = {split: read_idx(files.images, dimensions=3) for split, files in self._files.items()}
        sizes = {array.shape[1:] for array in images.values()}
        if len(sizes) > 1:
            (h, w), (test_h, test_w) = images["train"].shape[1:], images["test"].shape[1:]
            raise UserError(f"{self._files['test'].images} holds {test_h}x{test_w} images, the training file {h}x{w}")
        return images


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file, gzip when its name ends in .gz.

    Never allocates more than the file can hold. Raises UserError for a wrong magic number, a header that disagrees with
    the body, no content, or broken compression.
    """
    try:
        size = path.stat().st_size
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _parse(path, file, size * (_MOST_INFLATION if path.suffix == ".gz" else 1), dimensions)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is a broken gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _parse(path: Path, file: BinaryIO | gzip.GzipFile, most: int, dimensions: int) -> NDArray[np.uint8]:
    header_size = 4 + 4 * dimensions
    header = file.read(header_size)
    magic = 0x0800 + dimensions  # 08: unsigned bytes
    if header[:4] != magic.to_bytes(4, "big"):
        raise UserError(
            f"{path} begins with 0x{header[:4].hex()}, expected 0x{magic:08x} "
            f"(IDX, unsigned bytes, {dimensions} dimensions)"
        )
    if len(header) < header_size:
        raise UserError(f"{path} ends within its header: {len(header)} bytes, expected {header_size}")
    shape = tuple(int(n) for n in np.frombuffer(header, ">u4", offset=4))
    expected = math.prod(shape)
    claim = f"its header says {' x '.join(map(str, shape))} = {expected:,} bytes"
    if expected == 0:
        raise UserError(f"{path} holds nothing: {claim}")
    if expected > most:
        raise UserError(f"{path} is cut short or its header lies: {claim}, the file can hold at most {most:,}")
    # In pieces, so that memory grows with what is really there.
    body = bytearray()
    while piece := file.read(min(1 << 20, expected + 1 - len(body))):
        body += piece
    if len(body) < expected:
        raise UserError(f"{path} is cut short or its header lies: {claim}, {len(body):,} follow it")
    if len(body) > expected:
        raise UserError(f"{path} goes on after its end or its header lies: {claim}, more follow it")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _find(folder: Path, name: str) -> Path | None:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    return None


def _find_files(folder: Path) -> dict[SplitName, _Files]:
    files: dict[SplitName, _Files] = {}
    for split in SPLITS:
        images = _find(folder, _IMAGES % _PREFIX[split])
        labels = _find(folder, _LABELS % _PREFIX[split])
        if images is not None:
            files[split] = _Files(images, labels)
        elif labels is not None or split == "train":
            raise UserError(f"{folder} has no {_IMAGES % _PREFIX[split]}, raw or .gz")
    if len({found.labels is None for found in files.values()}) > 1:
        missing = next(split for split, found in files.items() if found.labels is None)
        raise UserError(f"{folder} has labels for one split only: {_LABELS % _PREFIX[missing]} is missing")
    return files
