"""Training health: what is wrong with a run, by its own history, and what to change (SYSTEMS.md, section D).

    verdicts = diagnose(read_metrics(run), recipe)
    if fatal(verdicts):  # a run, or a trial of a study, that is not worth its time
        ...

The rules know no objective's scale: they use how far D tells real from fake, fakes against the data as plain numbers,
gradients against the run's own start, and what evaluations measured. One file for each sort of trouble.
"""

from __future__ import annotations

from collections.abc import Mapping

from ganlib.health.balance import balance
from ganlib.health.fitting import fitting
from ganlib.health.history import History, Points
from ganlib.health.remedies import Change, amended
from ganlib.health.stability import stability
from ganlib.health.variety import variety
from ganlib.health.verdict import CERTAIN, Severity, Verdict, fatal, summary, worst
from ganlib.recipe import Recipe

__all__ = ["CERTAIN", "Change", "Severity", "Verdict", "amended", "diagnose", "fatal", "summary", "worst"]

_ORDER: dict[Severity, int] = {"severe": 0, "mild": 1, "good": 2}


def diagnose(metrics: Mapping[str, Points], recipe: Recipe) -> list[Verdict]:
    """Verdicts on a run of `recipe`, the gravest first, the surer of two first; empty for one that is too young.

    metrics: name -> [(images seen, value), ...] by rising images, ticks' and evaluations' alike.
    """
    history = History(metrics, recipe)
    faults = [*stability(history), *variety(history), *fitting(history)]
    found = [*faults, *balance(history, healthy=not faults)]
    return sorted(found, key=lambda verdict: (_ORDER[verdict.severity], -verdict.confidence))
