"""Trials that train, on real Ray processes: on workers of their own, killed, and diverging."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ganlib.data import Dataset
from pipelines.cluster import connect
from pipelines.journal import read_metrics
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home, RunFacts, RunFolder
from pipelines.rungs import Share
from pipelines.shipped import find_recipe
from pipelines.trial import TrainTrial, read_readings
from pipelines.tune import metric_named
from tests.cluster.processes import descendants, train_workers, wait_until
from tuning.ledger import Ledger
from tuning.member import trial_folder
from tuning.record import Study
from tuning.rungs import rungs_for, with_rungs
from tuning.space import Space
from tuning.study import Resources, run_study

pytestmark = pytest.mark.slow

IMAGES = 6_400
TINY = [
    f"train.images={IMAGES}", "evaluate.samples=64", "method.generator.width=8", "method.discriminator.width=8",
    "train.precision=fp32",
]  # fmt: skip
RATE = "optim.*.lr"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    """Beside three CPUs, of which a trial on two workers takes one for itself."""
    connect(2)
    home = Home(tmp_path_factory.mktemp("home")).create()
    yield DatasetRequest(find_recipe("digits", TINY).data, home).prepare()
    import ray

    ray.shutdown()


def one_trial(folder: Path, dataset: Dataset, workers: int = 0, rate: float = 1e-3) -> Study:
    """A study of one training at that rate, run to its end."""
    recipe = find_recipe("digits", TINY)
    rungs = rungs_for("none", recipe, IMAGES)
    recipe = with_rungs(recipe.with_overrides(f"workers={workers}"), rungs)
    metric, space = metric_named("fid", recipe, dataset), Space.parse(recipe, {RATE: "log(1e-4,10)"})

    def begun(ledger: Ledger, trial: object) -> None:
        run = RunFolder(trial_folder(folder, 0))
        if not run.exists:
            facts = RunFacts(
                recipe="digits", dataset_path=str(dataset.location), dataset_name=dataset.name,
                dataset_digest=dataset.digest, created=0,
            )  # fmt: skip
            RunFolder.create(run.path, facts, ledger.recipe(0).dump())

    study = Study(
        name="one", recipe=recipe.model_dump(mode="json"), dataset=dataset.digest, space=space.texts,
        search="random", scheduler="none", metric=metric, seed=0, trials_wanted=1, rungs=rungs, began=0,
    )  # fmt: skip
    trial = TrainTrial(str(dataset.location), metric, Share(0.5, 0), prune=False)
    ledger = Ledger(study, space, folder / "study.json", begun)
    return run_study(ledger, trial, Resources(0.5, 0, workers, 1), points=[{RATE: rate}])


def readings(study: Study) -> list[tuple[int, float]]:
    (trial,) = study.trials
    assert trial.status == "finished", trial.says
    return [(reading.images, reading.value) for reading in trial.readings]


@pytest.fixture(scope="module")
def undisturbed(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The study's folder of a trial that nobody killed, by its workers."""
    done: dict[int, Path] = {}

    def of(workers: int) -> Path:
        if workers not in done:
            done[workers] = tmp_path_factory.mktemp("whole")
            one_trial(done[workers], digits, workers)
        return done[workers]

    return of


def test_two_workers_read_what_one_process_reads(undisturbed: Callable[[int], Path]) -> None:
    """Ray Train inside Tune, up to summation."""
    alone, both = (readings(Study.read(undisturbed(workers) / "study.json")) for workers in (0, 2))
    assert len(alone) == 4
    assert [value for _, value in both] == pytest.approx([value for _, value in alone], rel=0.05)


@pytest.mark.parametrize(
    ("workers", "victims"),
    [(0, lambda: descendants("Member")), (2, train_workers), (2, lambda: descendants("Member"))],
    ids=["the training", "a worker of two", "who waits for two workers"],
)
def test_a_killed_training_costs_its_last_rung(
    workers: int,
    victims: Callable[[], list[int]],
    digits: Dataset,
    undisturbed: Callable[[int], Path],
    tmp_path: Path,
) -> None:
    """SIGKILL between the first rung and the second: the readings, ticks and all, are those of one that nobody killed,
    and none is there twice."""
    killed: list[int] = []
    run = RunFolder(trial_folder(tmp_path, 0))

    def kill() -> None:
        wait_until(lambda: run.exists and read_readings(run), 300)
        seen: list[int] = []
        wait_until(lambda: seen or seen.extend(victims()), 300)  # a process that writes its title anew has none
        os.kill(seen[0], signal.SIGKILL)
        killed.append(seen[0])

    thread = threading.Thread(target=kill)
    thread.start()
    found = readings(one_trial(tmp_path, digits, workers))
    thread.join()
    assert len(killed) == 1
    whole = undisturbed(workers)
    assert found == readings(Study.read(whole / "study.json"))
    ours, theirs = (read_metrics(trial_folder(folder, 0)) for folder in (tmp_path, whole))
    timed = {name for name in theirs if "second" in name or name.startswith("time")}
    assert ours.keys() == theirs.keys()
    assert {name: ours[name] for name in ours.keys() - timed} == {name: theirs[name] for name in theirs.keys() - timed}


def test_a_rate_that_diverges_ends_its_trial_early(digits: Dataset, tmp_path: Path) -> None:
    (trial,) = one_trial(tmp_path, digits, rate=10).trials
    assert trial.status == "unhealthy"
    assert "diverged by" in trial.says
    assert len(trial.readings) < 4
