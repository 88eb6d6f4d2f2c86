"""One shard at a time: its records read, brought to one form and written, with what is to be said of them."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict

from ganlib.data.edges import contours
from ganlib.data.geometry import Placement, Squares
from ganlib.data.layout import Layout, Rows
from ganlib.data.plan import ShardTask, rows_of
from ganlib.data.preparation import Preparation
from ganlib.data.shards import serialise
from ganlib.data.sources.base import BadRecordError, Record, Source
from ganlib.data.storage import Location, StoreError
from ganlib.errors import UserError

# What a thread takes at once: few enough that the threads end together.
_CHUNK = 64
_HASH_BYTES = 16

T = TypeVar("T")


class SourceError(UserError):
    """The source as a whole cannot be read; going on later, or elsewhere, would not help."""


class ShardOutcome(BaseModel):
    """What became of a ShardTask; kept beside the shard while a preparation lasts.

    bytes, sha256: of the shard's file, `staged`; bytes is 0, and there is no file, where no record was good.
    skipped: (record, reason). sizes: "WxH" of the pictures before resizing, and how many had it. class_counts,
    domain_counts: records a class or domain; in_one_domain: those of one domain and no other. hashes: base64 of 16
    bytes a row, BLAKE2b of its pixels; empty for points.
    reduced: whether records that are in train too were left out, after the shard was written whole.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: ShardTask
    rows: int
    bytes: int
    sha256: str
    skipped: list[tuple[str, str]]
    sizes: dict[str, int]
    class_counts: list[int] | None
    domain_counts: list[int] | None
    in_one_domain: int | None
    hashes: str
    reduced: bool = False

    @property
    def staged(self) -> str:
        """The shard's file in the staging folder. A reduced one has its own: what is staged never changes, for another
        preparation may be at work on it."""
        return f"reduced-{self.task.file}" if self.reduced else self.task.file

    def pixel_hashes(self) -> NDArray[np.uint64]:
        """uint64 [rows, 2]."""
        return np.frombuffer(base64.b64decode(self.hashes), np.uint64).reshape(-1, 2)


