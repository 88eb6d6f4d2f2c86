"""From a source to a dataset, on disk or in an object store."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganlib.cores import cores
from ganlib.data.dataset import Dataset
from ganlib.data.duplicates import Duplicates, find_duplicates
from ganlib.data.geometry import RESIZING
from ganlib.data.layout import Layout
from ganlib.data.manifest import MOST_SKIPPED, SCHEMA_VERSION, Manifest, Shard, Skipped, SourceRecord, content_digest
from ganlib.data.plan import ShardTask, plan_shards
from ganlib.data.preparation import Preparation
from ganlib.data.shard_writer import ShardOutcome, ShardWriter, SourceError, write_shard
from ganlib.data.shards import ShardReader
from ganlib.data.sources.base import SPLITS, Source, SplitName
from ganlib.data.staging import Staging
from ganlib.data.storage import Location, one_line
from ganlib.errors import UserError
from ganlib.files import canonical_digest

__all__ = ["Mapper", "ShardOutcome", "ShardTask", "ShardWriter", "prepare_dataset"]

Mapper = Callable[[ShardWriter, Sequence[ShardTask]], Iterator[ShardOutcome]]
"""Calls the writer with every task, here or elsewhere, and gives the outcomes in any order."""

_MOST_SIZES = 20
_MOST_SHARDS = 8
"""At once, in this process: each holds its images twice."""


def prepare_dataset(
    source: Source,
    preparation: Preparation,
    into: str | Path | Location,
    name: str | None,
    progress: Callable[[int, int], None] | None = None,
    mapper: Mapper | None = None,
) -> Dataset:
    """The dataset of `source` under `preparation`, `into / f"{name}-{digest[:12]}"`; written unless it is there whole.

    Where name is None, it is whichever was prepared of the same before, by any name, or else called after the source.

    progress is called with (records done, records in all). mapper writes the shards; None does it in threads of this
    process. Memory stays within a few shards, plus what the source itself holds. Whatever writes the shards, and
    however often it was cut off, every file is the same bytes. Two at once are safe. Where the same content stands
    already, prepared from elsewhere, that dataset is the answer.

    Raises UserError for a source that cannot be read, more bad records than `preparation.max_bad` allows, or no
    training images, and then nothing is left behind. Where it is cut off otherwise, the disk is full, or a store cannot
    be reached (UserErrors too), what is whole stays in `into / ".staging-..."`, for the next time to go on with.
    """
    any_name, name = name is None, source.name if name is None else name
    if not name or name.startswith(".") or "/" in name or not name.isprintable():
        raise UserError(f"a dataset cannot be called {name!r}; choose a name without slashes, not beginning with a dot")
    layout = _layout(source, preparation)
    facts = _facts(source, preparation, layout)
    staging = Staging(Location.of(into), canonical_digest({**facts, "name": name}), canonical_digest(facts))
    prepared = staging.prepared(any_name)
    if prepared is not None:
        return prepared
    tasks = plan_shards(source, layout, preparation)
    with staging.alone():
        prepared = staging.prepared(any_name)
        if prepared is not None:
            return prepared
        staging.clear_leftovers()
        writer = ShardWriter(source, preparation, layout, staging.place)
        try:
            outcomes = _write(writer, tasks, staging, progress, mapper or _in_threads)
            outcomes, duplicates = _leave_out_duplicates(writer, outcomes)
            manifest = _manifest(writer, name, outcomes, duplicates)
            return staging.settle(manifest, outcomes)
        except SourceError:
            staging.place.remove()
            raise
        except UserError:
            # In an object store another may have come to its end meanwhile, and what was staged went with it.
            prepared = staging.prepared()
            if prepared is None:
                raise
            return prepared


def _layout(source: Source, preparation: Preparation) -> Layout:
    columns = source.columns
    points = columns.dtype == "float32"
    if preparation.pairs == "edges":
        if points or columns.partner:
            what = "points, which have no contours" if points else "pairs already"
            raise UserError(f"{source.name} holds {what}; leave pairs at none")
        columns = columns.model_copy(update={"partner": True})
    if not points:
        return Layout(preparation.image_shape, columns)
    point = source.read(0).image
    assert isinstance(point, np.ndarray)
    return Layout((1, point.shape[1], 1), columns)


def _facts(source: Source, preparation: Preparation, layout: Layout) -> dict[str, Any]:
    """All that decides the dataset but for its name."""
    return {
        "source": source.fingerprint(),
        "kind": source.kind,
        "columns": layout.columns.model_dump(mode="json"),
        "preparation": preparation.model_dump(mode="json"),
        "schema_version": SCHEMA_VERSION,
        # Shards of a preparation that was cut off are not gone on with where pictures are now resized otherwise.
        "resizing": RESIZING,
    }


def _in_threads(writer: ShardWriter, tasks: Sequence[ShardTask]) -> Iterator[ShardOutcome]:
    there = cores()
    at_once = min(there, len(tasks), _MOST_SHARDS)
    writer = replace(writer, threads=-(-there // at_once))
    with (
        # An image near Pillow's limit is read; one past it is a bad record, which is said in its place.
        warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
        ThreadPoolExecutor(at_once) as pool,
    ):
        waiting = [pool.submit(writer, task) for task in tasks]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _write(
    writer: ShardWriter,
    tasks: list[ShardTask],
    staging: Staging,
    progress: Callable[[int, int], None] | None,
    mapper: Mapper,
) -> list[ShardOutcome]:
    """Every task's outcome, in the tasks' order; those that are there from a preparation that was cut off are kept."""
    source = writer.source
    outcomes: dict[ShardTask, ShardOutcome] = {}
    bad, done = list(source.faults), 0

    def add(outcome: ShardOutcome) -> None:
        nonlocal done
        outcomes[outcome.task] = outcome
        bad.extend(outcome.skipped)
        done += outcome.rows + len(outcome.skipped)
        _check_bad(writer, bad)

    _check_bad(writer, bad)
    for outcome in staging.finished(tasks):
        add(outcome)
    if progress is not None and done:
        progress(done, len(source.names))
    missing = [task for task in tasks if task not in outcomes]
    if missing:
        arriving = mapper(writer, missing)
        try:
            for outcome in arriving:
                add(outcome)
                if progress is not None:
                    progress(done, len(source.names))
        finally:
            # Before anything is done about an error: a thread still at work would write into what is removed.
            if isinstance(arriving, Generator):
                arriving.close()
    return [outcomes[task] for task in tasks]


def _check_bad(writer: ShardWriter, bad: list[tuple[str, str]]) -> None:
    share, total = writer.preparation.max_bad, len(writer.source.names) + len(writer.source.faults)
    if len(bad) > share * total:
        some = [f"{one_line(record)} ({one_line(reason)})" for record, reason in bad[:3]]
        some += ["..."] * (len(bad) > 3)
        raise SourceError(
            f"{writer.source.name}: {len(bad)} of {total} records cannot be used, max_bad allows a share of {share:g}: "
            f"{', '.join(some)}; mend or remove them, or raise max_bad"
        )


def _leave_out_duplicates(
    writer: ShardWriter, outcomes: list[ShardOutcome]
) -> tuple[list[ShardOutcome], Duplicates | None]:
    """The outcomes once test holds no record of train's pixels; None for points."""
    if writer.layout.columns.dtype == "float32":
        return outcomes, None

    def hashes(split: SplitName) -> np.ndarray:
        parts = [outcome.pixel_hashes() for outcome in outcomes if outcome.task.split == split]
        return np.concatenate([np.empty((0, 2), np.uint64), *parts])

    duplicates = find_duplicates(hashes("train"), hashes("test"))
    kept, start = [], 0
    for outcome in outcomes:
        if outcome.task.split == "test":
            left_out = duplicates.left_out[start : start + outcome.rows]
            start += outcome.rows
            if left_out.any():
                outcome = _without(writer, outcome, left_out)
        kept.append(outcome)
    return kept, duplicates


