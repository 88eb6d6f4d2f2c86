"""Killing the parts of a training at moments that a seed draws, and looking for what was lost.

A real Ray cluster of a head and two nodes, a real MLflow server, and `gan train` as a process of its own. What a
disturbed run ends with is compared with the run that nothing disturbs: weights and measurements bit for bit, and
MLflow's history of each metric, value by value.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganlib.data import Dataset
from pipelines.run_folder import Home, RunFolder
from pipelines.shipped import find_recipe
from pipelines.tracking import mlflow_client
from pipelines.train import create_run, newest_name
from tests.cluster.nodes import add_node, ray_nodes
from tests.cluster.processes import descendants, train_workers, wait_until
from tests.cluster.slowly import ON_RAY, PACE
from tests.cluster.tiny import BY_THE_CLOCK, TINY, lengths, prepare, ticks_of, weights
from tests.pipelines.conftest import Server

REPOSITORY = Path(__file__).parents[2]
LENGTHS = lengths(ticks=200, checkpoint_every=10, evaluate_every=20)
ROUND_SECONDS = "0.1"


@dataclass
class Tally:
    """Faults by kind, and what was lost by them, in words."""

    faults: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)


@dataclass
class Theatre:
    """Where it happens. away: how many seconds the MLflow server stays away once it was killed."""

    home: Home
    dataset: Dataset
    nodes: Any
    server: Server
    away: float = 5.0
    tally: Tally = field(default_factory=Tally)

    def undisturbed(self) -> RunFolder:
        """The run that nothing happens to."""
        run = self._create("undisturbed")
        driver = self.start(run)
        assert driver.wait(3_000) == 0
        return run

    def disturbed(self, name: str, kinds: Sequence[str], dice: random.Random) -> RunFolder:
        """The same run, with one fault after the other, each once the run has got over the one before."""
        run = self._create(name)
        self.pace.write_text(ROUND_SECONDS)
        driver = self.start(run)
        try:
            for kind in kinds:
                before = len(ticks_of(run.path))
                wait_until(lambda before=before: len(ticks_of(run.path)) > before + 1)
                time.sleep(dice.uniform(0, 1.5))
                assert not run.finished, f"the run ended before the fault {kind!r}: draw them closer together"
                driver = FAULTS[kind](self, run, driver, dice)
                self.tally.faults[kind] += 1
            self.pace.unlink()  # to the end with it
            assert driver.wait(3_000) == 0
        finally:
            driver.kill()
        return run

    def compare(self, run: RunFolder, whole: RunFolder) -> None:
        """Adds what `run` lacks of `whole`, or has otherwise, to the losses."""
        losses = []
        if weights(run.last_checkpoint()) != weights(whole.last_checkpoint()):
            losses.append("other weights")
        if ticks_of(run.path) != ticks_of(whole.path):
            losses.append("other measurements in the journal")
        ours, theirs = self._history(run), self._history(whole)
        for name in ours.keys() | theirs.keys():
            if ours.get(name) != theirs.get(name):
                losses.append(f"MLflow has {name} otherwise: {ours.get(name)} and not {theirs.get(name)}")
        self.tally.losses += [f"{run.name}: {loss}" for loss in losses]

    def start(self, run: RunFolder) -> subprocess.Popen[bytes]:
        """The driver: the command that a person would give again."""
        words = ["train", "--run", run.name, "--home", str(self.home.path), "--tracking", self.server.uri]
        slowly = {"RAY_ADDRESS": self.nodes.address, "RAY_TRAIN_CALLBACKS": ON_RAY, PACE: str(self.pace)}
        with (self.home.path / f"{run.name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "pipelines.cli", *words],
                env={**os.environ, **slowly}, stdout=log, stderr=log, cwd=REPOSITORY,
            )  # fmt: skip

    @property
    def pace(self) -> Path:
        """The file that says how long a round sleeps."""
        return self.home.path / "pace"

    def _create(self, name: str) -> RunFolder:
        return create_run(find_recipe("ring", [*TINY, *LENGTHS, "workers=2"]), self.dataset, self.home, name)

    def _history(self, run: RunFolder) -> dict[str, list[tuple[int, float | None]]]:
        """MLflow's history of each metric, as it lists it: (step, value), no value where a clock has made it."""
        client = mlflow_client(self.server.uri)
        experiment = client.get_experiment_by_name("ring").experiment_id
        (tracked,) = client.search_runs([experiment], f"attributes.run_name = '{run.name}'")
        return {
            name: [
                (point.step, None if name in BY_THE_CLOCK else point.value)
                for point in client.get_metric_history(tracked.info.run_id, name)
            ]
            for name in tracked.data.metrics
        }


