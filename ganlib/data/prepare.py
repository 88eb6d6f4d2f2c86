"""From a source to a dataset on disk."""

import shutil
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganlib.data.dataset import Dataset
from ganlib.data.manifest import SCHEMA_VERSION, Manifest, Skipped, SourceRecord
from ganlib.data.pixels import fit
from ganlib.data.preparation import Preparation
from ganlib.data.shards import Rows, write_shards
from ganlib.data.sources import SPLITS, BadRecordError, Source, SplitName
from ganlib.errors import UserError
from ganlib.files import atomic_folder, canonical_digest

# The images in memory between the threads and the shard: few enough that progress moves.
_PART_ROWS, _PART_BYTES = 512, 32 << 20


def prepare_dataset(
    source: Source,
    preparation: Preparation,
    into: Path,
    name: str,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """The dataset of `source` under `preparation`, `into / f"{name}-{digest[:12]}"`; written unless it is there whole.

    progress is called with (records done, records in all). Memory stays within one shard and a few images a thread,
    plus what the source itself holds. Prepared twice, every file is the same bytes; two preparations at once are safe.

    Raises UserError for a source that cannot be read, more bad records than `preparation.max_bad` allows, no training
    images, or a folder that cannot be written; then nothing is left behind.
    """
    record = SourceRecord(kind=source.kind, name=source.name, digest=source.digest())
    digest = canonical_digest(
        {
            "source": record.digest,
            "kind": record.kind,
            "preparation": preparation.model_dump(),
            "schema_version": SCHEMA_VERSION,
        }
    )
    path = into / f"{name}-{digest[:12]}"
    with suppress(UserError):
        return Dataset.open(path)
    # What may stand there is a broken dataset of ours, by its name, and its content can be made again.
    shutil.rmtree(path, ignore_errors=True)
    with (
        atomic_folder(path, keep_existing=True) as folder,
        ThreadPoolExecutor() as pool,
        # Such an image is a bad record, which is said in its place.
        warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
    ):
        reader = _Reader(source, preparation, pool, progress)
        rows = _split(source, preparation)
        shards = [
            shard
            for split, indices in rows.items()
            for shard in write_shards(folder, split, reader.read(indices), preparation.image_shape, len(indices))
        ]
        good = {split: np.setdiff1d(indices, list(reader.bad)) for split, indices in rows.items()}
        manifest = Manifest(
            name=name,
            digest=digest,
            image_shape=preparation.image_shape,
            class_names=source.class_names,
            counts={split: len(indices) for split, indices in good.items()},
            class_counts=_count_classes(source, good),
            shards=shards,
            source=record,
            preparation=preparation,
            skipped=[Skipped(record=source.names[index], reason=reason) for index, reason in reader.bad.items()],
        )
        manifest.write(folder)
    return Dataset.open(path)


class _Reader:
    """Reads records as images of one form; `bad` gathers those that cannot be read, by row, with the reason."""

    def __init__(
        self,
        source: Source,
        preparation: Preparation,
        pool: ThreadPoolExecutor,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.bad: dict[int, str] = {}
        self._source = source
        self._preparation = preparation
        self._pool = pool
        self._progress = progress
        self._done = 0

    def read(self, indices: NDArray[np.int64]) -> Iterator[Rows]:
        """These records in their order, without the bad ones. Raises UserError once too many are bad."""
        source, total = self._source, len(self._source.names)
        most = max(1, min(_PART_ROWS, _PART_BYTES // prod(self._preparation.image_shape)))
        for start in range(0, len(indices), most):
            rows = indices[start : start + most]
            self._done += len(rows)
            images = source.block(rows, self._preparation.image_shape)
            if images is None:
                rows, images = self._convert(rows)
            yield Rows(
                images,
                None if source.labels is None else source.labels[rows],
                [source.names[index] for index in rows],
            )
            if self._progress is not None:
                self._progress(self._done, total)

    def _convert(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """The rows among `indices` that can be read, and their images."""
        outcomes = list(self._pool.map(self._convert_one, indices.tolist()))
        images = [outcome for outcome in outcomes if not isinstance(outcome, str)]
        self.bad |= {int(i): reason for i, reason in zip(indices, outcomes, strict=True) if isinstance(reason, str)}
        share, total = self._preparation.max_bad, len(self._source.names)
        if len(self.bad) / total > share:
            some = [f"{self._source.names[i]} ({reason})" for i, reason in list(self.bad.items())[:3]]
            some += ["..."] * (len(self.bad) > 3)
            raise UserError(
                f"{self._source.name}: {len(self.bad)} of {total} images cannot be used, max_bad allows a share of "
                f"{share:g}: {', '.join(some)}; mend or remove them, or raise max_bad"
            )
        good = np.array([not isinstance(outcome, str) for outcome in outcomes])
        return indices[good], np.array(images, np.uint8).reshape(-1, *self._preparation.image_shape)

    def _convert_one(self, index: int) -> NDArray[np.uint8] | str:
        """The image, or the reason why there is none."""
        try:
            return fit(self._source.image(index), self._preparation.size, self._preparation.channels)
        except BadRecordError as error:
            return str(error)


def _split(source: Source, preparation: Preparation) -> dict[SplitName, NDArray[np.int64]]:
    """The rows of each split, in the order of their names."""
    if source.splits is not None:
        return {split: np.array(source.splits[split]) for split in SPLITS}
    in_test = np.array([preparation.is_test(name) for name in source.names])
    if in_test.all():
        raise UserError(f"{source.name} leaves nothing to train on: all {len(in_test)} images are in the test split")
    return {"train": np.flatnonzero(~in_test), "test": np.flatnonzero(in_test)}


def _count_classes(source: Source, rows: dict[SplitName, NDArray[np.int64]]) -> dict[SplitName, list[int]] | None:
    if source.class_names is None or source.labels is None:
        return None
    labels, classes = source.labels, len(source.class_names)
    return {split: np.bincount(labels[indices], minlength=classes).tolist() for split, indices in rows.items()}
