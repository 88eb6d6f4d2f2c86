"""What a prepared dataset says of itself: the `manifest.json` in its folder."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ganlib.data.columns import Columns
from ganlib.data.layout import Layout
from ganlib.data.preparation import Preparation
from ganlib.data.reading import Reading
from ganlib.data.sources.base import SplitName
from ganlib.data.storage import Location
from ganlib.errors import UserError
from ganlib.files import canonical_digest

SCHEMA_VERSION: Final = 2
FILE_NAME = "manifest.json"
MOST_SKIPPED = 1000
"""How many skipped records are named; all are counted."""
_AGAIN = "prepare the dataset again"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=2**48)]
Side = Annotated[int, Field(ge=1, le=2**16)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shard(_Part):
    """One Arrow IPC file beside the manifest."""

    # A bare name: a manifest from elsewhere must not reach out of its folder.
    file: str = Field(pattern=r"^[a-z]+-\d+\.arrow$")
    split: SplitName
    rows: int = Field(gt=0, lt=2**48)
    bytes: Count
    sha256: Digest


class SourceRecord(_Part):
    """What was read, and how, where there was more than one way."""

    kind: str
    name: str
    reading: Reading


class Skipped(_Part):
    """A record that could not be used, and why."""

    record: str
    reason: str


class ClassifierRecord(_Part):
    """The classifier trained on the labels: its file beside the manifest; its accuracy (0 to 1) on the test split, or
    on the training split where that is empty. Of attributes it is the mean of theirs."""

    file: str = Field(pattern=r"^[a-z]+\.safetensors$")
    sha256: Digest
    accuracy: float = Field(ge=0, le=1)
    feature_dim: int = Field(ge=1, le=2**16)


class Manifest(_Part):
    """No times and nothing of the machine: prepared twice, it is the same bytes.

    digest: the dataset's identity, `content_digest` of what was written. image_shape: (height, width, channels).
    resampling: the filter of resizing; None for points of a density. counts: records a split. class_counts,
    domain_counts: a split, records a class or domain (a record may be in several domains), in the order of the columns'
    names; None without those. in_one_domain: a split, records of one domain and no other; None without domains, and in
    a manifest from before they were counted. original_sizes: "WIDTHxHEIGHT" of the pictures before resizing and how
    many had it, the commonest first, the rest as "other"; duplicates that were left out are in it. skipped: the first
    records that were not used, in the source's order; skipped_count: all of them. duplicates: records whose pixels
    (partner included) are those of one before in their split, and test records left out because train has their pixels;
    empty for points.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    name: str
    digest: Digest
    image_shape: tuple[Side, Side, Side]
    columns: Columns
    resampling: Literal["lanczos"] | None
    counts: dict[SplitName, Count]
    class_counts: dict[SplitName, list[Count]] | None
    domain_counts: dict[SplitName, list[Count]] | None
    in_one_domain: dict[SplitName, Count] | None = None
    shards: list[Shard]
    source: SourceRecord
    preparation: Preparation
    original_sizes: dict[str, Count]
    skipped: list[Skipped]
    skipped_count: Count
    duplicates: dict[Literal["train", "test", "left_out_of_test"], Count]
    classifier: ClassifierRecord | None = None

    @property
    def layout(self) -> Layout:
        return Layout(self.image_shape, self.columns)

    def content_digest(self) -> str:
        """SHA-256, hex, of what was written: schema version, preparation, shape, columns, the shards' SHA-256s."""
        return content_digest(self.preparation, self.layout, self.shards)

    @classmethod
    def read(cls, folder: Path | Location) -> Manifest:
        """The manifest in `folder`. Raises UserError where it is missing, broken, or of another schema."""
        folder = Location.of(folder)
        path = folder / FILE_NAME
        if path.kind() is None:
            raise UserError(f"{folder} is no prepared dataset: it has no {FILE_NAME}; {_AGAIN}")
        try:
            content = json.loads(path.read())
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path} is broken: {error}; {_AGAIN}") from error
        _check_version(path, content)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            what = first["msg"].removeprefix("Value error, ")
            raise UserError(f"{path} is broken{f' at {where}' if where else ''}: {what}; {_AGAIN}") from error

    def write(self, folder: Path | Location) -> None:
        """Put it into `folder`, atomically. Raises UserError where that cannot be."""
        (Location.of(folder) / FILE_NAME).write((self.model_dump_json(indent=2) + "\n").encode())

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Manifest:
        rows: dict[SplitName, int] = dict.fromkeys(self.counts, 0)
        for shard in self.shards:
            rows[shard.split] = rows.get(shard.split, 0) + shard.rows
        for split, count in rows.items():
            if self.counts.get(split) != count:
                raise ValueError(f"the rows of its {split} shards do not add up to {self.counts.get(split, 0)}")
        if len({shard.file for shard in self.shards}) < len(self.shards):
            raise ValueError("it names a shard twice")
        if [split for split, _ in groupby(shard.split for shard in self.shards)] not in (
            [],
            ["train"],
            ["train", "test"],
        ):
            raise ValueError("its shards are not first those of train, then those of test")
        for names, counts, what in (
            (self.columns.class_names, self.class_counts, "class"),
            (self.columns.domain_names, self.domain_counts, "domain"),
        ):
            if (names is None) != (counts is None):
                raise ValueError(f"it has {what} names without counts, or counts without names")
            if names is not None and any(len(values) != len(names) for values in (counts or {}).values()):
                raise ValueError(f"it has not one count a {what}")
        if self.columns.domain_names is None and self.in_one_domain is not None:
            raise ValueError("it counts records in one domain, and has no domains")
        return self


def content_digest(preparation: Preparation, layout: Layout, shards: list[Shard]) -> str:
    """The identity of a dataset: see `Manifest.content_digest`."""
    return canonical_digest(
        {
            "schema_version": SCHEMA_VERSION,
            "preparation": preparation.model_dump(mode="json"),
            "image_shape": layout.image_shape,
            "columns": layout.columns.model_dump(mode="json"),
            "shards": [shard.sha256 for shard in shards],
        }
    )


def _check_version(path: Location, content: Any) -> None:
    version = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(version, int):
        raise UserError(f"{path} is broken: it has no schema_version; {_AGAIN}")
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {version}, and this program knows {SCHEMA_VERSION}; "
            "update the program, or prepare the dataset again with this one"
        )
    if version < SCHEMA_VERSION:
        raise UserError(f"{path} has schema version {version}, from an older program; {_AGAIN}")
