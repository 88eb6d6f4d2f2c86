"""What a prepared dataset says of itself: the `manifest.json` in its folder."""

import json
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ganlib.data.preparation import Preparation
from ganlib.data.sources import SplitName
from ganlib.errors import UserError
from ganlib.files import write_atomically

SCHEMA_VERSION: Final = 1
FILE_NAME = "manifest.json"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shard(_Part):
    """One Arrow IPC file beside the manifest."""

    # A bare name: a manifest from elsewhere must not reach out of its folder.
    file: str = Field(pattern=r"^[a-z]+-\d+\.arrow$")
    split: SplitName
    rows: int = Field(gt=0)
    bytes: int
    sha256: str


class SourceRecord(_Part):
    kind: str
    name: str
    digest: str


class Skipped(_Part):
    """A record that could not be read, and why."""

    record: str
    reason: str


class ClassifierRecord(_Part):
    """The classifier trained on the labels: its file beside the manifest; its accuracy (0 to 1) on the test split, or
    on the training split where that is empty."""

    file: str
    sha256: str
    accuracy: float
    feature_dim: int


class Manifest(_Part):
    """No times and nothing of the machine: prepared twice, it is the same bytes.

    digest: SHA-256 of source digest and kind, preparation and schema version; it is the dataset's identity.
    image_shape: (height, width, channels). counts: images per split. class_counts: per split, images per class;
    it and class_names are None without labels.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    image_shape: tuple[int, int, int]
    resampling: Literal["lanczos"] = "lanczos"
    class_names: list[str] | None
    counts: dict[SplitName, int]
    class_counts: dict[SplitName, list[int]] | None
    shards: list[Shard]
    source: SourceRecord
    preparation: Preparation
    skipped: list[Skipped]
    classifier: ClassifierRecord | None = None

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest in `folder`. Raises UserError where it is missing, broken, or of a newer schema."""
        path = folder / FILE_NAME
        again = "prepare the dataset again"
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError as error:
            raise UserError(f"{folder} is no prepared dataset: it has no {FILE_NAME}; {again}") from error
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"{path} is broken: {error}; {again}") from error
        version = content.get("schema_version") if isinstance(content, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise UserError(
                f"{path} has schema version {version}, and this program knows versions up to {SCHEMA_VERSION}; "
                "update it, or prepare the dataset again"
            )
        try:
            manifest = cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise UserError(f"{path} is broken at {where}: {first['msg']}; {again}") from error
        for split, count in manifest.counts.items():
            if sum(shard.rows for shard in manifest.shards if shard.split == split) != count:
                raise UserError(f"{path} is broken: the rows of its {split} shards do not add up to {count}; {again}")
        return manifest

    def write(self, folder: Path) -> None:
        """Put it into `folder`, atomically. Raises UserError where that cannot be."""
        write_atomically(folder / FILE_NAME, self.model_dump_json(indent=2) + "\n")
