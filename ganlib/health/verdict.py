"""What is said of a run's health."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["good", "mild", "severe"]
"""good: what a run is to come to. mild: worth a change in the next run. severe: going on will not mend it."""

CERTAIN = 0.8
"""The least confidence of a verdict that ends a run: three readings of three say so."""


@dataclass(frozen=True)
class Verdict:
    """One symptom of a run.

    evidence: the numbers that it rests on, by the names of their metrics where they are metrics. images: from where to
    where, in images seen, they were read. confidence: `succession` of the readings in that range. remedy: overrides of
    the recipe, "path=value", that validate and change it; advice: the same in words, and what no recipe can do.
    """

    name: str
    severity: Severity
    says: str
    evidence: dict[str, float]
    images: tuple[int, int]
    confidence: float
    remedy: tuple[str, ...] = ()
    advice: str = ""

    def as_json(self) -> dict[str, Any]:
        """All of it, for a tag or a file; numbers that JSON lacks are strings ("nan", "inf", "-inf")."""
        numbers = {name: value if math.isfinite(value) else str(value) for name, value in self.evidence.items()}
        return {**asdict(self), "evidence": numbers}


def succession(bearing_out: int, readings: int) -> float:
    """The chance, in (0, 1), that the next reading bears a symptom out, after so many of so many have.

    Laplace's rule of succession, (k + 1) / (n + 2): the mean of the share under a flat prior. One reading that says so
    is 2/3, ten of ten are 11/12, five of ten 1/2.
    """
    return (bearing_out + 1) / (readings + 2)


def worst(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The most certain of the severe ones; None where there is none."""
    return max((v for v in verdicts if v.severity == "severe"), key=lambda v: v.confidence, default=None)


def fatal(verdicts: Sequence[Verdict]) -> Verdict | None:
    """Why a run should go on no longer: the most certain of the severe ones that are certain; None where none is."""
    return worst([verdict for verdict in verdicts if verdict.confidence >= CERTAIN])


def summary(verdicts: Sequence[Verdict]) -> str:
    """A cell of a table: the symptoms by name, severe ones marked; "nothing wrong" where there are none."""
    return ", ".join(f"{v.name}!" if v.severity == "severe" else v.name for v in verdicts) or "nothing wrong"