@dataclass(frozen=True)
class ShardWriter:
    """Writes the shards of one dataset into `staging`. Picklable; `threads` read the records of one shard."""

    source: Source
    preparation: Preparation
    layout: Layout
    staging: Location
    threads: int = 1

    def __call__(self, task: ShardTask) -> ShardOutcome:
        """Writes the shard and, after it, its outcome beside it. Raises UserError; SourceError is one."""
        try:
            rows, skipped, sizes = self._read(task)
        except StoreError:  # the source may be read again later, and what is written is good
            raise
        except UserError as error:
            raise SourceError(str(error)) from error
        outcome = write_shard(self.staging, self.layout, task, rows, skipped, sizes)
        (self.staging / outcome_file(task)).write(outcome.model_dump_json().encode())
        return outcome

    def _read(self, task: ShardTask) -> tuple[Rows, list[tuple[str, str]], dict[str, int]]:
        source, layout = self.source, self.layout
        wanted = rows_of(task, source, self.preparation)
        rows = layout.empty(len(wanted))
        rows.names[:] = [source.names[row] for row in wanted]
        if self._read_at_once(wanted, rows):
            height, width, _ = layout.image_shape
            return rows, [], {f"{width}x{height}": len(wanted)}
        chunks = [range(first, min(first + _CHUNK, len(wanted))) for first in range(0, len(wanted), _CHUNK)]

        def read(chunk: range) -> list[str | BadRecordError]:
            return self._read_some(wanted, rows, chunk)

        if self.threads > 1:
            with ThreadPoolExecutor(self.threads) as pool:
                found = [one for part in pool.map(read, chunks) for one in part]
        else:
            found = [one for chunk in chunks for one in read(chunk)]
        bad = {place: str(one) for place, one in enumerate(found) if isinstance(one, BadRecordError)}
        sizes = Counter(one for one in found if isinstance(one, str) and one)
        good = np.ones(len(wanted), bool)
        good[list(bad)] = False
        return rows.select(good), [(rows.names[place], reason) for place, reason in bad.items()], dict(sizes)

    def _read_at_once(self, wanted: Sequence[int], rows: Rows) -> bool:
        """Fills `rows` where the source has these records as arrays of the very shape; else returns False."""
        if not isinstance(wanted, range) or self.preparation.pairs != "none" or self.layout.columns.dtype != "uint8":
            return False
        images = self.source.block(wanted, self.layout.image_shape)
        if images is None:
            return False
        rows.arrays["image"][:] = images
        if "label" in rows.arrays:
            rows.arrays["label"][:] = self.source.labels(wanted)
        return True

    def _read_some(self, wanted: Sequence[int], rows: Rows, places: range) -> list[str | BadRecordError]:
        """Fills `places` of `rows`; returns each picture's size as "WxH" (empty for points), or what is wrong."""
        found: list[str | BadRecordError] = []
        squares = Squares()
        for place in places:
            try:
                found.append(self._place(self.source.read(wanted[place]), rows, place, squares))
            except BadRecordError as error:
                found.append(error)
        squares.finish()
        if self.preparation.pairs == "edges":
            for place, one in zip(places, found, strict=True):
                if isinstance(one, str):
                    rows.arrays["partner"][place] = contours(rows.arrays["image"][place])
        return found

    def _place(self, record: Record, rows: Rows, place: int, squares: Squares) -> str:
        columns, arrays = self.layout.columns, rows.arrays
        size = ""
        if isinstance(record.image, np.ndarray):
            if columns.dtype != "float32" or record.image.shape != self.layout.image_shape:
                raise BadRecordError(f"its values are {record.image.shape}, not {self.layout.image_shape}")
            arrays["image"][place] = record.image
        else:
            size = f"{record.image.width}x{record.image.height}"
            placement = self._place_pictures(record, arrays, place, squares)
            if columns.boxes:
                arrays["box"][place] = placement.box(_there(record.box, "box"))
            if columns.keypoint_names is not None:
                arrays["keypoints"][place] = placement.keypoints(_there(record.keypoints, "keypoints"))
        if columns.class_names is not None:
            label = _there(record.label, "label")
            if not 0 <= label < len(columns.class_names):
                raise BadRecordError(f"its label {label} is none of the {len(columns.class_names)} classes")
            arrays["label"][place] = label
        if columns.domain_names is not None:
            arrays["domains"][place] = _there(record.domains, "domains")
        if rows.captions is not None:
            if not record.captions:
                raise BadRecordError("it has no caption")
            rows.captions[place] = list(record.captions)
        return size

    def _place_pictures(self, record: Record, arrays: dict[str, NDArray], place: int, squares: Squares) -> Placement:
        image, preparation = record.image, self.preparation
        assert isinstance(image, Image.Image)
        if self.layout.columns.dtype != "uint8":
            raise BadRecordError("it is a picture, not a point")
        placement = Placement.of(image.width, image.height, preparation.size, preparation.fit)
        squares.fill(arrays["image"][place], image, placement)
        if self.layout.columns.partner and preparation.pairs != "edges":
            partner = _there(record.partner, "partner")
            if partner.size != image.size:
                sizes = " and ".join(f"{side.width}x{side.height}" for side in (image, partner))
                raise BadRecordError(f"the two parts of the pair are of different size, {sizes}")
            squares.fill(arrays["partner"][place], partner, placement)
        return placement


def write_shard(
    staging: Location,
    layout: Layout,
    task: ShardTask,
    rows: Rows,
    skipped: list[tuple[str, str]],
    sizes: dict[str, int],
    reduced: bool = False,
) -> ShardOutcome:
    """Writes the rows, and returns what is to be said of them. Raises UserError where that cannot be."""
    content = serialise(rows, layout) if len(rows) else b""
    classes, domains = layout.columns.class_names, layout.columns.domain_names
    outcome = ShardOutcome(
        task=task,
        rows=len(rows),
        bytes=len(memoryview(content)),
        sha256=hashlib.sha256(content).hexdigest(),
        skipped=skipped,
        sizes=sizes,
        class_counts=None if classes is None else np.bincount(rows.arrays["label"], minlength=len(classes)).tolist(),
        domain_counts=None if domains is None else rows.arrays["domains"].sum(axis=0, dtype=np.int64).tolist(),
        in_one_domain=None if domains is None else int((rows.arrays["domains"].sum(axis=1) == 1).sum()),
        hashes=_pixel_hashes(rows) if layout.columns.dtype == "uint8" else "",
        reduced=reduced,
    )
    if len(rows):
        (staging / outcome.staged).write(content)
    return outcome


def outcome_file(task: ShardTask) -> str:
    """Where a ShardWriter leaves its outcome, in the staging folder."""
    return f"{task.file}.json"


def _pixel_hashes(rows: Rows) -> str:
    sides = [rows.arrays[side] for side in ("image", "partner") if side in rows.arrays]
    digests = bytearray()
    for pixels in zip(*sides, strict=True):
        state = hashlib.blake2b(digest_size=_HASH_BYTES)
        for side in pixels:
            state.update(side)
        digests += state.digest()
    return base64.b64encode(digests).decode()


def _there(value: T | None, what: str) -> T:
    if value is None:
        raise BadRecordError(f"it has no {what}")
    return value
