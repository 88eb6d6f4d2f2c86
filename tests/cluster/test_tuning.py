"""Studies on real Ray processes: what is lost when one of them is killed, and a study of trainings whole."""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from unittest import mock

import pytest

from ganlib.errors import UserError
from ganlib.recipe import Recipe
from pipelines.cluster import connect
from pipelines.rungs import Share
from pipelines.tune import Settings, share_of
from tests.cluster.nodes import ray_nodes
from tests.cluster.processes import descendants
from tests.tuning.analytic import Analytic, Spread, loss, make_ledger, work_done
from tuning.member import trial_folder
from tuning.record import Study
from tuning.study import Resources, run_study

pytestmark = pytest.mark.slow

PATIENCE = 600.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Three CPUs, and a GPU that is counted and is not there."""
    import ray

    with mock.patch.object(ray, "init", functools.partial(ray.init, num_gpus=1)):
        connect(2)
    yield
    ray.shutdown()


Seen = TypeVar("Seen")


def until(happened: Callable[[], Seen]) -> Seen:
    """What was seen when it was true: a process that writes its title anew has none for a moment, so asking again
    may find nothing."""
    deadline = time.monotonic() + PATIENCE
    while not (seen := happened()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return seen


def shape(study: Study) -> list[tuple]:
    """What is the same each time: proposals, seeds, readings, ends; not what the clock said."""
    return [
        (
            trial.number, trial.values, trial.seed, trial.status, trial.repeats,
            [(reading.images, reading.value) for reading in trial.readings],
            [(mutation.images, mutation.values, mutation.weights_of) for mutation in trial.mutations],
        )
        for trial in study.trials
    ]  # fmt: skip


def processes(folder: Path) -> set[int]:
    """Those that trials ran in."""
    return {json.loads(line)["pid"] for log in folder.glob("trials/*/log.jsonl") for line in log.open()}


def test_a_study_of_two_trials_at_once(cluster: None, tmp_path: Path) -> None:
    """ASHA over ten trials, two at once: bad ones end at once, finalists are run on fresh seeds, one process serves
    several trials, and every reading is what the function says."""
    ledger = make_ledger(tmp_path, "asha", trials=10)
    said: list[str] = []
    objective = Analytic(diverges=0.03)
    study = run_study(ledger, objective, Resources(at_once=2), finalists_wanted=2, seeds=1, say=said.append)
    searched = [trial for trial in study.trials if trial.repeats is None]
    assert len(searched) == 10
    for trial in searched:
        rates = (trial.values["optim.generator.lr"], trial.values["optim.discriminator.lr"])
        assert (trial.status == "unhealthy") == (max(rates) > 0.03)
        assert [reading.value for reading in trial.readings] == [
            pytest.approx(loss(rates, images)) for images in study.rungs[: len(trial.readings)]
        ]
        assert trial.ended is not None
    assert {trial.status for trial in searched} == {"finished", "stopped", "unhealthy"}
    assert "diverges" in next(trial.says for trial in searched if trial.status == "unhealthy")
    repeats = [trial for trial in study.trials if trial.repeats is not None]
    assert len(repeats) == 2
    assert len({trial.seed for trial in [*repeats, searched[0]]}) == 3
    good = [trial for trial in searched if trial.status == "finished"]
    assert study.best == min(good, key=lambda trial: trial.readings[-1].value).number
    assert Study.read(tmp_path / "study.json") == study
    assert len(processes(tmp_path)) <= 4  # two of the search, two of the finals, of twelve trials
    assert len(said) == 1
    assert "finals: trials" in said[0]


def test_a_population_changes_in_step_and_is_replayed(cluster: None, tmp_path: Path) -> None:
    """The worst quarter take over the best's values, perturbed; the same study finds the same; and the recipe of each
    trial has the schedule that its weights were trained with."""
    studies = []
    for name in ("a", "b"):
        ledger = make_ledger(tmp_path / name, "pbt", trials=4, total=8_000)
        studies.append(run_study(ledger, Analytic(diverges=0.05), Resources(at_once=2)))
    study = studies[0]
    assert shape(studies[0]) == shape(studies[1])
    assert all(len(trial.readings) == 8 for trial in study.trials)
    changed = [(trial, mutation) for trial in study.trials for mutation in trial.mutations]
    assert len(changed) == 7  # one of four at each rung but the last
    for trial, mutation in changed:
        place = study.rungs.index(mutation.images)
        scores = {other.number: other.readings[place].value for other in study.trials}
        assert trial.number == max(scores, key=scores.__getitem__)
        assert mutation.weights_of == min(scores, key=scores.__getitem__)
        log = (trial_folder(tmp_path / "a", trial.number) / "log.jsonl").read_text().splitlines()
        started = json.loads(log[place + 1])["start"]
        assert started == str((trial_folder(tmp_path / "a", mutation.weights_of), mutation.images))
    assert study.best is not None
    for trial in study.trials:
        recipe = ledger.recipe(trial.number)
        last = trial.mutations[-1].values if trial.mutations else trial.values
        at_the_end = recipe.at(study.rungs[-1]).optim
        assert (at_the_end.generator.lr, at_the_end.discriminator.lr) == pytest.approx(
            (last["optim.generator.lr"], last["optim.discriminator.lr"])
        )
        assert Recipe.parse(recipe.model_dump(mode="json")) == recipe


def test_a_population_of_trials_with_workers(cluster: None, tmp_path: Path) -> None:
    """Its processes leave the CPUs to the workers that they wait for: two of the cluster's three, so one trial's at a
    time. One process serves them all, and where one fails, the others go on without it."""
    ledger = make_ledger(tmp_path, "pbt", trials=4, total=300)
    study = run_study(ledger, Spread(2, fails=1), Resources(workers=2))
    *others, failed = sorted(study.trials, key=lambda trial: trial.number == 1)
    assert [(trial.status, len(trial.readings)) for trial in others] == [("finished", 4)] * 3
    assert (failed.status, failed.says, len(failed.readings)) == ("failed", "a person has to put this right", 1)
    assert [mutation.images for trial in others for mutation in trial.mutations].count(study.rungs[1]) == 1
    held = [json.loads(line) for log in tmp_path.glob("trials/*/held.jsonl") for line in log.open()]
    held.sort()
    assert len(held) == 3 * 4 + 1
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(held))
    assert len(processes(tmp_path)) == 1


@pytest.mark.parametrize("scheduler", ["asha", "pbt"])
def test_a_killed_driver_costs_a_rung(scheduler: str, tmp_path: Path) -> None:
    """SIGKILL of the driver (and so of its Ray) at two moments: the study that goes on ends as one that nobody killed,
    and no rung that was reported is computed again."""
    command = [sys.executable, "-m", "tests.cluster.study_driver"]
    subprocess.run([*command, str(tmp_path / "whole"), scheduler, "0"], check=True, timeout=PATIENCE)
    folder = tmp_path / "killed"
    for readings in (3, 9):
        driver = subprocess.Popen([*command, str(folder), scheduler, "0.2"])
        until(lambda readings=readings: _readings(folder) >= readings)  # type: ignore[misc]
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    reported = Study.read(folder / "study.json")
    before = {trial.number: len(trial.readings) for trial in reported.trials}
    work = work_done(folder)
    subprocess.run([*command, str(folder), scheduler, "0"], check=True, timeout=PATIENCE)
    assert shape(Study.read(folder / "study.json")) == shape(Study.read(tmp_path / "whole" / "study.json"))
    for number, places in work_done(folder).items():
        again = places[len(work.get(number, [])) :]
        # A population waits at a rung: what it had reported there it reports again, from where its folder is.
        slack = 1 if scheduler == "pbt" else 0
        assert all(place >= before.get(number, 0) - slack for place in again)


def _readings(folder: Path) -> int:
    try:
        return sum(len(trial.readings) for trial in Study.read(folder / "study.json").trials)
    except UserError:
        return 0


def test_a_killed_trial_costs_its_last_rung(cluster: None, tmp_path: Path) -> None:
    """SIGKILL of a trial's process: it is taken up again, and the study ends as one that nobody disturbed."""
    killed: list[int] = []

    def kill() -> None:
        until(lambda: _readings(tmp_path / "killed") >= 2)
        victim = until(lambda: descendants("Member"))[0]
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)

    thread = threading.Thread(target=kill)
    thread.start()
    study = run_study(make_ledger(tmp_path / "killed", "none", trials=3), Analytic(0.3), Resources(at_once=1))
    thread.join()
    assert len(killed) == 1
    whole = run_study(make_ledger(tmp_path / "whole", "none", trials=3), Analytic(), Resources(at_once=1))
    assert shape(study) == shape(whole)


