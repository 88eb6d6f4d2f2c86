"""A prepared dataset, opened: memory-mapped images and labels."""

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganlib.data.manifest import ClassifierRecord, Manifest, Shard
from ganlib.data.shards import MappedShard, map_shard
from ganlib.data.sources import SplitName
from ganlib.errors import UserError
from ganlib.files import file_digest


class Dataset:
    """A folder of shards under a manifest, immutable but for the record of its classifier."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: Path) -> "Dataset":
        """Read the manifest and see that every shard is there in its full length; content is checked by `verify`.

        Raises UserError for no dataset, a broken manifest or one of a newer schema, a shard missing or cut short.
        """
        manifest = Manifest.read(path)
        for shard in manifest.shards:
            file = path / shard.file
            try:
                size = file.stat().st_size
            except OSError as error:
                raise UserError(f"cannot read the shard {file}: {error.strerror}; prepare the dataset again") from error
            if size != shard.bytes:
                raise UserError(f"the shard {file} has {size:,} bytes, not {shard.bytes:,}; prepare the dataset again")
        return cls(path, manifest)

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def digest(self) -> str:
        """SHA-256, hex: the identity of source and preparation."""
        return self.manifest.digest

    @property
    def class_names(self) -> list[str] | None:
        return self.manifest.class_names

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.manifest.image_shape

    def split(self, name: SplitName) -> "Split":
        """Map the shards of a split. Raises UserError for a broken one."""
        shards = [shard for shard in self.manifest.shards if shard.split == name]
        return Split(self.path, shards, self.image_shape, labelled=self.class_names is not None)

    def verify(self) -> None:
        """Hash every shard; raises UserError naming the first that is not what was prepared."""
        for shard in self.manifest.shards:
            file = self.path / shard.file
            if file_digest(file) != shard.sha256:
                raise UserError(f"the shard {file} has changed; delete {self.path} and prepare the dataset again")

    def record_classifier(self, record: ClassifierRecord) -> "Dataset":
        """Write `record` into the manifest, atomically; the digest stays. Raises UserError where that cannot be."""
        manifest = self.manifest.model_copy(update={"classifier": record})
        manifest.write(self.path)
        return Dataset(self.path, manifest)


class Split:
    """The images and labels of one split, in the order of the shards; read-only views of memory maps."""

    def __init__(self, folder: Path, shards: list[Shard], image_shape: tuple[int, int, int], *, labelled: bool) -> None:
        self._shards: list[MappedShard] = [map_shard(folder / shard.file, shard.rows, image_shape) for shard in shards]
        # Row i is in the last shard that starts at or before i.
        self._starts = np.cumsum([0] + [shard.rows for shard in shards])
        self._image_shape = image_shape
        self._labelled = labelled

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def labels(self) -> NDArray[np.int64] | None:
        """int64 [n], index into the dataset's class_names; None without labels."""
        if not self._labelled:
            return None
        return np.concatenate([np.empty(0, np.int64), *(shard.labels for shard in self._shards)])

    @property
    def names(self) -> list[str]:
        """The n record names, as the source has them."""
        return [name for shard in self._shards for name in shard.names.to_pylist()]

    @property
    def images(self) -> NDArray[np.uint8]:
        """uint8 [n, H, W, C], a view of the memory map; raises ValueError where more than one shard holds them."""
        if len(self._shards) > 1:
            raise ValueError(f"these images are in {len(self._shards)} shards; use take()")
        return self._shards[0].images if self._shards else np.empty((0, *self._image_shape), np.uint8)

    def take(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Images at `indices` (integers [k] from 0 to n - 1, any order, repeats allowed), copied: uint8 [k, H, W, C].

        Raises IndexError out of range.
        """
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"image indices from {indices.min()} to {indices.max()}, of {len(self)} images")
        if len(self._shards) <= 1:
            return self.images.take(indices, axis=0)
        images = np.empty((len(indices), *self._image_shape), np.uint8)
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        for owner in np.unique(owners):
            rows = np.flatnonzero(owners == owner)
            images[rows] = self._shards[owner].images.take(indices[rows] - self._starts[owner], axis=0)
        return images
