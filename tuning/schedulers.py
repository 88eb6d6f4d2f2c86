"""Which trials go on: Ray Tune's ASHA, median stopping and population-based training, at rungs in images seen.

Each is in the state that the study's record implies, whether the study has just begun or was killed and goes on.
A trial that diverged, is unhealthy or failed counts at the rung that it did not reach, as the worst there.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.schedulers.pbt import _PBTTrialState
from ray.tune.stopper import Stopper

from ganlib.draws import stream_seed
from tuning.ledger import BAD, Ledger, searched, values_of
from tuning.rungs import REDUCTION

SchedulerName = Literal["none", "asha", "median", "pbt"]

QUANTILE = 0.25
"""Share of a population that takes over the weights of as many of the best (Jaderberg et al. 2017, appendix A)."""

WORST = 1e300
"""What a bad trial has in Tune's median, which leaves infinities out."""

DIED = "actor died"
"""What Ray says of a lost process, in the file that Tune leaves of an error."""


class Handle:
    """Stands for a trial in Tune's schedulers, by its number: Tune's own trials are others after a restart."""

    def __init__(self, number: int):
        self.trial_id = str(number)


class Stopping(FIFOScheduler):
    """ASHA or the median rule over the searched trials of a study; finalists' repeats are let run."""

    def __init__(self, ledger: Ledger, name: Literal["asha", "median"]):
        super().__init__()
        self._ledger, self._name = ledger, name
        rungs, mode = len(ledger.study.rungs), ledger.study.mode
        if name == "asha":
            # A trial ends at its last rung by itself, before ASHA's time is over.
            self._inner: TrialScheduler = ASHAScheduler(
                "time", "value", mode, max_t=1.5 * REDUCTION ** (rungs - 1), reduction_factor=REDUCTION
            )
        else:
            # Trials never wait for others to have samples: min_time_slice.
            self._inner = MedianStoppingRule("time", "value", mode, grace_period=1, min_time_slice=math.inf)
        self._handles: dict[int, Handle] = {}
        self._told: set[tuple[int, int]] = set()
        self._worst = WORST if mode == "min" else -WORST
        # In the order in which they came, the rule decides again as it did.
        for _, number, place, value in sorted(self._events(), key=lambda event: event[0]):
            self._tell(number, place, value)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
        """Tune asks at each reading but a trial's last."""
        if self._ledger.trial(result["number"]).repeats is not None:
            return TrialScheduler.CONTINUE
        self._tell_bad()
        return self._tell(result["number"], result["place"], result["value"])

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict) -> None:
        """A last reading counts for those that come after."""
        if "place" in result and self._ledger.trial(result["number"]).repeats is None:
            self._tell(result["number"], result["place"], result["value"])

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Nothing is kept of a trial but its readings."""

    def _events(self) -> Iterator[tuple[float, int, int, float]]:
        """When, of which trial, at which rung, what: readings, and bad ends as infinite ones."""
        for trial in searched(self._ledger.study):
            for place, reading in enumerate(trial.readings):
                yield reading.at or trial.began, trial.number, place, reading.value
            if trial.status in BAD:
                worst = math.inf if self._ledger.study.mode == "min" else -math.inf
                yield trial.ended or trial.began, trial.number, len(trial.readings), worst

    def _tell_bad(self) -> None:
        """Of those that have turned out bad since."""
        for _, number, place, value in self._events():
            if math.isinf(value):
                self._tell(number, place, value)

    def _tell(self, number: int, place: int, value: float) -> str:
        """The rule's decision. What it was told before, by a process that is lost, it is not told again."""
        if (number, place) in self._told:
            return TrialScheduler.CONTINUE
        self._told.add((number, place))
        if number not in self._handles:
            self._handles[number] = Handle(number)
            self._inner.on_trial_add(None, self._handles[number])
        if self._name == "asha":
            # Time is 1, 3, 9, ... at the rungs, whatever images they are at.
            time, score = REDUCTION**place, _bounded(value)
        else:
            time, score = place + 1, value if math.isfinite(value) else self._worst
        decision: str = self._inner.on_trial_result(None, self._handles[number], {"time": time, "value": score})
        return decision


