"""From readings that bear a symptom out, or do not, to a verdict."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ganlib.health.history import History
from ganlib.health.remedies import applicable
from ganlib.health.verdict import Severity, Verdict, succession


def by_ticks(
    history: History,
    holds: NDArray[np.bool_],
    name: str,
    severity: Severity,
    says: str,
    evidence: dict[str, float],
    remedy: Iterable[str] = (),
    advice: str = "",
) -> list[Verdict]:
    """The verdict, if more than half of the present's ticks bear it out; `holds` is bool [those ticks]."""
    count = int(holds.sum())
    if 2 * count <= len(holds):
        return []
    sure = succession(count, len(holds))
    useful = applicable(history.recipe, remedy)[1]
    return [Verdict(name, severity, says, evidence, history.range, sure, useful, advice)]


def by_evaluations(
    history: History,
    readings: Iterable[tuple[int, bool]],
    name: str,
    severity: Severity,
    says: str,
    evidence: dict[str, float],
    remedy: Iterable[str] = (),
    advice: str = "",
) -> list[Verdict]:
    """The verdict, if the last evaluation bears it out, with those before it in one go; `readings` are by images seen.

    Evaluations are few and each is of thousands of samples, so that one is enough to say it.
    """
    readings = list(readings)
    run: list[int] = []
    for images, holds in reversed(readings):
        if not holds:
            break
        run.append(images)
    if not run:
        return []
    useful = applicable(history.recipe, remedy)[1]
    sure = succession(len(run), len(run))
    return [Verdict(name, severity, says, evidence, (run[-1], run[0]), sure, useful, advice)]
