"""A study in MLflow that goes away: no trial waits for it, none is left without its study."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from ganlib.data import Dataset, Preparation, open_source, prepare_dataset
from pipelines.study_runs import StudyRuns
from pipelines.tracking import mlflow_client
from tests.pipelines.conftest import Server
from tests.tuning.analytic import make_ledger
from tuning.ledger import Ledger
from tuning.record import Reading


def trial(ledger: Ledger) -> None:
    """One, from its beginning to its end."""
    number = ledger.begin({"optim.generator.lr": 1e-3, "optim.discriminator.lr": 1e-3}, 0).number
    for place, images in enumerate(ledger.study.rungs):
        last = images == ledger.study.rungs[-1]
        reading = Reading(images=images, seconds=1, value=5.0 - place, metrics={"loss": 5.0 - place})
        ledger.read(number, place, reading, "finished" if last else "running")


def test_a_study_begins_while_mlflow_is_away(server: Server, tmp_path: Path) -> None:
    dataset = digits(tmp_path)
    ledger = make_ledger(tmp_path / "study", trials=3)
    server.kill()
    try:
        runs = StudyRuns(tmp_path / "study", ledger.study, dataset, server.uri, {})
        ledger = Ledger(ledger.study, ledger.space, ledger.path, runs.told)
        trials = [threading.Thread(target=trial, args=[ledger], daemon=True) for _ in range(3)]
        for thread in trials:
            thread.start()
            thread.join(30)
            assert not thread.is_alive()  # nothing waits for MLflow
    finally:
        server.start()
    assert runs.end(ledger, [ledger.path], "FINISHED") == 0
    client = mlflow_client(server.uri)
    experiment = client.get_experiment_by_name("digits")
    found = client.search_runs([experiment.experiment_id], "tags.`gan.study` = 'analytic'")
    kinds = {run.info.run_name: run.data.tags["gan.kind"] for run in found}
    assert kinds == {"analytic": "study", **{f"analytic-000{number}": "trial" for number in range(3)}}
    (parent,) = [run for run in found if run.data.tags["gan.kind"] == "study"]
    assert runs.run_id == parent.info.run_id
    nested = [run for run in found if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in nested} == {parent.info.run_id}
    assert {run.info.status for run in found} == {"FINISHED"}


def test_ends_without_a_reading_are_counted_and_a_trial_says_what_it_ended_with(
    tracking_uri: str, tmp_path: Path
) -> None:
    began = {"optim.generator.lr": 1e-3, "optim.discriminator.lr": 1e-3}
    ledger = make_ledger(tmp_path / "study", trials=3)
    runs = StudyRuns(tmp_path / "study", ledger.study, digits(tmp_path), tracking_uri, {})
    ledger = Ledger(ledger.study, ledger.space, ledger.path, runs.told)
    trial(ledger)
    ledger.end(ledger.begin(began, 0).number, "unhealthy", "collapsed")
    changed = ledger.begin(began, 0).number
    ledger.mutate(changed, {**began, "optim.generator.lr": 2e-3}, 9_000, 0)
    ledger.end(changed, "failed", "killed")
    assert runs.end(ledger, [], "FINISHED") == 0
    client = mlflow_client(tracking_uri)
    parent = client.get_run(runs.run_id)
    counted = {name: value for name, value in parent.data.metrics.items() if name.startswith("trials/")}
    assert counted == {"trials/running": 0, "trials/finished": 1, "trials/stopped": 0, "trials/unhealthy": 1,
                       "trials/failed": 1}  # fmt: skip
    ended = [(point.step, point.value) for point in client.get_metric_history(runs.run_id, "trials/unhealthy")]
    assert ended == [(1, 0), (2, 1), (3, 1)]
    found = client.search_runs([parent.info.experiment_id], "tags.`gan.kind` = 'trial'", order_by=["tag.`gan.trial`"])
    assert [json.loads(run.data.tags["gan.trial.values"])["optim.generator.lr"] for run in found] == [1e-3, 1e-3, 2e-3]
    assert [run.data.params["optim.generator.lr"] for run in found] == ["0.001"] * 3


def digits(folder: Path) -> Dataset:
    return prepare_dataset(open_source("digits"), Preparation(size=16, channels=1), folder / "datasets", "digits")
