"""Which columns of a Parquet file are the image, the label and the caption, and which classes its labels are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import pyarrow as pa
from pyarrow import types

from ganlib.data.reading import Reading
from ganlib.data.sources.parquet_rows import broken, open_parquet
from ganlib.data.storage import Location
from ganlib.errors import UserError


@dataclass(frozen=True)
class Chosen:
    """The names of the columns; None for what there is not."""

    image: str
    label: str | None
    caption: str | None

    @property
    def present(self) -> list[str]:
        return [column for column in (self.image, self.label, self.caption) if column is not None]


def choose_columns(file: Location, schema: Any, reading: Reading) -> Chosen:
    """The columns that `reading` names, else those of usual names and a fitting type.

    Raises UserError for a named one that is absent or of another type, and for no image.
    """
    image = _choose(file, schema, reading.image_column, _IMAGE_NAMES, _holds_images, _IMAGE_TYPES)
    label = _choose(file, schema, reading.label_column, _LABEL_NAMES, _holds_labels, "integers or strings")
    caption = _choose(file, schema, reading.caption_column, _CAPTION_NAMES, _holds_captions, "strings or lists of them")
    if image is None:
        able = [field.name for field in schema if _holds_images(field.type)]
        if len(able) != 1:
            for name in _IMAGE_NAMES:
                if name in schema.names:
                    raise _wrong_type(file, schema, name, _IMAGE_TYPES)
            raise UserError(f"which column of {file} is the image, of {_spelled(schema)}? Name it as the image column")
        image = able[0]
    return Chosen(image, label, caption)


def check_alike(file: Location, schema: Any, first_file: Location, first_schema: Any, columns: Sequence[str]) -> None:
    """Raises UserError where a file's columns are not of the first file's types."""
    for column in columns:
        if column not in schema.names:
            raise UserError(f"{file} has no column {column!r}, which {first_file} has; take files of one data set")
        kind, first = schema.field(column).type, first_schema.field(column).type
        if kind != first:
            raise UserError(
                f"column {column!r} of {file} is {kind}, but {first} in {first_file}; take files of one data set"
            )


def find_classes(files: Sequence[Location], schema: Any, column: str) -> tuple[list[str], dict[int | str, int]]:
    """The names of the classes, and the class of each label.

    Named by Hugging Face's metadata where these are there; else the labels that occur, for which they all are read.
    """
    names = _named_classes(schema, column)
    if names is not None:
        return names, {number: number for number in range(len(names))}
    found = sorted(set().union(*(_distinct(file, column) for file in files)))
    return [str(label) for label in found], {label: place for place, label in enumerate(found)}


def column_values(file: Location, column: str) -> Iterator[Any]:
    """The values of a column as Python objects, row by row."""
    try:
        for batch in open_parquet(file).iter_batches(columns=[column], use_threads=False):
            yield from batch.column(0).to_pylist()
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise broken(file, error) from error


_IMAGE_NAMES = ("image", "img", "images", "picture", "photo", "jpg", "jpeg", "png", "image_bytes", "bytes")
_LABEL_NAMES = ("label", "labels", "class", "category", "target")
_CAPTION_NAMES = ("caption", "captions", "text", "prompt", "description")
_IMAGE_TYPES = "bytes, or a struct with a field 'bytes' of them"


def _choose(
    file: Location, schema: Any, named: str | None, usual: Sequence[str], fits: Callable[[Any], bool], expected: str
) -> str | None:
    if named is None:
        return next((name for name in usual if name in schema.names and fits(schema.field(name).type)), None)
    if named not in schema.names:
        near = get_close_matches(named, schema.names, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {_spelled(schema)}"
        raise UserError(f"{file} has no column {named!r}; {hint}")
    if not fits(schema.field(named).type):
        raise _wrong_type(file, schema, named, expected)
    return named


def _wrong_type(file: Location, schema: Any, column: str, expected: str) -> UserError:
    return UserError(f"column {column!r} of {file} is {schema.field(column).type}, expected {expected}")


def _spelled(schema: Any) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema) or "no columns"


def _holds_images(kind: Any) -> bool:
    if types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_images(kind.field(place).type)
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _holds_strings(kind: Any) -> bool:
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _holds_labels(kind: Any) -> bool:
    return types.is_integer(kind) or _holds_strings(kind)


def _holds_captions(kind: Any) -> bool:
    listed = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return _holds_strings(kind.value_type if listed else kind)


def _named_classes(schema: Any, column: str) -> list[str] | None:
    if not types.is_integer(schema.field(column).type):
        return None
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        names = features[column]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    named = isinstance(names, list) and len(names) > 0 and all(isinstance(name, str) for name in names)
    return names if named else None


def _distinct(file: Location, column: str) -> set[int | str]:
    from pyarrow.compute import unique  # a slow import, needed here only

    found: set[int | str] = set()
    try:
        for batch in open_parquet(file).iter_batches(columns=[column], use_threads=False):
            found.update(unique(batch.column(0)).to_pylist())
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise broken(file, error) from error
    return found - {None}
