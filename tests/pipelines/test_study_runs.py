"""A study in MLflow that goes away: no trial waits for it, none is left without its study."""

from __future__ import annotations

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


def digits(folder: Path) -> Dataset:
    return prepare_dataset(open_source("digits"), Preparation(size=16, channels=1), folder / "datasets", "digits")
