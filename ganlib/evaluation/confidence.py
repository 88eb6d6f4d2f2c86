"""How far a metric would move if other samples had been drawn: its standard error, from splits of those that were.

The reference is the same for every split: the error is that of the samples' draw alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganlib.evaluation.statistics import FeatureStatistics

SPLITS = 10
"""Disjoint splits: the error is then known to a quarter of itself, 1 / sqrt(2 * 9)."""


class Estimate(NamedTuple):
    """A mean over samples, and its standard error."""

    value: float
    error: float

    @classmethod
    def of(cls, values: NDArray[Any]) -> Estimate:
        """Of what each sample has, [n]: their deviation over sqrt(n); no error, NaN, of one."""
        return cls(float(values.mean()), error_of_mean(values) if len(values) > 1 else float("nan"))


def error_of_mean(values: NDArray[Any]) -> float:
    """Of a metric that is the mean of `values` [k], one of each sample or each disjoint split: deviation over sqrt(k).

    Honest where a split's expectation is the whole's, as the kernel distance's is; of those that depend on how many
    images they are taken of (Frechet, inception score) use `jackknife_error`.
    """
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def error_of_share(share: float, count: int) -> float:
    """Of a share of `count` samples, two and more: sqrt(p (1 - p) / (n - 1)), `error_of_mean` of as many 0s and 1s."""
    return float(np.sqrt(share * (1 - share) / (count - 1)))


def jackknife_error(splits: Sequence[FeatureStatistics], metric: Callable[[FeatureStatistics], float]) -> float:
    """Of metric(whole), `whole` being all of k `splits` of about equal size: sqrt((k - 1) / k sum_i (m_i - m)^2).

    m_i = metric(whole without split i), m their mean: the delete-a-group jackknife (Shao & Wu 1989, "A general theory
    for jackknife variance estimation"). A Frechet distance grows as images get fewer, by about the
    inverse of their number, so those of the splits themselves are distances to something else; without one split in ten
    all are near the whole, and what the missing tenth adds is the same in each and leaves no trace in their deviation.
    Where samples cannot be told from the reference at all, it says sqrt(2) times too much.

    As statistics are sums, a whole without a split is one subtraction.
    """
    whole = total(splits)
    return deletion_error([metric(whole - split) for split in splits])


def deletion_error(without: Sequence[float]) -> float:
    """The jackknife's error, of a metric's values [k], each without one of k splits.

    On average it is too large rather than too small (Efron & Stein 1981, "The jackknife estimate of variance"): of
    shares that any one sample can bring about, such as recall and coverage, by up to a half.
    """
    return float(np.sqrt((len(without) - 1) * np.var(without)))


def total(splits: Sequence[FeatureStatistics]) -> FeatureStatistics:
    """All of one or more splits, added in their order."""
    first, *rest = splits
    return sum(rest, start=first)
