"""The driver's hold on the record of its study: every change is on the disk before anything follows from it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ganlib.draws import stream_seed
from ganlib.recipe import Change, Recipe
from tuning.record import Mutation, Reading, Study, Trial, TrialStatus
from tuning.space import Space, fields_of

BAD: tuple[TrialStatus, ...] = ("unhealthy", "failed")
"""What counts as the worst there is."""

Told = Callable[["Ledger", Trial], None]
"""told(ledger, trial): the trial began, had a reading, or ended; the record says so already."""


class Ledger:
    """A study's record in memory and at `path`. One process writes it. `told` hears of every change to a trial."""

    def __init__(self, study: Study, space: Space, path: Path, told: Told | None = None):
        self.study, self.space, self.path = study, space, path
        self._told = told
        self._zero: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles what it is given, for a restart of its own, of which there is none: a study has its record."""
        return {**self.__dict__, "_told": None}

    def trial(self, number: int) -> Trial:
        """Raises IndexError where there is none of that number."""
        return self.study.trials[number]

    def begin(self, values: Mapping[str, Any], seed: int, repeats: int | None = None) -> Trial:
        """Puts a new trial into the record, of the next number."""
        number = len(self.study.trials)
        trial = Trial(number=number, values=dict(values), seed=seed, began=time.time(), repeats=repeats)
        self.study.trials.append(trial)
        self._changed(trial)
        return trial

    def read(self, number: int, place: int, reading: Reading, status: TrialStatus = "running", says: str = "") -> None:
        """Adds the reading at rung number `place`, and how the trial ended with it, in one write.

        A reading that a process since lost had reported stays as it is.
        """
        trial = self.trial(number)
        if place == len(trial.readings) and trial.status == "running":
            trial.readings.append(reading.model_copy(update={"at": time.time()}))
            if status != "running":
                trial.status, trial.says, trial.ended = status, says, time.time()
            self._changed(trial)

    def end(self, number: int, status: TrialStatus, says: str = "") -> None:
        """How the trial ended; the first word on it counts."""
        trial = self.trial(number)
        if trial.status == "running":
            trial.status, trial.says, trial.ended = status, says, time.time()
            self._changed(trial)

    def mutate(self, number: int, values: Mapping[str, Any], images: int, weights_of: int) -> None:
        """The trial goes on with another's weights and these values. Written with the reading that follows it."""
        mutation = Mutation(images=images, values=dict(values), weights_of=weights_of)
        self.trial(number).mutations.append(mutation)

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Counts the body's time as the search's, in the record whenever it is written."""
        self._zero = time.monotonic() - self.study.searched_seconds
        try:
            yield
        finally:
            self.write()
            self._zero = None

    def write(self) -> None:
        if self._zero is not None:
            self.study.searched_seconds = time.monotonic() - self._zero
        self.study.write(self.path)

    def recipe(self, number: int) -> Recipe:
        """The whole recipe of a trial: its values, its seed, and what it changed to on the way."""
        trial = self.trial(number)
        origin = number if trial.repeats is None else trial.repeats
        (_, first), *rest = lineage(self.study, origin)
        recipe = self.space.apply(first)
        if rest:
            before, changes = first, []
            for images, values in rest:
                new = {path: value for path, value in values.items() if before.get(path) != value}
                fields = {field: value for path, value in new.items() for field in fields_of(recipe, path)}
                if fields:
                    changes.append(Change(images=images, fields=fields))
                before = values
            recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"schedule": tuple(changes)})})
        return Recipe.parse(recipe.model_dump(mode="json"), [f"train.seed={trial.seed}"])

    def _changed(self, trial: Trial) -> None:
        self.write()
        if self._told is not None:
            self._told(self, trial)


def lineage(study: Study, number: int, before: float = math.inf) -> list[tuple[int, dict[str, Any]]]:
    """What the weights of a trial were trained with: (from so many images seen, values), from 0 on, rising.

    before: only what came before so many images. Weights that were another's have that one's past.
    """
    trial = study.trials[number]
    past = [mutation for mutation in trial.mutations if mutation.images < before]
    if not past:
        return [(0, trial.values)]
    last = past[-1]
    origin = number if last.weights_of is None else last.weights_of
    return [*lineage(study, origin, last.images), (last.images, last.values)]


def values_of(study: Study, number: int) -> dict[str, Any]:
    """The values that a trial trains with by now."""
    trial = study.trials[number]
    return trial.mutations[-1].values if trial.mutations else trial.values


def fresh_seed(study: Study, number: int) -> int:
    """A training seed that no other trial of the study has, for trial `number`."""
    return stream_seed(study.seed, "repeat", number) % 2**32


def searched(study: Study) -> Sequence[Trial]:
    """The trials that the search proposed: finalists' repeats left out."""
    return [trial for trial in study.trials if trial.repeats is None]