def _without(writer: ShardWriter, outcome: ShardOutcome, left_out: np.ndarray) -> ShardOutcome:
    shard = ShardReader(writer.staging / outcome.staged, writer.layout, outcome.rows, 0).load()
    rows = shard.rows().select(~left_out)
    return write_shard(writer.staging, writer.layout, outcome.task, rows, outcome.skipped, outcome.sizes, reduced=True)


def _manifest(writer: ShardWriter, name: str, outcomes: list[ShardOutcome], duplicates: Duplicates | None) -> Manifest:
    source, preparation, layout = writer.source, writer.preparation, writer.layout
    shards = [
        Shard(file=one.task.file, split=one.task.split, rows=one.rows, bytes=one.bytes, sha256=one.sha256)
        for one in outcomes
        if one.rows
    ]
    counts = {split: sum(shard.rows for shard in shards if shard.split == split) for split in SPLITS}
    if not counts["train"]:
        raise SourceError(f"{source.name} leaves nothing to train on: no record of that split can be used")
    skipped = [*source.faults, *(bad for one in outcomes for bad in one.skipped)]
    sizes = sum((Counter(one.sizes) for one in outcomes), Counter())
    commonest = dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:_MOST_SIZES])
    rest = sizes.total() - sum(commonest.values())
    return Manifest(
        name=name,
        digest=content_digest(preparation, layout, shards),
        image_shape=layout.image_shape,
        columns=layout.columns,
        resampling=None if duplicates is None else "lanczos",
        counts=counts,
        class_counts=_sums(outcomes, [one.class_counts for one in outcomes]),
        domain_counts=_sums(outcomes, [one.domain_counts for one in outcomes]),
        in_one_domain=None
        if layout.columns.domain_names is None
        else {split: sum(one.in_one_domain or 0 for one in outcomes if one.task.split == split) for split in SPLITS},
        shards=shards,
        source=SourceRecord(kind=source.kind, name=source.name, reading=source.reading),
        preparation=preparation,
        original_sizes=commonest | ({"other": rest} if rest else {}),
        skipped=[Skipped(record=record, reason=reason) for record, reason in skipped[:MOST_SKIPPED]],
        skipped_count=len(skipped),
        duplicates={}
        if duplicates is None
        else {
            "train": duplicates.train,
            "test": duplicates.test,
            "left_out_of_test": int(duplicates.left_out.sum()),
        },
    )


def _sums(outcomes: list[ShardOutcome], counts: list[list[int] | None]) -> dict[SplitName, list[int]] | None:
    """Per split, the outcomes' counts added up; None where they have none."""
    there = [(one.task.split, values) for one, values in zip(outcomes, counts, strict=True) if values is not None]
    if not there:
        return None
    width = len(there[0][1])
    return {
        split: np.sum([values for at, values in there if at == split] or [[0] * width], axis=0).tolist()
        for split in SPLITS
    }
