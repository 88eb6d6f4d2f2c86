"""What sources of numbered records share: names made when asked for, a generator a record, content read once."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from threading import RLock
from typing import Any, overload

import numpy as np


class NumberedNames(Sequence[str]):
    """Groups of names, (prefix, count) each: prefix + "00000000", prefix + "00000001", ...; picklable, of any length.

    Sorted within a group; over groups where the prefixes are and none begins another. The numbers have eight digits, or
    as many as the longest group needs.
    """

    def __init__(self, groups: Iterable[tuple[str, int]]) -> None:
        self._groups = tuple(groups)
        self._ends = list(accumulate(count for _, count in self._groups))
        self._width = max(8, *(len(str(count - 1)) for _, count in self._groups))

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[row] for row in range(len(self))[index]]
        row = range(len(self))[index]
        group, number = self.locate(row)
        return f"{self._groups[group][0]}{number:0{self._width}d}"

    def locate(self, row: int) -> tuple[int, int]:
        """(group, number within it) of a row from 0."""
        group = bisect_right(self._ends, row)
        return group, row - (self._ends[group - 1] if group else 0)

    def rows(self, group: int) -> range:
        """The rows of a group."""
        return range(self._ends[group - 1] if group else 0, self._ends[group])


def record_generator(seed: int, index: int) -> np.random.Generator:
    """The generator of one made record: Philox keyed by both, so that no record hangs on another."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))


def read_once(key: str, read: Callable[[], Any]) -> Any:
    """What `read` gives, read by one thread and kept in this process until four other keys were asked for since.

    Sources come to a process anew with every task that they are pickled into, without their content.
    """
    with _reading:
        if key in _kept:
            _kept.move_to_end(key)
        else:
            _kept[key] = read()
            if len(_kept) > 4:
                _kept.popitem(last=False)
        return _kept[key]


_kept: OrderedDict[str, Any] = OrderedDict()
_reading = RLock()
