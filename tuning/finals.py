"""Which trial is the best: the finalists of a search are run again on fresh seeds, and judged by those runs alone.

The best of many noisy readings is best by luck too; a fresh run has no part in that luck.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev

from tuning.ledger import searched
from tuning.record import Study, Trial


@dataclass(frozen=True)
class Final:
    """What the fresh runs of one finalist say. error: of `mean`; seconds: of one training, on average."""

    number: int
    mean: float
    error: float
    seconds: float


def finalists(study: Study, count: int) -> list[Trial]:
    """The best `count` trials by their last reading, those that came furthest first; bad ones never."""
    sign = 1 if study.mode == "min" else -1
    good = [
        trial
        for trial in searched(study)
        if trial.status in ("finished", "stopped") and trial.readings and math.isfinite(trial.readings[-1].value)
    ]
    ranked = sorted(good, key=lambda trial: (-len(trial.readings), sign * trial.readings[-1].value, trial.number))
    # A trial that was stopped ranks behind all that came further, and is a finalist only where there are too few.
    return ranked[:count]


def finals(study: Study) -> list[Final]:
    """The finalists as their repeats judge them, the best first; those whose repeats all went bad are last."""
    sign = 1 if study.mode == "min" else -1
    found = []
    for number in dict.fromkeys(trial.repeats for trial in study.trials if trial.repeats is not None):
        repeats = [trial for trial in study.trials if trial.repeats == number]
        values = [_last(trial, sign) for trial in repeats]
        errors = [trial.readings[-1].error or 0.0 for trial in repeats if trial.readings]
        mean = fmean(values)
        found.append(Final(number, mean, _error_of_mean(values, errors), fmean(_seconds(t) for t in repeats)))
    return sorted(found, key=lambda final: sign * final.mean)


def winner(study: Study) -> int | None:
    """The number of the trial whose values are the best: by the finals where there were any, else by the search.

    Finalists whose difference to the best is within its standard error are as good as it: of these, the cheapest to
    train. So are trials of a search for both without finals, as far as they came as far. Where every finalist had a run
    that went bad, the search decides among those that were not run again. None where no trial was good.
    """
    repeated = finals(study)
    judged = [final for final in repeated if math.isfinite(final.mean)]
    if not judged:
        bad = {final.number for final in repeated}
        best = [trial for trial in finalists(study, len(study.trials)) if trial.number not in bad]
        as_far = [trial for trial in best if len(trial.readings) == len(best[0].readings)]
        judged = [_as_final(trial) for trial in (as_far if study.search == "tpe-cost" else best[:1])]
    if not judged:
        return None
    first = judged[0]
    tied = [f for f in judged if abs(f.mean - first.mean) <= math.hypot(f.error, first.error)]
    return min(tied, key=lambda final: (final.seconds, final.number)).number


def _as_final(trial: Trial) -> Final:
    last = trial.readings[-1]
    return Final(trial.number, last.value, last.error or 0.0, last.seconds)


def _last(trial: Trial, sign: int) -> float:
    """The value that training the recipe to its end gives; the worst there is where it went bad."""
    good = trial.status == "finished" and trial.readings
    return trial.readings[-1].value if good else sign * math.inf


def _error_of_mean(values: list[float], errors: list[float]) -> float:
    """Of the mean over seeds: by their spread where there are several; a metric's own error is the least that it is."""
    if not all(map(math.isfinite, values)):
        return math.inf
    measured = math.sqrt(sum(error**2 for error in errors)) / len(values)
    spread = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return max(measured, spread)


def _seconds(trial: Trial) -> float:
    return trial.readings[-1].seconds if trial.readings else 0.0