Driver = subprocess.Popen[bytes]


def kill_worker(theatre: Theatre, run: RunFolder, driver: Driver, dice: random.Random) -> Driver:
    """SIGKILL of one of the two workers."""
    wait_until(train_workers)
    os.kill(dice.choice(train_workers()), signal.SIGKILL)
    return driver


def kill_node(theatre: Theatre, run: RunFolder, driver: Driver, dice: random.Random) -> Driver:
    """SIGKILL of the node that the workers are on; another joins."""
    wait_until(train_workers)

    def holds(node: Any) -> bool:
        raylet = node.all_processes["raylet"][0].process.pid
        return bool(descendants("ray::RayTrainWorker", raylet))

    holding = [node for node in theatre.nodes.worker_nodes if holds(node)]
    theatre.nodes.remove_node(dice.choice(holding), allow_graceful=False)
    add_node(theatre.nodes, 2)
    return driver


def kill_driver(theatre: Theatre, run: RunFolder, driver: Driver, dice: random.Random) -> Driver:
    """SIGKILL of the command; given again at once."""
    driver.kill()
    driver.wait()
    return theatre.start(run)


def kill_server(theatre: Theatre, run: RunFolder, driver: Driver, dice: random.Random) -> Driver:
    """SIGKILL of the MLflow server, which is away for a while."""
    theatre.server.kill()
    theatre.pace.write_text("1")  # for the run not to end in the meantime
    time.sleep(theatre.away)
    theatre.server.start()
    theatre.pace.write_text(ROUND_SECONDS)
    return driver


def kill_validation(theatre: Theatre, run: RunFolder, driver: Driver, dice: random.Random) -> Driver:
    """SIGKILL of the process that judges a checkpoint, while it does."""
    while True:
        wait_until(lambda: descendants("ray::run_validation_fn"))
        time.sleep(dice.uniform(0, 0.1))
        judges = descendants("ray::run_validation_fn")
        if judges:  # else it was faster
            os.kill(judges[0], signal.SIGKILL)
            return driver


def warn_worker(theatre: Theatre, run: RunFolder, driver: Driver, dice: random.Random) -> Driver:
    """SIGTERM to one of the two workers: both leave, with a checkpoint."""
    wait_until(train_workers)
    before = newest_name(run) or ""
    os.kill(dice.choice(train_workers()), signal.SIGTERM)
    wait_until(lambda: (newest_name(run) or "") > before)
    return driver


def warn_driver(theatre: Theatre, run: RunFolder, driver: Driver, dice: random.Random) -> Driver:
    """SIGTERM to the command: it ends, with a checkpoint; given again at once."""
    before = newest_name(run) or ""
    driver.terminate()
    status = driver.wait(600)
    if status != 128 + signal.SIGTERM:
        theatre.tally.losses.append(f"{run.name}: status {status} after SIGTERM")
    if (newest_name(run) or "") <= before:
        theatre.tally.losses.append(f"{run.name}: no checkpoint after SIGTERM")
    return theatre.start(run)


FAULTS: dict[str, Callable[[Theatre, RunFolder, Driver, random.Random], Driver]] = {
    "worker": kill_worker,
    "node": kill_node,
    "driver": kill_driver,
    "server": kill_server,
    "validation": kill_validation,
    "worker, with notice": warn_worker,
    "driver, with notice": warn_driver,
}


@contextmanager
def theatre(folder: Path, away: float = 5.0) -> Iterator[Theatre]:
    """A cluster, a server and a home below `folder`, all ended with the block."""
    home = Home(folder / "home").create()
    (folder / "server").mkdir()
    server = Server(folder / "server")
    with ray_nodes(1, 2, 2) as nodes:
        try:
            server.start()
            yield Theatre(home, prepare(home), nodes, server, away)
        finally:
            if server.process is not None:
                server.kill()
