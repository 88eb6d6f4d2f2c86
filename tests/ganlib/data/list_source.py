"""A source of records that a test makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from ganlib.data import Columns, Source
from ganlib.data.sources.base import BadRecordError, Record, SplitName
from ganlib.files import canonical_digest


class ListSource(Source):
    """records: by name; a text instead of a record is the reason why it is bad. Rows are in the order given."""

    kind = "list"
    name = "list"

    def __init__(
        self,
        records: Mapping[str, Record | str],
        columns: Columns | None = None,
        splits: Mapping[SplitName, range] | None = None,
        faults: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._names, self._records = list(records), list(records.values())
        self._columns, self._splits, self._faults = columns or Columns(), splits, list(faults)
        self.reads = 0

    @property
    def columns(self) -> Columns:
        return self._columns

    @property
    def names(self) -> Sequence[str]:
        return self._names

    @property
    def splits(self) -> Mapping[SplitName, range] | None:
        return self._splits

    @property
    def faults(self) -> Sequence[tuple[str, str]]:
        return self._faults

    def fingerprint(self) -> str:
        return canonical_digest([self._names, self._faults, [isinstance(one, str) for one in self._records]])

    def read(self, index: int) -> Record:
        self.reads += 1
        record = self._records[index]
        if isinstance(record, str):
            raise BadRecordError(record)
        return record


def noise(seed: int, width: int = 8, height: int = 8, channels: int = 3) -> Image.Image:
    """Random pixels, mode "RGB" or "L"."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels if channels == 3 else pixels[..., 0])


def noises(count: int, **size: int) -> ListSource:
    """`count` different pictures, "0000" and on."""
    return ListSource({f"{seed:04d}": Record(noise(seed, **size)) for seed in range(count)})
