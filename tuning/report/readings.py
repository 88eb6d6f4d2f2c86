"""What a report reads off a study's record: when something came, after how many images in all, with what values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tuning.distributions import Distribution, as_yaml, parse_distribution
from tuning.ledger import BAD, lineage
from tuning.record import Reading, Study, Trial


@dataclass(frozen=True)
class Moment:
    """A reading of a trial: seconds since the study began, and images seen by all trials until then."""

    seconds: float
    images: int
    trial: Trial
    reading: Reading


def moments(study: Study) -> list[Moment]:
    """All readings in the order in which they came."""
    found: list[tuple[float, int, Trial, Reading]] = []
    for trial in study.trials:
        before = 0
        for reading in trial.readings:
            found.append((when(study, trial, reading), max(reading.images - before, 0), trial, reading))
            before = reading.images
    found.sort(key=lambda one: (one[0], one[2].number))
    seen, in_order = 0, []
    for seconds, images, trial, reading in found:
        seen += images
        in_order.append(Moment(seconds, seen, trial, reading))
    return in_order


def when(study: Study, trial: Trial, reading: Reading) -> float:
    """Seconds from the study's beginning to a reading; where none is noted, as if nothing but training took time."""
    return max((trial.began + reading.seconds if reading.at is None else reading.at) - study.began, 0.0)


def is_better(study: Study, value: float, other: float) -> bool:
    """Whether `value` is the better of two of the study's metric."""
    return value < other if study.mode == "min" else value > other


def records(study: Study) -> list[Moment]:
    """The moments at which the study had a value better than all before; bad trials have none."""
    best: list[Moment] = []
    for moment in moments(study):
        good = moment.trial.status not in BAD and math.isfinite(moment.reading.value)
        if good and (not best or is_better(study, moment.reading.value, best[-1].reading.value)):
            best.append(moment)
    return best


def last_value(trial: Trial) -> Reading | None:
    """What the trial came to: its last reading; None where there is none, or it counts as bad, or is no number."""
    if trial.status in BAD or not trial.readings or not math.isfinite(trial.readings[-1].value):
        return None
    return trial.readings[-1]


def whole(study: Study) -> list[Trial]:
    """The trials that the search took to their end, and that came to a number."""
    ended = [trial for trial in study.trials if trial.repeats is None and trial.status == "finished"]
    return [trial for trial in ended if last_value(trial)]


def front(study: Study) -> list[Trial]:
    """Of the trials that the search took to their end those that none is better than in the metric without more seconds
    of training, nor has fewer without being worse; the cheapest first."""
    sign = 1 if study.mode == "min" else -1
    kept: list[Trial] = []
    for trial in sorted(whole(study), key=lambda trial: (trial.readings[-1].seconds, sign * trial.readings[-1].value)):
        if not kept or is_better(study, trial.readings[-1].value, kept[-1].readings[-1].value):
            kept.append(trial)
    return kept


def values_now(study: Study, trial: Trial) -> Mapping[str, Any]:
    """The values that the trial's last reading was trained with, last of all."""
    if trial.repeats is not None:
        return trial.values
    end = trial.readings[-1].images if trial.readings else math.inf
    return lineage(study, trial.number, end)[-1][1]


def best_trial(study: Study) -> Trial | None:
    """The winner; where there is none yet, the trial that has the best reading so far."""
    if study.best is not None and study.best < len(study.trials):
        return study.trials[study.best]
    found = records(study)
    return found[-1].trial if found else None


def space_of(study: Study) -> dict[str, Distribution]:
    return {path: parse_distribution(text, path) for path, text in study.space.items()}


def base_value(study: Study, path: str) -> Any:
    """What the study's recipe has at a path of its space; of fields that differ a list; None where it has none."""
    flat = dict(_flat(study.recipe))
    parts = path.split(".")
    found = [
        value
        for field, value in flat.items()
        if len(names := field.split(".")) == len(parts)
        and all(fnmatchcase(name, part) for name, part in zip(names, parts, strict=True))
    ]
    return None if not found else found[0] if all(value == found[0] for value in found) else found


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def said(value: Any) -> str:
    """A value as a person reads it: three significant digits, words as they are; "-" where there is none."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(said, value))}]"
    return str(value) if isinstance(value, str | int) else as_yaml(value)
