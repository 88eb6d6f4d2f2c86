"""Tables that say something of image files: CSV, TSV and JSON lines, row by row."""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from ganlib.data.reading import Reading
from ganlib.data.sources.files import is_image
from ganlib.data.trees import FileTree
from ganlib.errors import UserError

TABLES = (".csv", ".tsv", ".jsonl")
# The first that is there is taken.
_IMAGE_COLUMNS = ("file_name", "filename", "file", "image", "image_path", "image_id", "path", "img")
_CAPTION_COLUMNS = ("caption", "captions", "text", "sentence", "description", "prompt")


class Columns(NamedTuple):
    """The columns' names in a table, or, without a header, their numbers; None where it has no such column."""

    image: str | None
    caption: str | None


class Row(NamedTuple):
    """place: the table's name and line. values: by column; of CSV always strings. fault: why there are none."""

    place: str
    values: Mapping[str, Any]
    fault: str | None = None


def caption_columns(tree: FileTree, table: str, reading: Reading) -> Columns:
    """Which columns of the table hold image and caption. Without a header, two columns are taken to be these.

    Raises UserError where the reading names a column that the table does not have, or the table cannot be read.
    """
    header = _header(tree, table)
    if header is None:
        return Columns("0", "1")
    return Columns(
        _choose(tree.place(table), header, reading.image_column, _IMAGE_COLUMNS),
        _choose(tree.place(table), header, reading.caption_column, _CAPTION_COLUMNS),
    )


def rows(tree: FileTree, table: str) -> Iterator[Row]:
    """All rows; blank lines are passed over, broken ones are faults of their own. Raises UserError."""
    text, name = tree.text(table), posixpath.basename(table)
    if table.lower().endswith(".jsonl"):
        yield from _json_rows(text, name)
        return
    header = _header(tree, table)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(table), strict=True)
    try:
        for number, cells in enumerate(reader):
            if not cells or (number == 0 and header is not None):
                continue
            place, columns = f"{name}, line {reader.line_num}", header or ["0", "1"]
            if len(cells) != len(columns):
                yield Row(place, {}, f"a row of {len(cells)} cells in a table of {len(columns)} columns")
            else:
                yield Row(place, dict(zip(columns, cells, strict=True)))
    except csv.Error as error:
        raise UserError(f"{tree.place(table)}, line {reader.line_num}: {error}; correct it and begin again") from error


class Finder:
    """From what a table calls an image to the image's name: relative to the table, else the one that ends so."""

    def __init__(self, images: Sequence[str]) -> None:
        self._images = set(images)
        self._by_last: dict[str, list[str]] = {}
        for image in images:
            self._by_last.setdefault(posixpath.basename(image), []).append(image)

    def find(self, table: str, called: str) -> str | None:
        """None where there is none, or there are several."""
        path = posixpath.normpath(called.strip())
        beside = posixpath.join(posixpath.dirname(table), path)
        if beside in self._images:
            return beside
        ending = [
            image for image in self._by_last.get(posixpath.basename(path), ()) if f"/{image}".endswith(f"/{path}")
        ]
        return ending[0] if len(ending) == 1 else None


def _json_rows(text: str, name: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            place = f"{name}, line {number}"
            try:
                values = json.loads(line)
                json.dumps(values, ensure_ascii=False).encode()
            except UnicodeEncodeError:  # "\\ud800" alone is JSON, and half a character
                yield Row(place, {}, "text that is no Unicode")
                continue
            except (ValueError, RecursionError):
                yield Row(place, {}, "no JSON")
                continue
            yield Row(place, values) if isinstance(values, dict) else Row(place, {}, "no JSON object")


def _header(tree: FileTree, table: str) -> list[str] | None:
    """The names of the columns; None where the first row is an image and its caption already."""
    text = tree.text(table)
    if table.lower().endswith(".jsonl"):
        first = next(_json_rows(text, table), None)
        return list(first.values) if first else []
    try:
        cells = next(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(table)), [])
    except csv.Error as error:
        raise UserError(f"{tree.place(table)}, line 1: {error}; correct it and begin again") from error
    return None if len(cells) == 2 and is_image(cells[0].strip()) else [cell.strip() for cell in cells]


def _choose(place: str, header: Sequence[str], wanted: str | None, usual: Sequence[str]) -> str | None:
    if wanted is not None:
        if wanted not in header:
            near = get_close_matches(wanted, header, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"its columns are {', '.join(header)}"
            raise UserError(f"{place} has no column {wanted!r}; {hint}")
        return wanted
    folded = {column.casefold(): column for column in reversed(header)}
    return next((folded[name] for name in usual if name in folded), None)


def _delimiter(table: str) -> str:
    return "\t" if table.lower().endswith(".tsv") else ","
