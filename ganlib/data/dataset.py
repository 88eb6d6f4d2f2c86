"""A prepared dataset, opened: on disk or in an object store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ganlib.data.columns import Columns
from ganlib.data.manifest import FILE_NAME, ClassifierRecord, Manifest
from ganlib.data.sealed import is_as_written
from ganlib.data.sources.base import SplitName
from ganlib.data.split import Split
from ganlib.data.storage import Location
from ganlib.errors import UserError

__all__ = ["Dataset", "Split"]

_PIECE = 4 << 20
# A few shards' requests at once hide the store's answering time; more than these would not be faster.
_FILES_AT_ONCE = 4


class Dataset:
    """A folder of shards under a manifest, immutable but for the record of its classifier."""

    def __init__(self, location: Location, manifest: Manifest) -> None:
        self.location = location
        self.manifest = manifest

    @classmethod
    def open(cls, place: str | Path | Location) -> Dataset:
        """Read the manifest and see that every shard is there in its full length; content is checked by `verify`.

        Raises UserError for no dataset, a broken manifest or one of another schema, a shard missing or cut short.
        """
        location = Location.of(place)
        manifest = Manifest.read(location)
        sizes = {entry.name: entry.size for entry in location.list() if not entry.folder}
        for shard in manifest.shards:
            file, size = location / shard.file, sizes.get(shard.file)
            if size is None:
                raise UserError(f"the shard {file} is missing; prepare the dataset again")
            if size != shard.bytes:
                raise UserError(f"the shard {file} has {size:,} bytes, not {shard.bytes:,}; prepare the dataset again")
        return cls(location, manifest)

    @property
    def path(self) -> Path:
        """The folder on a local disk. Raises UserError for a dataset in an object store."""
        if self.location.local is None:
            raise UserError(f"the dataset {self.location} is in an object store; this needs one in a local folder")
        return self.location.local

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def digest(self) -> str:
        """SHA-256, hex: the identity of what was written."""
        return self.manifest.digest

    @property
    def columns(self) -> Columns:
        return self.manifest.columns

    @property
    def class_names(self) -> list[str] | None:
        return self.manifest.columns.class_names

    @property
    def exclusive_domains(self) -> bool:
        """Whether there are domains and every record is in one and no other."""
        if self.columns.domain_names is None:
            return False
        counted = self.manifest.in_one_domain
        return self._all_in_one_domain if counted is None else counted == self.manifest.counts

    @cached_property
    def _all_in_one_domain(self) -> bool:
        """The same, counted now: an older program did not."""
        columns = [self.split(name).column("domains") for name, count in self.manifest.counts.items() if count]
        return all(domains is not None and bool((domains.sum(1) == 1).all()) for domains in columns)

    @property
    def judged_names(self) -> list[str] | None:
        """What the dataset's classifier tells apart: its classes; without these its domains, where a record has one."""
        return self.class_names or (self.columns.domain_names if self.exclusive_domains else None)

    @property
    def attribute_names(self) -> list[str] | None:
        """What the classifier says yes or no to, where it tells nothing apart: domains that a record has several of."""
        return self.columns.domain_names if self.judged_names is None else None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels; (1, dimensions, 1) for points."""
        return self.manifest.image_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the images: uint8, or float32 for points."""
        return self.manifest.layout.dtype

    def split(self, name: SplitName) -> Split:
        """Open the shards of a split. Raises UserError for a broken one on a local disk."""
        shards = [shard for shard in self.manifest.shards if shard.split == name]
        return Split(self.location, shards, self.manifest.layout)

    def verify(self, progress: Callable[[int, int], None] | None = None) -> list[str]:
        """Hash every file; raises UserError naming the first that is not what was prepared, or found and kept since.

        progress is called with (bytes read, bytes of all shards). Returns the files that carry no digest, as some that
        were kept by an older program: what they hold cannot be checked.
        """
        manifest = self.manifest
        if manifest.content_digest() != manifest.digest:
            raise UserError(f"the manifest of {self.location} has changed; delete it and prepare the dataset again")
        files = [(shard.file, shard.sha256, shard.bytes) for shard in manifest.shards]
        if manifest.classifier is not None:
            files.append((manifest.classifier.file, manifest.classifier.sha256, 0))
        total, done = sum(shard.bytes for shard in manifest.shards), 0
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            try:
                digests = pool.map(self._file_digest, [file for file, _, _ in files])
                for (file, expected, size), digest in zip(files, digests, strict=True):
                    if digest != expected:
                        path = self.location / file
                        raise UserError(f"{path} has changed; delete {self.location} and prepare the dataset again")
                    done += size
                    if progress is not None:
                        progress(done, total)
            finally:
                pool.shutdown(cancel_futures=True)
        return self._verify_kept({FILE_NAME, *(file for file, _, _ in files)})

    def _verify_kept(self, prepared: Collection[str]) -> list[str]:
        """Of the files beside those: see `verify`. One at a time, as each is read whole."""
        names = {entry.name for entry in self.location.list(recursive=True)}
        unknown = []
        for file in sorted(names - set(prepared)):
            if file.rpartition("/")[2].startswith("."):  # what is being written, or never was to its end
                continue
            whole = is_as_written((self.location / file).read())
            if whole is False:
                raise UserError(f"{self.location / file} has changed; remove it, and it is made anew")
            if whole is None:
                unknown.append(file)
        return unknown

    def record_classifier(self, record: ClassifierRecord) -> Dataset:
        """Write `record` into the manifest, atomically; the digest stays. Raises UserError where that cannot be."""
        manifest = self.manifest.model_copy(update={"classifier": record})
        manifest.write(self.location)
        return Dataset(self.location, manifest)

    def _file_digest(self, file: str) -> str:
        state = hashlib.sha256()
        for piece in _pieces(self.location / file):
            state.update(piece)
        return state.hexdigest()


def _pieces(location: Location) -> Iterator[bytes]:
    """The file's bytes, from the first to the last. Raises UserError."""
    with location.open() as file:
        try:
            while piece := file.read(_PIECE):
                yield piece
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"cannot read {location}: {error}") from error
