"""Rows of several arrays as one: NumPy's own indexing of all of them joined says what must come out."""

from __future__ import annotations

import numpy as np
import pytest

from ganlib.data.gather import gather


@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 64, 3), (1, 2, 1), ()], ids=str)
@pytest.mark.parametrize("lengths", [[40], [7, 1, 32], [0, 13, 27]], ids=str)
@pytest.mark.parametrize("count", [0, 1, 90])
def test_rows_are_those_of_all_arrays_joined(shape: tuple[int, ...], lengths: list[int], count: int) -> None:
    draws = np.random.default_rng(0)
    parts = [draws.integers(0, 256, (length, *shape), dtype=np.uint8) for length in lengths]
    joined, starts = np.concatenate(parts), np.cumsum([0, *lengths])
    chosen = draws.integers(0, len(joined), count)
    owners = np.array([max(part for part in range(len(parts)) if starts[part] <= row) for row in chosen], dtype=int)
    taken = gather(parts, owners, chosen - starts[owners])
    assert taken.dtype == np.uint8
    assert not any(np.shares_memory(taken, part) for part in parts)
    np.testing.assert_array_equal(taken, joined[chosen])
    assert taken.shape == (count, *shape)


def test_a_row_that_is_not_there_is_refused() -> None:
    for shape in [(28, 28, 1), (64, 64, 3)]:
        parts = [np.zeros((3, *shape), np.uint8), np.zeros((2, *shape), np.uint8)]
        with pytest.raises(IndexError):
            gather(parts, np.array([1]), np.array([2]))
