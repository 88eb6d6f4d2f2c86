"""A study: trials of an objective on Ray Tune, from proposals to finals, resumable from its record.

    ledger = Ledger(study, space, folder / "study.json")
    run_study(ledger, objective, Resources(at_once=2))

The record is all the state that there is. Started again after its driver was killed, the study goes on with its
unfinished trials from where their folders are, and with the proposals and decisions that it would have had.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray._private.state import state
from ray.tune import Callback

from ganlib.errors import UserError
from tuning.finals import finalists, winner
from tuning.ledger import Ledger, fresh_seed, searched
from tuning.member import Member, Objective
from tuning.record import Reading, Study
from tuning.schedulers import Lost, Population, Stopping, member_config, own_error
from tuning.search import Proposals, propose

MAX_FAILURES = 3
"""Times that a trial is taken up again after its process, or the node that it ran on, was lost."""

LOST = "its process was lost, again and again"

MOST_NODES = 1_000
"""Of a kind that are counted on, where an autoscaler may have any number of them."""

SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the record and the trials' journals have it all
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # who interrupts a study goes on with it later; Tune would end its trials
}


@dataclass(frozen=True)
class Resources:
    """What a trial takes, and how many run at once (None: as many as the cluster holds).

    cpus, gpus: of the trial's own process. workers: Ray Train workers that it starts beside itself, `cpus` and `gpus`
    each; its own process then only waits, and takes nothing.
    """

    cpus: float = 1
    gpus: float = 0
    workers: int = 0
    at_once: int | None = None

    def places(self) -> int:
        """How many trials run at once. Raises UserError where the cluster has not enough for one.

        Nodes that its autoscaler would bring count as well: it brings them once trials wait for them.
        """
        if self.gpus > 1 and not float(self.gpus).is_integer():
            raise UserError(f"{self.gpus:g} GPUs cannot be had: take whole ones, or a share of one")
        there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        ways = [there, _most_nodes()]  # of those that are there some are an autoscaler's: no sum of both
        nodes = max(ways, key=lambda nodes: sum(map(self._processes_on, nodes)))
        fits = sum(map(self._processes_on, nodes)) // max(self.workers, 1)
        if fits == 0:
            have = ", ".join(f"{sum(node.get(kind, 0) for node in nodes):g} {kind}s" for kind in ("CPU", "GPU"))
            each = f"{self.cpus:g} CPUs" + (f" and {self.gpus:g} GPUs" if self.gpus else "")
            asked = f"{self.workers} workers of {each} each" if self.workers else each
            raise UserError(f"a trial takes {asked}, and the cluster has {have}; take less, or add nodes")
        return fits if self.at_once is None else min(fits, self.at_once)

    def taken(self) -> dict[str, float]:
        """What Ray sets aside for a trial's own process."""
        wanted = {} if self.workers else {"CPU": self.cpus, "GPU": self.gpus}
        return {kind: count for kind, count in wanted.items() if count} or {"memory": 1}  # Ray wants it to be something

    def _processes_on(self, node: Mapping[str, float]) -> int:
        by_cpu = node.get("CPU", 0) / self.cpus if self.cpus else math.inf
        by_gpu = math.inf
        if self.gpus >= 1:
            by_gpu = node.get("GPU", 0) // self.gpus
        elif self.gpus:  # a share is of one GPU: 0.4 of two GPUs fit four times, not five
            by_gpu = node.get("GPU", 0) * math.floor(1 / self.gpus + 1e-9)
        most = min(by_cpu, by_gpu)
        return math.floor(most + 1e-9) if math.isfinite(most) else 1


def _most_nodes() -> list[dict[str, float]]:
    """What each node has where the autoscaler has had all that it may have; [] where there is none."""
    config = state.get_cluster_config()
    if config is None:
        return []
    groups = [(dict(group.resources), group.max_count) for group in config.node_group_configs]
    return [node for node, most in groups for _ in range(MOST_NODES if most < 0 else min(most, MOST_NODES))]


def run_study(
    ledger: Ledger,
    objective: Objective,
    resources: Resources,
    points: Sequence[Mapping[str, Any]] = (),
    seconds: float | None = None,
    finalists_wanted: int = 0,
    seeds: int = 2,
    say: Callable[[str], None] = lambda line: None,
) -> Study:
    """Runs the study of `ledger` to its end: the search, then the finals. Ray has to be connected. One that has come to
    its end stays as it is.

    points: values that the first trials take. seconds: after which the search ends, its unfinished trials stopped; what
    drivers before this one spent counts, finals are run whole. finalists_wanted: of how many the values are run again,
    on `seeds` fresh seeds each. Raises UserError where no trial can be run.
    """
    study = ledger.study
    if study.ended is not None:
        return study
    places = resources.places()
    if _unfinished(study) or len(searched(study)) < study.trials_wanted:
        _search(ledger, objective, resources, places, points, seconds)
    if finalists_wanted and finalists(study, 1):  # whatever of the finals has begun before a kill
        _finals(ledger, objective, resources, places, finalists_wanted, seeds, say)
    study.best = winner(study)
    study.ended = time.time()
    ledger.write()
    return study


