"""Digits in domains, for tests: real handwriting whose domain is its digit's."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ganlib.data import Columns, Dataset, Preparation, open_source, prepare_dataset
from ganlib.data.sources.base import Record

from .data.list_source import ListSource


def digits_in_domains(
    into: Path, size: int, channels: Literal[1, 3], domains: int, count: int = 200, attributes: bool = False
) -> Dataset:
    """The first `count` digits, digit i in domain i mod `domains`, all domains in every split.

    attributes: those of an odd digit are in domain 0 as well.
    """
    digits = open_source("digits")
    records = {}
    for row in range(count):
        record = digits.read(row)
        assert record.label is not None
        held = {record.label % domains} | ({0} if attributes and record.label % 2 else set())
        records[f"{row:04d}"] = Record(record.image, domains=tuple(int(d in held) for d in range(domains)))
    source = ListSource(records, Columns(domain_names=[f"d{d}" for d in range(domains)]))
    return prepare_dataset(source, Preparation(size=size, channels=channels, test_share=0.2), into, "domains")
