"""What a study's report says in words and tables."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, get_args

import yaml

from tuning.finals import finals
from tuning.importance import Importances
from tuning.record import Study, Trial, TrialStatus
from tuning.report.readings import base_value, best_trial, is_better, last_value, moments, said, values_now

Rows = list[tuple[str, ...]]

STATUSES = get_args(TrialStatus)


def facts(study: Study) -> list[tuple[str, str]]:
    """The head: name and value of some facts."""
    found = moments(study)
    lasted = (study.ended - study.began) if study.ended else (found[-1].seconds if found else 0.0)
    trained = sum(trial.readings[-1].seconds for trial in study.trials if trial.readings)
    searched = sum(trial.repeats is None for trial in study.trials)
    again = len(study.trials) - searched
    return [
        ("recipe", str(study.recipe.get("name", "-"))),
        ("dataset", study.dataset),
        ("metric", f"{study.metric}, {'least' if study.mode == 'min' else 'greatest'} is best"),
        ("search", study.search),
        ("scheduler", study.scheduler),
        ("trials", f"{searched} of {study.trials_wanted}" + (f", and {again} finals" if again else "")),
        ("images seen", f"{found[-1].images:,}" if found else "0"),
        ("training time", duration(trained)),
        ("lasted", duration(lasted) + ("" if study.ended else " so far")),
        ("begun", time.strftime("%Y-%m-%d %H:%M", time.localtime(study.began))),
    ]


def duration(seconds: float) -> str:
    """In the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.3g} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 5_400 else f"{seconds / 3_600:.1f} hours"


def with_error(value: float, error: float | None) -> str:
    return f"{value:.4g}" + (f" ± {error:.2g}" if error and math.isfinite(error) else "")


@dataclass(frozen=True)
class AgainstBase:
    """The best trial: its number, what it came to, and of each parameter the recipe's value, the best, the range.

    base: what the recipe's own values came to, where they were tried; ratio: of the best value to that one.
    """

    number: int
    value: str
    says: str
    rows: Rows
    base: str | None


def against_base(study: Study) -> AgainstBase | None:
    """None where no trial was good."""
    trial = best_trial(study)
    if trial is None:
        return None
    values = values_now(study, trial)
    rows: Rows = [
        (path, said(base_value(study, path)), said(values.get(path)), text) for path, text in study.space.items()
    ]
    final = next((final for final in finals(study) if final.number == trial.number), None)
    reading = trial.best(study.mode)
    value, says = "-", ""
    if final is not None and math.isfinite(final.mean):
        value = with_error(final.mean, final.error)
        says = "the mean over fresh seeds, none of which took part in the search"
    elif reading is not None:
        value = with_error(reading.value, reading.error)
        says = f"at {reading.images:,} images; the best of many readings is partly the luckiest, and was not run again"
    return AgainstBase(trial.number, value, says, rows, _base_outcome(study))


def _base_outcome(study: Study) -> str | None:
    """What the trial came to whose values are the recipe's own."""
    for trial in study.trials:
        own = all(value == base_value(study, path) for path, value in trial.values.items())
        if own and trial.values and trial.repeats is None:
            reading = last_value(trial)
            what = trial.status if reading is None else f"{with_error(reading.value, reading.error)}, {trial.status}"
            return f"trial {trial.number}: {what}"
    return None


def final_rows(study: Study) -> Rows:
    """Of each finalist: its number, mean over seeds with its error, each seed's value, what the search had said."""
    rows: Rows = []
    for final in finals(study):
        repeats = [trial for trial in study.trials if trial.repeats == final.number]
        each = [said(reading.value) if (reading := last_value(trial)) else trial.status for trial in repeats]
        searched = last_value(study.trials[final.number])
        mean = with_error(final.mean, final.error) if math.isfinite(final.mean) else "bad"
        said_then = "-" if searched is None else with_error(searched.value, searched.error)
        rows.append((f"{final.number}", mean, ", ".join(each), said_then, duration(final.seconds)))
    return rows


def importance_rows(weights: Importances) -> Rows:
    """Of each parameter, in percent: total share, its interval, what it does alone."""
    return [
        (one.path, f"{100 * one.total:.0f}", f"{100 * one.low:.0f} to {100 * one.high:.0f}", f"{100 * one.alone:.0f}")
        for one in weights.parameters
    ]


def endings(study: Study) -> list[tuple[str, int]]:
    """Why trials ended that did not finish: what was said, and of how many."""
    early = [trial for trial in study.trials if trial.status not in ("finished", "running")]
    return Counter(f"{trial.status}: {trial.says or 'nothing was said'}" for trial in early).most_common(12)


def costs(study: Study) -> Rows:
    """Of each status that there is: trials, seconds of training, images seen, share of the images; and of all."""
    rows: Rows = []
    whole = sum(images_of(trial) for trial in study.trials)
    for status in STATUSES:
        trials = [trial for trial in study.trials if trial.status == status]
        if trials:
            rows.append(_cost_row(status, trials, whole))
    return [*rows, _cost_row("all", study.trials, whole)] if rows else []


def _cost_row(name: str, trials: list[Trial], whole: int) -> tuple[str, ...]:
    images = sum(map(images_of, trials))
    share = f"{images / whole:.0%}" if whole else "-"
    return name, f"{len(trials)}", duration(sum(map(seconds_of, trials))), f"{images:,}", share


def images_of(trial: Trial) -> int:
    """Seen, as far as a reading says."""
    return max((reading.images for reading in trial.readings), default=0)


def seconds_of(trial: Trial) -> float:
    """Of training, as far as a reading says."""
    return max((reading.seconds for reading in trial.readings), default=0.0)


@dataclass(frozen=True)
class TrialTable:
    """columns: the last is what was said at the end. rows: the best first; (cells, status, whether it is the best)."""

    columns: list[str]
    rows: list[tuple[list[str], TrialStatus, bool]]


def trial_table(study: Study) -> TrialTable:
    """Every trial with its values; good ones by how far they came and then by value, as finalists are chosen."""
    paths = list(study.space)
    best = best_trial(study)

    def rank(trial: Trial) -> tuple[bool, int, float, int]:
        reading = last_value(trial)
        if reading is None:
            return True, -images_of(trial), 0.0, trial.number
        return False, -reading.images, reading.value if is_better(study, 0, 1) else -reading.value, trial.number

    rows: list[tuple[list[str], TrialStatus, bool]] = []
    for trial in sorted(study.trials, key=rank):
        reading = trial.readings[-1] if trial.readings else None
        name = f"{trial.number}" + ("" if trial.repeats is None else f", again {trial.repeats}")
        came = ["-"] * 3 if reading is None else [
            with_error(reading.value, reading.error), f"{reading.images:,}", f"{reading.seconds:.0f}",
        ]  # fmt: skip
        values = values_now(study, trial)
        cells = [name, trial.status, *came, *(said(values.get(path)) for path in paths), trial.says]
        rows.append((cells, trial.status, best is not None and trial.number == best.number))
    return TrialTable(["trial", "status", study.metric, "images", "seconds", *paths, ""], rows)


def settings(study: Study) -> list[tuple[str, str]]:
    """What the study was told."""
    rungs = ", ".join(f"{images:,}" for images in study.rungs) or "-"
    return [("seed", str(study.seed)), ("rungs, in images", rungs), *study.space.items()]


def recipe_text(study: Study) -> str:
    """The recipe that trials vary, as YAML."""
    values: dict[str, Any] = study.recipe
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