def test_a_killed_member_of_a_population_costs_its_last_rung(cluster: None, tmp_path: Path) -> None:
    """The others wait at their rung until it has been taken up again, and the same weights go over as without."""
    killed: list[int] = []

    def kill() -> None:
        for readings in (5, 14):
            until(lambda readings=readings: _readings(tmp_path / "killed") >= readings)  # type: ignore[misc]
            victim = until(lambda: [pid for pid in descendants("Member") if pid not in killed])[0]
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    thread = threading.Thread(target=kill)
    thread.start()
    ledgers = [make_ledger(tmp_path / name, "pbt", trials=4, total=8_000) for name in ("killed", "whole")]
    study = run_study(ledgers[0], Analytic(0.2, diverges=0.05), Resources(at_once=2))
    thread.join()
    assert len(killed) == 2
    assert shape(study) == shape(run_study(ledgers[1], Analytic(diverges=0.05), Resources(at_once=2)))


@pytest.mark.parametrize("scheduler", ["none", "pbt"])
def test_a_process_killed_between_two_trials_costs_neither(scheduler: str, cluster: None, tmp_path: Path) -> None:
    """Tune gives the second of them up at once; in a population the others would wait for it for ever."""
    ledgers = [make_ledger(tmp_path / name, scheduler, trials=4, total=8_000) for name in ("killed", "whole")]
    study = run_study(ledgers[0], Analytic(dies_after=1), Resources(at_once=1))
    assert (trial_folder(tmp_path / "killed", 1) / "died").exists()
    assert shape(study) == shape(run_study(ledgers[1], Analytic(), Resources(at_once=1)))


