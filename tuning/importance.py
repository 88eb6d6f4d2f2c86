"""Which of a study's parameters matter: how much of what trials came to goes with each of them, and how sure that is.

What a trial came to is its place in the study, 0 the best and 1 the worst: so one FID of 10,000 does not make up the
whole variance, and trials that were stopped at different rungs, or failed, have their order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuning.distributions import Choice, Distribution, Int, Uniform, parse_distribution
from tuning.ledger import BAD, searched
from tuning.record import Study, Trial
from tuning.sensitivity import Floats, variance_shares

LEAST_TRIALS = 10
"""Below so many nothing is said."""
INTERVAL = (5, 95)
"""Percent of the functions that explain the trials, between which a share lies."""
ABSENT = 0.5
"""Where a parameter stands that a trial has not: in the middle, the same for all of them, so that it tells nothing."""


class UnknownImportanceError(Exception):
    """What a study has is not enough to say what matters; the text says why."""


@dataclass(frozen=True)
class Importance:
    """Of one parameter, shares of the variance that all of them explain.

    total: what is gone where this one alone is held still, with all that it does together with others; 90 percent of
    what it may be lies between low and high. alone: what it does by itself, whatever the others are. Totals of
    parameters that act together add up to more than 1.
    """

    path: str
    total: float
    low: float
    high: float
    alone: float


@dataclass(frozen=True)
class Importances:
    """parameters: the most important first. explained: R^2 of the places of trials, each foretold from the others, at
    most 1; 0 is as good as the mean. trials: that it rests on."""

    parameters: list[Importance]
    explained: float
    trials: int


def importances(study: Study, seed: int = 0) -> Importances:
    """What matters in `study`; the same numbers each time. Some seconds of computing.

    Finalists' repeats do not count, nor trials that still run, nor readings after a mutation, when a trial had
    another's weights. A parameter of a drawn kind counts where the kind has it; that there is one at all is its kind's
    doing. Raises UnknownImportanceError.
    """
    ranked = places(study)
    if len(ranked) < LEAST_TRIALS:
        ended = f"{len(ranked)} {'trial has' if len(ranked) == 1 else 'trials have'} ended"
        raise UnknownImportanceError(f"{ended}; what matters is told from {LEAST_TRIALS} up")
    outcomes = np.array([place for _, place in ranked])
    if np.ptp(outcomes) == 0:
        raise UnknownImportanceError("all trials came to the same")
    axes = axes_of(study)
    points = Points(axes, [trial.values for trial, _ in ranked])
    found = variance_shares(points.rows, outcomes, points.effective, seed)
    if found.explained <= 0:
        raise UnknownImportanceError(
            "the parameters foretell nothing yet of a trial that is left out: it may be chance"
        )
    low, high = np.percentile(found.total, INTERVAL, axis=0).clip(0, 1)
    total, alone = found.total.mean(0).clip(0, 1), found.alone.mean(0).clip(0, 1)
    parameters = [Importance(path, *map(float, (total[i], low[i], high[i], alone[i]))) for i, path in enumerate(axes)]
    parameters.sort(key=lambda parameter: -parameter.total)
    return Importances(parameters, found.explained, len(ranked))


def places(study: Study) -> list[tuple[Trial, float]]:
    """The searched trials that have ended, each with its place: 0 the best, 1 the worst, ties in the middle.

    Those that came further are before those that were stopped earlier, at one rung the value decides, and bad ones,
    or whose value is not a number, are last, all alike.
    """
    from scipy.stats import rankdata

    sign = 1 if study.mode == "min" else -1
    ended = [trial for trial in searched(study) if trial.status != "running"]
    keys = []
    for trial in ended:
        own = [
            reading for reading in trial.readings if not trial.mutations or reading.images <= trial.mutations[0].images
        ]
        last = own[-1] if own else None
        bad = last is None or (trial.status in BAD and not trial.mutations) or not math.isfinite(last.value)
        keys.append((1, 0, 0.0) if bad or last is None else (0, -last.images, sign * last.value))
    order = {key: number for number, key in enumerate(sorted(set(keys)))}
    ranks = rankdata([order[key] for key in keys])  # from 1, ties have their mean
    return [(trial, (rank - 1) / max(len(ended) - 1, 1)) for trial, rank in zip(ended, ranks.tolist(), strict=True)]


def axes_of(study: Study) -> dict[str, Distribution]:
    """The study's space; what is drawn from one value alone is left out."""
    space = {path: parse_distribution(text, path) for path, text in study.space.items()}
    return {path: axis for path, axis in space.items() if levels_of(axis) != 1}


def levels_of(axis: Distribution) -> int | None:
    """How many values there are to draw; None of a range."""
    match axis:
        case Int(low, high):
            return high - low + 1
        case Choice(values):
            return len(values)
    return None


def share_of(axis: Distribution, value: Any) -> float:
    """Where a value lies in its range, 0 to 1, as it is drawn from. Raises ValueError for none of its choices."""
    match axis:
        case Uniform(low, high, log):
            scale = math.log if log else float
            return min(max((scale(value) - scale(low)) / (scale(high) - scale(low)), 0.0), 1.0)
        case Int(low, high):
            return min(max((value - low) / (high - low), 0.0), 1.0)
        case Choice(values):
            return axis.index(value) / (len(values) - 1)
    raise AssertionError(axis)


class Points:
    """Trials as points of the unit cube, `rows` [n, d]; which parameters a point has is decided by its kinds."""

    def __init__(self, axes: Mapping[str, Distribution], trials: Sequence[Mapping[str, Any]]):
        self._levels = [levels_of(axis) for axis in axes.values()]
        self._kinds = [place for place, path in enumerate(axes) if path.endswith(".kind")]
        has = np.array([[path in values for path in axes] for values in trials])
        shares = [[share_of(axis, values[path]) if path in values else ABSENT for path, axis in axes.items()]
                  for values in trials]  # fmt: skip
        self.rows: Floats = np.array(shares)
        self._has: dict[tuple[float, ...], NDArray[np.bool_]] = {}
        for row, present in zip(self.rows, has, strict=True):
            kinds = tuple(row[self._kinds])
            self._has[kinds] = self._has.get(kinds, np.zeros(len(axes), bool)) | present
        self._always = has.all(0)

    def effective(self, drawn: Floats) -> Floats:
        """Points drawn evenly from the cube [m, d], as the trial of each would have had them."""
        points = drawn.copy()
        for place, levels in enumerate(self._levels):
            if levels is not None:
                points[:, place] = np.minimum(np.floor(drawn[:, place] * levels), levels - 1) / (levels - 1)
        # Kinds that no trial had together are taken to have what every trial had.
        present = np.array([self._has.get(tuple(row), self._always) for row in points[:, self._kinds]])
        return np.where(present, points, ABSENT)
