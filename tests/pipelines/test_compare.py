"""Runs beside each other, over a real SQLite store, and the same by MLflow's REST API."""

import json
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from ganlib.errors import UserError
from pipelines.compare import compare
from pipelines.run_store import open_store
from pipelines.runs import runs_table
from pipelines.tracking import IMAGES_TAG, experiment_id, mlflow_client
from tests.pipelines.command import gan, refused
from tests.pipelines.conftest import Server


def two_runs(uri: str, suffix: str = "") -> list[str]:
    """Ids of two runs of one recipe, in two experiments."""
    client = mlflow_client(uri)
    ids = []
    for name, rate, fid in (("slow", "0.001", 9.0), ("fast", "0.002", 4.0)):
        run = client.create_run(experiment_id(client, name + suffix), run_name=name + suffix, tags={IMAGES_TAG: "640"})
        ids.append(run.info.run_id)
        client.log_param(ids[-1], "optim.generator.lr", rate)
        client.log_param(ids[-1], "train.batch", "64")
        client.log_metric(ids[-1], "fid/x", 100.0, step=0)
        client.log_metric(ids[-1], "fid/x", fid, step=1)
    client.log_metric(ids[1], "coverage", float("nan"))
    return ids


def test_what_differs_is_shown_and_the_page_is_of_exactly_these(tracking_uri: str, tmp_path, capsys) -> None:
    ids = two_runs(tracking_uri)
    found = compare(tracking_uri, ["slow", "/somewhere/runs/fast"])
    assert found.recipe == [["optim.generator.lr", "0.001", "0.002"]]
    assert found.metrics == [["coverage", "", "nan"], ["fid/x", "9", "4"]]
    assert found.same == 1
    page = urlsplit(urlsplit(found.page("http://127.0.0.1:5000/")).fragment)
    assert page.path == "/compare-runs"
    asked = parse_qs(page.query)
    assert json.loads(asked["runs"][0]) == ids
    client = mlflow_client(tracking_uri)
    assert json.loads(asked["experiments"][0]) == [client.get_run(run).info.experiment_id for run in ids]
    assert [run.run_id for run in compare(tracking_uri, [ids[1][:12], "slow"]).runs] == ids[::-1]
    capsys.readouterr()
    assert gan("compare", "slow", "fast", "--home", tmp_path / "home", "--tracking", tracking_uri) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "optim.generator.lr\t0.001\t0.002"
    assert "gan ui" in said[-1]
    for words, part in ((["slow"], "two runs or more"), (["slow", "slow"], "named twice"), (["slow", "fats"], "fast")):
        assert part in refused(capsys, "compare", *words, "--home", tmp_path / "home", "--tracking", tracking_uri)


def test_a_name_of_several_is_answered_with_their_ids(tracking_uri: str) -> None:
    ids = two_runs(tracking_uri)[:1] + two_runs(tracking_uri)[:1]
    with pytest.raises(UserError, match="2 runs are named 'slow'") as caught:
        compare(tracking_uri, ["slow", "fast"])
    assert all(run in str(caught.value) for run in ids)


@pytest.mark.slow
def test_200_runs_are_listed_whole(tracking_uri: str) -> None:
    """Their number and their order; how long it takes is seen by `gan runs` (mlflow's import is most of it)."""
    from mlflow.entities import Metric, Param

    client = mlflow_client(tracking_uri)
    digits = experiment_id(client, "digits")
    now = int(time.time() * 1000)
    for number in range(200):
        run = client.create_run(digits, now + number, run_name=f"run-{number:03d}").info.run_id
        client.log_batch(run, [Metric("fid/x", number / 2, 1, 0)], [Param("seed", str(number))])
    rows = runs_table(tracking_uri, columns=["name", "fid/x", "seed"], limit=1000).rows
    assert rows == [[f"run-{n:03d}", f"{n / 2:.5g}", str(n)] for n in reversed(range(200))]


def test_tables_are_made_without_mlflow() -> None:
    import subprocess
    import sys

    code = "import sys, pipelines.runs, pipelines.compare; print(sorted({'mlflow', 'torch', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.slow
def test_a_server_and_its_database_say_the_same(server: Server) -> None:
    ids = two_runs(server.uri, "-served")
    by_server, by_file = open_store(server.uri), open_store(f"sqlite:///{server.folder / 'mlflow.db'}")
    assert by_server.experiments() == by_file.experiments()
    experiments = list(by_file.experiments().values())
    both = [{run.run_id: run for run in store.runs(experiments) if run.run_id in ids} for store in (by_server, by_file)]
    assert repr(both[0][ids[0]]) == repr(both[1][ids[0]])
    assert both[0][ids[1]].metrics["coverage"] != both[0][ids[1]].metrics["coverage"]
    assert both[1][ids[1]].metrics["coverage"] != both[1][ids[1]].metrics["coverage"]
    assert both[0][ids[1]].metrics["fid/x"] == 4.0