def test_a_member_that_raises_is_no_end_of_its_population(cluster: None, tmp_path: Path) -> None:
    study = run_study(make_ledger(tmp_path, "pbt", trials=4, total=4_000), Analytic(breaks=1), Resources(at_once=2))
    others = [(trial.status, len(trial.readings)) for trial in study.trials if trial.number != 1]
    assert others == [("finished", len(study.rungs))] * 3
    assert (study.trials[1].status, study.trials[1].says) == ("failed", "RuntimeError: a fault in the program")


def test_a_killed_node_costs_its_trials_last_rung(cluster: None, tmp_path: Path) -> None:
    """SIGKILL of one of two nodes, each with a trial: on the other the study ends as one that nobody disturbed, and
    what was reported is not computed again."""
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "tests.cluster.study_driver", str(folder), "none", "0.5", "random", "2"]
    with ray_nodes(1, 1) as nodes:
        driver = subprocess.Popen(command, env={**os.environ, "RAY_ADDRESS": nodes.address})
        until(lambda: _readings(folder) >= 3 and len(processes(folder)) == 2)
        (victim,) = nodes.worker_nodes
        before = {trial.number: len(trial.readings) for trial in Study.read(folder / "study.json").trials}
        work = work_done(folder)
        nodes.remove_node(victim, allow_graceful=False)
        assert driver.wait(timeout=PATIENCE) == 0
    for number, places in work_done(folder).items():
        assert all(place >= before.get(number, 0) for place in places[len(work.get(number, [])) :])
    study = Study.read(folder / "study.json")
    assert {trial.status for trial in study.trials} == {"finished", "unhealthy"}
    ledger = make_ledger(tmp_path / "whole", "none", trials=6)
    whole = run_study(ledger, Analytic(diverges=0.05), Resources(at_once=2), finalists_wanted=1, seeds=1)
    assert shape(study) == shape(whole)


def test_too_many_workers_are_said_at_once(cluster: None, tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path, "none", trials=2)
    with pytest.raises(UserError, match="a trial takes 64 workers of 1 CPUs each, and the cluster has"):
        run_study(ledger, Analytic(), Resources(workers=64))
    with pytest.raises(UserError, match="GPUs"):
        run_study(ledger, Analytic(), Resources(gpus=2))
    assert ledger.study.trials == []


def test_a_trial_has_a_gpu_where_there_are_any(cluster: None) -> None:
    """And none that Ray did not give it: Ray does not hide them."""
    assert share_of(Settings(dataset_path="", finalists=0, seeds=1)) == Share(1, 1)
    assert share_of(Settings(dataset_path="", finalists=0, seeds=1, cpus=0.5, gpus=0.25)) == Share(0.5, 0.25)
    assert Share(1, 1).device is None
    assert Share(1, 0).device == "cpu"


