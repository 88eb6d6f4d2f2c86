"""Chosen rows of arrays that lie apart, as one array."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGE_ROW = 2048
"""Bytes. One by one, such rows are copied once; taken part by part they are copied twice, in fewer steps of Python,
which cost more than copying does where rows are smaller."""


def gather(parts: Sequence[NDArray[Any]], owners: NDArray[np.integer], rows: NDArray[np.integer]) -> NDArray[Any]:
    """parts: arrays [.., *shape] of one dtype. owners, rows: integers [k], any order -> [k, *shape], copied.

    Row i of what is returned is row `rows[i]` of `parts[owners[i]]`. Raises IndexError out of range.
    """
    if len(parts) == 1:
        return parts[0].take(rows, axis=0)
    shape, dtype = parts[0].shape[1:], parts[0].dtype
    if len(rows) and prod(shape) * dtype.itemsize >= _LARGE_ROW:
        pairs = zip(owners.tolist(), rows.tolist(), strict=True)
        return np.concatenate([parts[owner][row] for owner, row in pairs]).reshape(len(rows), *shape)
    taken = np.empty((len(rows), *shape), dtype)
    for owner in np.unique(owners):
        places = np.flatnonzero(owners == owner)
        taken[places] = parts[owner].take(rows[places], axis=0)
    return taken
