"""The table of runs, over a real SQLite store."""

import math
import shutil
import time
from pathlib import Path

import pytest

from ganlib.errors import UserError
from pipelines.run_store import StoredRun
from pipelines.runs import _cell, runs_table
from pipelines.tracking import IMAGES_TAG, experiment_id, mlflow_client


@pytest.fixture(scope="module")
def store(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four runs of "digits", oldest first, and one of "other"; read only."""
    from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag

    uri = f"sqlite:///{shutil.copy(empty_database, tmp_path_factory.mktemp('runs'))}"
    client = mlflow_client(uri)
    digits = experiment_id(client, "digits")
    now = int(time.time())
    for name, age, fid, rate in (
        ("first", 2 * 86400, 30.0, "0.001"),
        ("second", 3 * 3600, 4.5, "2e-05"),
        ("third", 240, math.nan, "0.0001"),
        ("fourth", 5, None, "0.5"),
    ):
        run = client.create_run(digits, (now - age) * 1000, {IMAGES_TAG: "12800", "recipe": "digits"}, name).info.run_id
        metrics = [] if fid is None else [Metric("fid/classifier", 99.0, 1, 0), Metric("fid/classifier", fid, 2, 1)]
        params = [Param("optim.generator.lr", rate), Param("data.kind", "idx")]
        client.log_batch(run, metrics, params, [RunTag("host.name", "vm")])
        client.log_inputs(run, [DatasetInput(Dataset("mnist", "0" * 36, "local", "{}"), [])])
        if name == "first":
            client.set_terminated(run, "FAILED")
    client.create_run(experiment_id(client, "other"), run_name="elsewhere")
    return uri


def test_without_options_it_shows_the_facts_and_every_fid_newest_first(store: str) -> None:
    table = runs_table(store, "digits")
    assert table.columns == ["name", "recipe", "status", "images", "fid/classifier", "dataset", "age"]
    assert [row[:-1] for row in table.rows] == [
        ["fourth", "digits", "RUNNING", "12,800", "", "mnist"],
        ["third", "digits", "RUNNING", "12,800", "nan", "mnist"],
        ["second", "digits", "RUNNING", "12,800", "4.5", "mnist"],
        ["first", "digits", "FAILED", "12,800", "30", "mnist"],
    ]
    assert [row[-1] for row in table.rows[1:]] == ["4m", "3h", "2d"]


@pytest.mark.parametrize(
    ("sort_by", "order"),
    [
        ("fid/classifier", ["second", "first", "third", "fourth"]),  # NaN, then nothing, come last
        ("-fid/classifier", ["first", "second", "third", "fourth"]),
        ("optim.generator.lr", ["second", "third", "first", "fourth"]),  # 2e-05 < 0.0001 < 0.001 < 0.5
        ("-optim.generator.lr", ["fourth", "first", "third", "second"]),
        ("age", ["fourth", "third", "second", "first"]),
        ("-name", ["third", "second", "fourth", "first"]),
    ],
)
def test_runs_sort_by_any_metric_parameter_or_fact_numbers_as_numbers(
    store: str, sort_by: str, order: list[str]
) -> None:
    assert [row[0] for row in runs_table(store, "digits", sort_by, ["name"]).rows] == order


def test_the_limit_takes_the_first_of_the_order(store: str) -> None:
    assert runs_table(store, "digits", "fid/classifier", ["name"], 2).rows == [["second"], ["first"]]
    assert runs_table(store, "digits", "optim.generator.lr", ["name"], 1).rows == [["second"]]
    assert runs_table(store, "digits", None, ["name"], 2).rows == [["fourth"], ["third"]]


def test_columns_are_facts_metrics_parameters_and_tags(store: str) -> None:
    columns = ["name", "optim.generator.lr", "fid/classifier", "host.name", "data.kind"]
    table = runs_table(store, "digits", "fid/classifier", columns, 1)
    assert table.plain() == "\t".join(columns) + "\nsecond\t2e-05\t4.5\tvm\tidx"
    assert [column.header for column in table.rich().columns] == columns


def test_a_parameter_is_shown_with_all_its_digits() -> None:
    run = StoredRun(
        "1", "0", "a", "FINISHED", 0, {"fid": 4.56789012}, {"train.seed": "4158712345"}, {"t": "1234567"}, []
    )
    assert [_cell(run, column) for column in ("train.seed", "t", "fid", "nothing")] == [
        "4158712345", "1234567", "4.5679", "",
    ]  # fmt: skip


def test_without_an_experiment_it_shows_the_runs_of_all(store: str) -> None:
    assert [row[0] for row in runs_table(store, columns=["name"]).rows] == [
        "elsewhere",
        "fourth",
        "third",
        "second",
        "first",
    ]


@pytest.mark.parametrize(("wrong", "right"), [("fid/clasifier", "fid/classifier"), ("lr", "optim.generator.lr")])
def test_a_wrong_name_is_answered_with_the_nearest(store: str, wrong: str, right: str) -> None:
    with pytest.raises(UserError, match=f"'{wrong}'; the nearest: {right}"):
        runs_table(store, "digits", columns=[wrong])
    with pytest.raises(UserError, match=f"'{wrong}'; the nearest: {right}"):
        runs_table(store, "digits", sort_by=f"-{wrong}")
    with pytest.raises(UserError, match="no experiment is named 'digit'; the nearest: digits"):
        runs_table(store, "digit")


def test_a_name_without_a_digest_is_each_runs_own_and_only_those_of_one_judge_are_ranked(
    tracking_uri: str,
) -> None:
    client = mlflow_client(tracking_uri)
    digits = experiment_id(client, "digits")
    for name, judge, fid in (("a", "22222222", 5.0), ("b", "11111111", 9.0), ("c", "22222222", 4.0), ("d", "", 0)):
        run = client.create_run(digits, run_name=name).info.run_id
        if judge:
            client.log_metric(run, f"fid/classifier-{judge}", fid)
    table = runs_table(tracking_uri, "digits", "fid/classifier", ["name", "fid/classifier"])
    assert table.columns == ["name", "fid/classifier, 2 judges"]
    assert table.rows == [["b", "9 11111111"], ["c", "4 22222222"], ["a", "5 22222222"], ["d", ""]]
    table = runs_table(tracking_uri, "digits", "-fid/classifier-22222222", ["name", "fid/classifier-22222222"])
    assert table.columns == ["name", "fid/classifier-22222222"]
    assert table.rows[:2] == [["a", "5"], ["c", "4"]]
    # Of one judge alone there is nothing to tell apart but its name in the header.
    table = runs_table(tracking_uri, "digits", "name", ["fid/classifier"], limit=1)
    assert (table.columns, table.rows) == (["fid/classifier-22222222"], [["5"]])


def test_a_store_without_runs_is_an_empty_table(tracking_uri: str) -> None:
    table = runs_table(tracking_uri, sort_by="fid/classifier")
    assert (table.columns, table.rows) == (["name", "recipe", "status", "images", "dataset", "age"], [])