def test_the_time_is_over(cluster: None, tmp_path: Path) -> None:
    """What had been reported counts; what had not ended is stopped, and says why."""
    ledger = make_ledger(tmp_path, "none", trials=200)
    study = run_study(ledger, Analytic(0.5), Resources(at_once=2), seconds=15)
    assert 0 < len(study.trials) < 200
    cut = [trial for trial in study.trials if "time" in trial.says]
    assert cut
    assert {trial.status for trial in cut} == {"stopped"}
    before = study.model_copy(deep=True)
    assert run_study(ledger, Analytic(), Resources(at_once=2), seconds=15) == before  # it is over for good


TINY = [
    "train.images=1280", "evaluate.samples=64", "method.generator.width=8", "method.discriminator.width=8",
    "train.precision=fp32",
]  # fmt: skip


def test_gan_tune_digits(tmp_path: Path) -> None:
    """The whole command on real handwriting, a trial's process killed once and the driver once: nested runs, each once
    and none without its study, no metric twice, the best tagged, and a recipe that trains."""
    from pipelines.shipped import find_recipe
    from pipelines.tracking import mlflow_client

    home = tmp_path / "home"
    command = [sys.executable, "-m", "pipelines.cli", "tune", "digits", *TINY, "optim.*.lr=log(1e-4,1e-2)"]
    command += ["--trials", "3", "--finalists", "1", "--seeds", "1", "--search", "random", "--home", str(home)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    driver = subprocess.Popen(command, env=environment)
    until(lambda: [at for at in home.glob("studies/*") if _readings(at) >= 1])
    os.kill(until(lambda: descendants("Member", driver.pid))[0], signal.SIGKILL)
    until(lambda: [at for at in home.glob("studies/*") if _readings(at) >= 3])
    driver.kill()
    driver.wait()
    (folder,) = (home / "studies").iterdir()
    assert Study.read(folder / "study.json").ended is None
    goes_on = [sys.executable, "-m", "pipelines.cli", "tune", "--study", folder.name, "--home", str(home)]
    done = subprocess.run(goes_on, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    assert done.returncode == 0, done.stderr
    study = Study.read(folder / "study.json")
    assert len(study.trials) == 4
    assert study.metric.startswith("fid/classifier-")
    assert study.trials[0].values == {"optim.*.lr": 0.001}  # the recipe as it stands is tried first
    assert study.best is not None
    best = find_recipe(str(folder / "best.yaml"))
    assert best.optim.generator.lr == study.trials[study.best].values["optim.*.lr"]
    assert best.train.images == 1280

    client = mlflow_client(f"sqlite:///{home}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("digits").experiment_id
    runs = client.search_runs([experiment])
    (parent,) = [run for run in runs if run.data.tags.get("gan.kind") == "study"]
    trials = {int(run.data.tags["gan.trial"]): run for run in runs if run.data.tags.get("gan.kind") == "trial"}
    assert len(runs) == 5
    assert sorted(trials) == [0, 1, 2, 3]
    assert {run.data.tags["mlflow.parentRunId"] for run in trials.values()} == {parent.info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert parent.data.params["space.optim.all.lr"] == "log(0.0001, 0.01)"
    assert json.loads(parent.data.tags["gan.study.space"]) == study.space
    assert json.loads(parent.data.tags["gan.study.best"]) == study.trials[study.best].values
    assert trials[study.best].data.tags["gan.study.best"] == "true"
    for number, run in trials.items():
        readings = study.trials[number].readings
        history = client.get_metric_history(run.info.run_id, study.metric)
        assert [(metric.step, metric.value) for metric in history] == [(r.images, r.value) for r in readings]
        losses = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss/generator")]
        assert losses == sorted(set(losses))
        assert losses[-1] == readings[-1].images
        assert float(run.data.params["optim.generator.lr"]) == study.trials[number].values["optim.*.lr"]
    artifacts = {item.path for item in client.list_artifacts(parent.info.run_id, "study")}
    assert {"study/study.json", "study/best.yaml", "study/report"} <= artifacts

    # Again: nothing is done twice, and there are no more runs than there were.
    subprocess.run(goes_on, check=True, timeout=PATIENCE, env=environment)
    assert shape(Study.read(folder / "study.json")) == shape(study)
    assert len(client.search_runs([experiment])) == 5
