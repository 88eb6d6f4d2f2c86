"""Parquet files with a column of encoded images, as Hugging Face's datasets and others' tables are kept."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganlib.data.columns import Columns
from ganlib.data.pixels import decode
from ganlib.data.reading import Reading
from ganlib.data.sources.base import BadRecordError, Record, Source, SplitName
from ganlib.data.sources.numbered import NumberedNames, read_once
from ganlib.data.sources.parquet_columns import check_alike, choose_columns, column_values, find_classes
from ganlib.data.sources.parquet_rows import RowReader, open_parquet
from ganlib.data.sources.rules import DomainRule
from ganlib.data.storage import FileEntry, Location
from ganlib.errors import UserError
from ganlib.files import canonical_digest

# Hugging Face's files: train-00000-of-00004.parquet, or in a folder train/. Their validation counts as test.
_SPLIT = re.compile(r"(train)(?![a-z])|(test|val|valid|validation)(?![a-z])", re.IGNORECASE)
_NO_CAPTION = "no caption"


class ParquetSource(Source):
    """The rows of a Parquet file, or of all those below a folder, in the order of the files' names.

    Images are bytes (of JPEG, PNG, ...) or a struct with such a field `bytes`. Labels are integers or strings; the
    classes are the names that Hugging Face's metadata give to integers, else the labels that occur, in their order. A
    caption is a string or a list of strings. Columns that `reading` does not name are looked for under usual names.
    Where each file's name, or a folder of it, begins with train, test or val, these are the splits.

    With a domain rule, records have the domains that it draws from their captions, and those in none are left out.

    Opening reads the files' footers, the labels where nothing names their classes, and the captions for a domain rule.
    Raises UserError for a column that is absent or of another type, and for files that do not agree.
    """

    kind = "parquet"

    def __init__(self, location: Location, reading: Reading) -> None:
        self.name, self.location = location.name.removesuffix(".parquet"), location
        train, test = _find_files(location)
        entries = train + test
        alone = location.kind() == "file"
        self._files = [location if alone else location / entry.name for entry in entries]
        with ThreadPoolExecutor(16) as pool:
            footers = list(pool.map(_read_footer, self._files))
        first, schema = self._files[0], footers[0][1]
        self._chosen = choose_columns(first, schema, reading)
        for file, (_, other) in zip(self._files, footers, strict=True):
            check_alike(file, other, first, schema, self._chosen.present)
        counts = [rows for rows, _ in footers]
        prefixes = [_text(entry.name) + "/" for entry in entries]
        self._numbered = NumberedNames(zip(prefixes, counts, strict=True))
        train_rows = sum(counts[: len(train)])
        # The rows that are records, None for all; and their domains, uint8 [n, D].
        self._rows: NDArray[np.int64] | None = None
        self._domains: NDArray[np.uint8] | None = None
        self._faults: list[tuple[str, str]] = []
        self.reading = reading
        self._domain_names = list(reading.domain_rule) or None
        if self._domain_names:
            self._rows, self._domains = self._draw(DomainRule(reading.domain_rule))
            train_rows = int(np.searchsorted(self._rows, train_rows))
        self._train = range(train_rows)
        if not train_rows:
            raise UserError(f"{location} holds no rows to train on; is it whole, and the right one?")
        self._class_names: list[str] | None = None
        self._classes: dict[int | str, int] = {}
        if self._chosen.label is not None:
            self._class_names, self._classes = find_classes(self._files, schema, self._chosen.label)
        self._fingerprint = canonical_digest(
            [self.kind, str(location), astuple(self._chosen), entries, reading.domain_rule]
        )

    @property
    def columns(self) -> Columns:
        captions = self._chosen.caption is not None
        return Columns(class_names=self._class_names, captions=captions, domain_names=self._domain_names)

    @cached_property
    def names(self) -> Sequence[str]:
        return self._numbered if self._rows is None else [self._numbered[row] for row in self._rows]

    @property
    def splits(self) -> Mapping[SplitName, range] | None:
        count = len(self._numbered if self._rows is None else self._rows)
        return None if count == len(self._train) else {"train": self._train, "test": range(len(self._train), count)}

    @property
    def faults(self) -> Sequence[tuple[str, str]]:
        return self._faults

    def fingerprint(self) -> str:
        return self._fingerprint

    def read(self, index: int) -> Record:
        reader = read_once(self._fingerprint, lambda: RowReader(self._files, self._chosen.present))
        row = reader.row(*self._numbered.locate(index if self._rows is None else int(self._rows[index])))
        content = row[self._chosen.image]
        if isinstance(content, dict):
            content = content["bytes"]
        if content is None:
            raise BadRecordError("no image bytes")
        domains = None if self._domains is None else tuple(self._domains[index].tolist())
        return Record(decode(content), label=self._label(row), captions=self._captions(row), domains=domains)

    def _label(self, row: dict[str, Any]) -> int | None:
        if self._chosen.label is None:
            return None
        label = row[self._chosen.label]
        if label not in self._classes:
            raise BadRecordError("no label" if label is None else f"the label {label!r} is of no class")
        return self._classes[label]

    def _captions(self, row: dict[str, Any]) -> tuple[str, ...]:
        if self._chosen.caption is None:
            return ()
        captions = _captions(row[self._chosen.caption])
        if not captions:
            raise BadRecordError(_NO_CAPTION)
        return captions

    def _draw(self, rule: DomainRule) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """The rows in some domain, and the domains of each."""
        if self._chosen.caption is None:
            raise UserError(f"{self._files[0]} has no captions to draw domains from; name their column")
        rows, drawn = [], []
        values = chain.from_iterable(column_values(file, self._chosen.caption) for file in self._files)
        for row, value in enumerate(values):
            captions = _captions(value)
            if not captions:
                self._faults.append((self._numbered[row], _NO_CAPTION))
            elif (domains := rule.domains(captions)) is not None:
                rows.append(row)
                drawn.append(domains)
        rule.check(drawn, self.name)
        return np.array(rows, np.int64), np.array(drawn, np.uint8)


def _captions(value: Any) -> tuple[str, ...]:
    return tuple(text for text in (value if isinstance(value, list) else [value]) if text)


def _find_files(location: Location) -> tuple[list[FileEntry], list[FileEntry]]:
    """(for training, for testing); all in the first where they are not all said to be of one or the other."""
    if location.kind() == "file":
        return [location.entry()], []
    entries = [entry for entry in location.list(recursive=True) if _is_table(entry.name)]
    if not entries:
        raise UserError(f"{location} holds no .parquet file; is it the right folder?")
    entries.sort(key=lambda entry: f"{entry.name}/")  # as the names of their rows sort
    splits = [_split(entry.name) for entry in entries]
    if None in splits or "train" not in splits:
        return entries, []
    train = [entry for entry, split in zip(entries, splits, strict=True) if split == "train"]
    return train, [entry for entry, split in zip(entries, splits, strict=True) if split == "test"]


def _is_table(name: str) -> bool:
    # Other programs leave what begins with "_" or "." beside their tables.
    return name.endswith(".parquet") and not any(part[0] in "._" for part in name.split("/"))


def _split(name: str) -> SplitName | None:
    for part in reversed(name.split("/")):
        if found := _SPLIT.match(part):
            return "train" if found[1] else "test"
    return None


def _read_footer(file: Location) -> tuple[int, Any]:
    """The number of rows, and the Arrow schema."""
    with open_parquet(file) as parquet:
        return parquet.metadata.num_rows, parquet.schema_arrow


def _text(name: str) -> str:
    """A file name that is not UTF-8, which Arrow cannot hold, with its odd bytes spelled out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
