"""Records of identical pixels, found by their hashes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Duplicates:
    """train, test: how many records of a split are the same as one before in it; of test, once `left_out` is left out.

    left_out: bool, one a test record: those whose pixels are in train.
    """

    train: int
    test: int
    left_out: NDArray[np.bool_]


def find_duplicates(train: NDArray[np.uint64], test: NDArray[np.uint64]) -> Duplicates:
    """From hashes, uint64 [n, 2] a split. Equal hashes of 128 bits are taken for equal pixels."""
    keys = np.concatenate([train, test])
    order = np.lexsort(keys.T)
    ranked = keys[order]
    differs = (ranked[1:] != ranked[:-1]).any(axis=1)
    ids = np.zeros(len(keys), np.int64)
    ids[order[1:]] = np.cumsum(differs)  # one number for each group of equals
    in_train, in_test = ids[: len(train)], ids[len(train) :]
    left_out = np.isin(in_test, in_train)
    kept = in_test[~left_out]
    return Duplicates(len(in_train) - len(np.unique(in_train)), len(kept) - len(np.unique(kept)), left_out)