class Population(PopulationBasedTraining):
    """Population-based training in step: all trials come to a rung, then the worst take over the best's weights.

    In step, and drawing from (seed, rung, trial), so that what a study finds does not depend on which trial was
    faster, nor on where it was killed. A trial that is bad has an infinite reading, and so is replaced.

    places: trials that run at once. A population is begun whole and waits in step, so Tune's own bound, on trials that
    have begun, would never let the last of them begin; and what a trial takes of the cluster bounds nothing where its
    workers take it, or where there are more nodes than places.
    """

    def __init__(self, ledger: Ledger, places: int):
        super().__init__(
            "time",
            "value",
            ledger.study.mode,
            perturbation_interval=1,
            quantile_fraction=QUANTILE,
            custom_explore_fn=lambda config: config,  # never asked: `_get_new_config` is ours
            log_config=False,
            synch=True,
        )
        self._ledger, self._places = ledger, places
        self._synced = synced(ledger)
        self.lost = False
        """Whether all that are left wait for one that Tune has given up, and the record has not: see `Lost`."""
        self._next_perturbation_sync = self._synced + 1

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Its config is what the record says of its number. It waits until `choose_trial_to_run` has a place for it;
        of one whose process was lost the place is kept."""
        trial.config.update(member_config(self._ledger, trial.config["number"], self._synced))
        if trial not in self._trial_state:
            trial.set_status("PAUSED")  # what is pending Tune would start by itself
        state = self._trial_state[trial] = _PBTTrialState(trial)
        state.last_train_time = state.last_perturbation_time = self._synced

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
        if result["time"] <= self._synced:
            return TrialScheduler.CONTINUE  # reported before, by a process that is lost
        with _seeded(stream_seed(self._ledger.study.seed, "exploit", result["time"])):
            decision: str = super().on_trial_result(tune_controller, trial, result)
        self._synced = round(self._next_perturbation_sync) - 1
        return decision

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Tune gives it up, but would have the others wait for it; so they do only where it goes on after all."""
        if own_error(trial):
            tune_controller.get_live_trials().discard(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The next that waits for a place, where there is one. Where all that are left wait for one that failed, they
        wait no longer."""
        trials = tune_controller.get_trials()
        live = [trial for trial in trials if not trial.is_finished()]
        at_work = sum(trial.status != "PAUSED" for trial in live)
        if live and not at_work and not self._behind(live):
            record = self._ledger.trial
            self.lost = any(one.is_finished() and record(one.config["number"]).status == "running" for one in trials)
            if self.lost:
                return None
            self.on_trial_result(tune_controller, live[0], self._trial_state[live[0]].last_result or {})
            self._ledger.write()
        behind = self._behind(live)
        return behind[0] if behind and at_work < self._places else None

    def _behind(self, trials: list[Any]) -> list[Any]:
        """Of these, those that pause before the rung to which all are to come, the furthest behind first."""
        states, rung = self._trial_state, self._next_perturbation_sync
        behind = [trial for trial in trials if trial.status == "PAUSED" and states[trial].last_train_time < rung]
        return sorted(behind, key=lambda trial: states[trial].last_train_time)

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict, dict]:
        number, origin, study = trial.config["number"], trial_to_clone.config["number"], self._ledger.study
        time = round(self._next_perturbation_sync)
        chance = np.random.default_rng(stream_seed(study.seed, "mutation", time, number))
        values = self._ledger.space.perturbed(values_of(study, origin), chance)
        result = self._trial_state[trial_to_clone].last_result
        assert result is not None
        self._ledger.mutate(number, values, int(str(result["images"])), origin)
        return {**trial.config, **member_config(self._ledger, number, time)}, {}


class Lost(Stopper):
    """Ends a run of Tune's in which a population has lost a member by no fault of its own, so that the next one takes
    all of them up from the record. Tune gives such a member up at once where its process had just been another's."""

    def __init__(self, population: Population):
        self._population = population

    def __call__(self, trial_id: str, result: dict) -> bool:
        """Of one trial: no."""
        return False

    def stop_all(self) -> bool:
        """Whether the population waits for what will not come."""
        return self._population.lost


def synced(ledger: Ledger) -> int:
    """Rungs that the whole population has behind it, changes made."""
    members = [trial for trial in searched(ledger.study) if trial.status not in BAD]
    return min((len(trial.readings) for trial in members), default=0)


def member_config(ledger: Ledger, number: int, after: int) -> dict[str, Any]:
    """What a trial's process is told: its whole recipe, the rungs behind it, and whose weights it takes over."""
    trial = ledger.trial(number)
    last = trial.mutations[-1] if trial.mutations else None
    start = None if last is None or last.weights_of is None else [last.weights_of, last.images]
    recipe = ledger.recipe(number).model_dump_json()
    return {"number": number, "recipe": recipe, "after": after, "start": start}


def own_error(trial: Any) -> str:
    """What a trial that Tune has given up raised; "" of one whose process was lost, which is not its fault."""
    said = Path(trial.error_file).read_text() if trial.error_file else ""
    return "" if DIED in said else said


def _bounded(value: float) -> float:
    """Of the same rank, in [-1, 1]: infinities too, between which and a number Tune would interpolate."""
    return math.copysign(1.0, value) if math.isinf(value) else value / (1 + abs(value))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Tune draws from Python's one generator."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