def _search(
    ledger: Ledger,
    objective: Objective,
    resources: Resources,
    places: int,
    points: Sequence[Mapping[str, Any]],
    seconds: float | None,
) -> None:
    study = ledger.study
    over = math.inf if seconds is None else time.monotonic() + seconds - study.searched_seconds
    with ledger.searching():
        while study.scheduler == "pbt" and len(searched(study)) < study.trials_wanted:
            _begin(ledger, points)
        for _ in range(1 + MAX_FAILURES):
            new = range(len(study.trials), len(study.trials) + study.trials_wanted - len(searched(study)))
            numbers, left = [*_unfinished(study), *new], over - time.monotonic()
            if not numbers or left <= 0:
                break
            _run(ledger, objective, resources, places, numbers, None if seconds is None else left, points)
        for number in _unfinished(study):
            if time.monotonic() >= over:
                ledger.end(number, "stopped", "the study's time was over")
            else:
                ledger.end(number, "failed", LOST)


def _finals(
    ledger: Ledger,
    objective: Objective,
    resources: Resources,
    places: int,
    wanted: int,
    seeds: int,
    say: Callable[[str], None],
) -> None:
    study = ledger.study
    chosen = finalists(study, wanted)
    say(f"finals: trials {', '.join(str(trial.number) for trial in chosen)}, on {seeds} fresh seeds each")
    for trial in chosen:
        for _ in range(seeds - sum(other.repeats == trial.number for other in study.trials)):
            ledger.begin(trial.values, fresh_seed(study, len(study.trials)), repeats=trial.number)
    for _ in range(1 + MAX_FAILURES):
        left = [trial.number for trial in study.trials if trial.status == "running"]
        _run(ledger, objective, resources, places, left, None, finals=True)
    for number in (trial.number for trial in study.trials if trial.status == "running"):
        ledger.end(number, "failed", LOST)


def _begin(ledger: Ledger, points: Sequence[Mapping[str, Any]]) -> int:
    study = ledger.study
    number = len(study.trials)
    values = propose(ledger.space, study, number, points)
    return ledger.begin(values, ledger.space.recipe.train.seed).number


def _unfinished(study: Study) -> list[int]:
    return [trial.number for trial in searched(study) if trial.status == "running"]


def _run(
    ledger: Ledger,
    objective: Objective,
    resources: Resources,
    places: int,
    numbers: Sequence[int],
    seconds: float | None,
    points: Sequence[Mapping[str, Any]] = (),
    finals: bool = False,
) -> None:
    """Runs the trials of these numbers, and records what they report."""
    if not numbers:
        return
    study, folder = ledger.study, ledger.path.parent
    population = study.scheduler == "pbt" and not finals
    parameters = {
        "objective": objective,
        "folder": str(folder),
        "rungs": tuple(study.rungs),
        "worst": math.inf if study.mode == "min" else -math.inf,
        "replaceable": population,
    }
    member = tune.with_resources(tune.with_parameters(Member, **parameters), resources.taken())

    def begin(number: int) -> dict[str, Any]:
        if number == len(study.trials):
            _begin(ledger, points)
        return member_config(ledger, number, len(ledger.trial(number).readings))

    scheduler, stop = None, None
    if population:
        scheduler = Population(ledger, places)
        stop = Lost(scheduler)
    elif study.scheduler in ("asha", "median") and not finals:
        scheduler = Stopping(ledger, "asha" if study.scheduler == "asha" else "median")
    config = tune.TuneConfig(
        search_alg=Proposals(numbers, begin),
        scheduler=scheduler,
        num_samples=-1,  # as many as are proposed
        max_concurrent_trials=None if population else places,
        time_budget_s=seconds,
        reuse_actors=True,
        trial_dirname_creator=lambda trial: f"{trial.config['number']:04d}-{trial.trial_id}",
    )
    with _settings():
        tuner = tune.Tuner(
            member,
            tune_config=config,
            run_config=tune.RunConfig(
                name=f"tune-{os.getpid()}-{time.time_ns()}",
                storage_path=str(folder / "tune"),
                failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                callbacks=[Recorder(ledger)],
                stop=stop,
                verbose=0,
            ),
        )
        tuner.fit()


class Recorder(Callback):
    """Puts what Tune hears of the trials into the record."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        number = result["number"]
        if "status" in result:
            self._ledger.end(number, result["status"], result["says"])
            return
        study = self._ledger.study
        place = result["place"]
        whole = place + 1 == len(study.rungs)
        # Reading and end in one write: a study that is killed has decided or has not.
        if result.get("done"):
            says = "" if whole else f"stopped by {study.scheduler} at {result['images']:,} images"
            self._ledger.read(number, place, _reading(result), "finished" if whole else "stopped", says)
        else:
            self._ledger.read(number, place, _reading(result))
        trial.config["after"] = place + 1  # what it is told where its process is lost and it is taken up again

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        # Of a process lost between two trials Tune gives the second one up at once; it goes on with the next `_run`.
        if said := own_error(trial):
            self._ledger.end(trial.config["number"], "failed", said.strip().splitlines()[-1])


def _reading(result: Mapping[str, Any]) -> Reading:
    return Reading.model_validate_json(result["reading"])


@contextmanager
def _settings() -> Iterator[None]:
    """Tune's settings, which it takes from the environment, and its log's loudness, while a study runs."""
    before = {name: os.environ.get(name) for name in SETTINGS}
    os.environ.update(SETTINGS)
    loggers = [logging.getLogger(name) for name in ("ray.tune", "ray.air", "ray.train")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
