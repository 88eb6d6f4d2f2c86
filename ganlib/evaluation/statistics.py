"""Statistics of features that add up: N workers give the same numbers as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FeatureStatistics:
    """Sums over images, float64: `count`, the features' sum [d] and sum of outer products [d, d]; and over those that
    a classifier judged, the probabilities' sum [k], the sum of p log p (a scalar) and the images counted to each class
    [k].
    """

    count: int
    total: np.ndarray
    outer: np.ndarray
    probabilities: np.ndarray | None = None
    negative_entropy: float = 0.0
    classes: np.ndarray | None = None

    @classmethod
    def of(cls, features: np.ndarray, probabilities: np.ndarray | None) -> FeatureStatistics:
        """From float64 features [n, d] and, optionally, class probabilities [n, k]."""
        total, outer = features.sum(0), features.T @ features
        if probabilities is None:
            return cls(len(features), total, outer)
        logs = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
        classes = np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1]).astype(np.float64)
        entropy = float((probabilities * logs).sum())
        return cls(len(features), total, outer, probabilities.sum(0), entropy, classes)

    def __add__(self, other: FeatureStatistics) -> FeatureStatistics:
        def add(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
            return None if a is None or b is None else a + b

        return FeatureStatistics(
            self.count + other.count,
            self.total + other.total,
            self.outer + other.outer,
            add(self.probabilities, other.probabilities),
            self.negative_entropy + other.negative_entropy,
            add(self.classes, other.classes),
        )

    def __sub__(self, other: FeatureStatistics) -> FeatureStatistics:
        """What is left of a whole without one of its parts, to float64's rounding of the whole."""

        def less(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
            return None if a is None or b is None else a - b

        return FeatureStatistics(
            self.count - other.count,
            self.total - other.total,
            self.outer - other.outer,
            less(self.probabilities, other.probabilities),
            self.negative_entropy - other.negative_entropy,
            less(self.classes, other.classes),
        )

    @property
    def mean(self) -> np.ndarray:
        """float64 [d]."""
        return self.total / self.count

    @property
    def covariance(self) -> np.ndarray:
        """float64 [d, d], unbiased."""
        mean = self.mean
        return (self.outer - self.count * np.outer(mean, mean)) / (self.count - 1)

    def arrays(self) -> dict[str, np.ndarray]:
        """The sums by name, for a file."""
        arrays = {"count": np.array(self.count), "total": self.total, "outer": self.outer}
        if self.probabilities is not None and self.classes is not None:
            arrays |= {"probabilities": self.probabilities, "classes": self.classes}
            arrays["negative_entropy"] = np.array(self.negative_entropy)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> FeatureStatistics:
        """What `arrays` gave, among whatever else is there. Raises KeyError where sums are missing."""
        return cls(
            int(arrays["count"]),
            arrays["total"],
            arrays["outer"],
            arrays.get("probabilities"),
            float(arrays.get("negative_entropy", 0.0)),
            arrays.get("classes"),
        )
