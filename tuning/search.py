"""What to try next: a function of the study's seed, the trial's number, and what the study's record holds.

No search algorithm carries state from one proposal to the next. So a study that was killed goes on with the proposals
that it would have had, from its record alone; and the same study gives the same proposals (random search whatever the
order in which trials end; TPE, which learns from what has ended, where as much had ended).

Ray Tune's own OptunaSearch is not used: its state is a pickle; a trial that a scheduler stopped early counts there as
one of full length, and a failed one not at all; and it takes no earlier results where parameters are conditional.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ray.tune.search import Searcher

from ganlib.draws import stream_seed
from ganlib.errors import UserError
from tuning.distributions import Choice, Distribution, Int, Uniform, as_yaml
from tuning.record import Study, Trial
from tuning.space import ATTEMPTS, Choose, InvalidDrawError, Space

if TYPE_CHECKING:
    import optuna

Search = Literal["random", "tpe", "tpe-cost"]
"""tpe-cost: TPE for two objectives, the study's metric and the seconds of training that it takes."""

STARTUP = 10
"""Trials that TPE draws by chance before it models anything (Bergstra et al. 2011 have 20, Optuna 10)."""


def propose(space: Space, study: Study, number: int, points: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Values for trial `number`: of the point to start from of that number where there is one, else by the search.

    Raises UserError where the space's draws are no recipes.
    """
    if number < len(points):
        return dict(points[number])
    why = ""
    for attempt in range(ATTEMPTS):
        seed = stream_seed(study.seed, "proposal", number, attempt)
        try:
            return space.draw(_chooser(space, study, seed))
        except InvalidDrawError as error:
            why = str(error)
    raise UserError(f"{ATTEMPTS} draws of the search space are no recipes; the last of them: {why}")


def starting_points(space: Space, known: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """The recipe as it stands, where the space holds it, and those of the `known` values that are points of the space.

    Each once, in that order: they are the study's first trials.
    """
    own = space.point(space.recipe)
    points = ([] if own is None else [own]) + [dict(values) for values in known if space.holds(values)]
    return [point for place, point in enumerate(points) if point not in points[:place]]


class Proposals(Searcher):
    """`propose` for Ray Tune, which asks as it has room. What a trial is told stands in its config.

    begin: puts a trial into the study's record and says what its config is; it is asked for the numbers in turn.
    numbers: of the trials to run: those that a killed study left unfinished first. There may be more to come until all
    of these have ended, as far as Tune knows: so it keeps the process of a trial that pauses for the next one.
    """

    def __init__(self, numbers: Sequence[int], begin: Callable[[int], dict[str, Any]]):
        super().__init__(metric=None, mode=None)
        self._waiting, self._begin = list(numbers), begin
        self._begun: set[str] = set()

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict, **spec: Any) -> bool:
        """Nothing is set: what is searched, and for what, is the study's."""
        return True

    def suggest(self, trial_id: str) -> Any:
        if not self._waiting:
            return None if self._begun else Searcher.FINISHED
        self._begun.add(trial_id)
        return self._begin(self._waiting.pop(0))

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """The record has what it came to."""
        self._begun.discard(trial_id)


def _chooser(space: Space, study: Study, seed: int) -> Choose:
    if study.search == "random":
        return space.random(np.random.default_rng(seed))
    trial = _optuna_study(space, study, seed).ask()
    return lambda path, distribution: _suggest(trial, path, distribution)


def _optuna_study(space: Space, study: Study, seed: int) -> optuna.Study:
    """Optuna's view of the record: a sampler that was never used, and every trial so far."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    both = study.search == "tpe-cost"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # One model for all parameters that are drawn together: rates of the two sides are not independent.
        sampler = optuna.samplers.TPESampler(
            seed=seed % 2**32, n_startup_trials=STARTUP, multivariate=True, group=True, constant_liar=True
        )
    wanted = optuna.study.StudyDirection.MINIMIZE if study.mode == "min" else optuna.study.StudyDirection.MAXIMIZE
    seconds = [optuna.study.StudyDirection.MINIMIZE] if both else []
    found = optuna.create_study(sampler=sampler, directions=[wanted, *seconds])
    for trial in study.trials:
        if trial.repeats is None and set(trial.values) <= set(space.distributions):
            found.add_trial(_frozen(space, study, trial, both))
    return found


def _frozen(space: Space, study: Study, trial: Trial, both: bool) -> optuna.trial.FrozenTrial:
    """A trial as Optuna has it: a stopped one ranks below all that came further, a bad one below all others."""
    import optuna

    distributions = {path: _optuna_distribution(space.distributions[path]) for path in trial.values}
    params = {path: _as_optuna(space.distributions[path], value) for path, value in trial.values.items()}
    state, values, steps = optuna.trial.TrialState.PRUNED, None, {}
    good = [reading for reading in trial.readings if math.isfinite(reading.value)]
    if trial.status == "running":
        state = optuna.trial.TrialState.RUNNING
    elif trial.status == "finished" and good:
        state, last = optuna.trial.TrialState.COMPLETE, good[-1]
        values = [last.value, *([last.seconds] if both else [])]
    elif trial.status == "stopped" and not both:
        steps = {reading.images: reading.value for reading in good}
    return optuna.trial.create_trial(
        state=state, values=values, params=params, distributions=distributions, intermediate_values=steps
    )


def _optuna_distribution(distribution: Distribution) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match distribution:
        case Uniform(low, high, log):
            return FloatDistribution(low, high, log=log)
        case Int(low, high):
            return IntDistribution(low, high)
        case Choice(values):
            return CategoricalDistribution([as_yaml(value) for value in values])
    raise AssertionError(distribution)


def _as_optuna(distribution: Distribution, value: Any) -> Any:
    # A recipe's own 1.0 is the 1 of a list, whose text Optuna knows.
    return as_yaml(distribution.values[distribution.index(value)]) if isinstance(distribution, Choice) else value


def _suggest(trial: optuna.Trial, path: str, distribution: Distribution) -> Any:
    match distribution:
        case Uniform(low, high, log):
            return trial.suggest_float(path, low, high, log=log)
        case Int(low, high):
            return trial.suggest_int(path, low, high)
        case Choice(values):
            words = [as_yaml(value) for value in values]
            return values[words.index(trial.suggest_categorical(path, words))]
    raise AssertionError(distribution)
