"""The first contact with MLflow, its runs and experiments, and the facts of this machine."""

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganlib.errors import UserError
from pipelines.tracking import (
    RUN_TAG,
    check_tracking,
    default_tracking_uri,
    experiment_id,
    find_run,
    host_facts,
    mlflow_client,
    open_run,
)
from tests.pipelines.conftest import Server, free_port


@pytest.mark.slow
def test_a_server_that_answers_is_accepted(server: Server) -> None:
    check_tracking(server.uri)
    check_tracking(server.uri + "/")


@pytest.mark.parametrize(
    "uri",
    ["", "mlruns", "http://", "http://host:99999", "file:///tmp/mlruns", "ftp://host", "sqlite://", "postgresql://a/b"],
)
def test_a_malformed_address_is_one_clear_line(uri: str) -> None:
    with pytest.raises(UserError, match=r"not an address of MLflow: .*; write http://HOST:PORT") as caught:
        check_tracking(uri)
    assert "\n" not in str(caught.value)


def test_an_address_where_nothing_listens_is_one_clear_line_at_once() -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    before = time.monotonic()
    with pytest.raises(UserError, match=f"no MLflow answers at {uri}: Connection refused; start it there"):
        check_tracking(uri)
    assert time.monotonic() - before < 10  # MLflow's own retries take minutes


@pytest.fixture
def web_server() -> Iterator[str]:
    """Something that speaks HTTP and is no MLflow."""
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port := free_port())]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


def test_something_else_that_answers_there_is_one_clear_line(web_server: str) -> None:
    with pytest.raises(UserError, match=f"no MLflow answers at {web_server}: .*; start it there") as caught:
        check_tracking(web_server)
    assert "\n" not in str(caught.value)


def test_a_server_that_accepts_and_never_answers_is_given_up_in_seconds() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        before = time.monotonic()
        with pytest.raises(UserError, match="timed out"):
            check_tracking(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert 4 < time.monotonic() - before < 15


def test_a_file_that_is_no_database_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("x" * 1000)
    with pytest.raises(UserError, match=r"cannot open the MLflow database .*: file is not a database"):
        check_tracking(f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(UserError, match=r"cannot open the MLflow database .*: unable to open"):
        check_tracking(f"sqlite:///{tmp_path}")
    with pytest.raises(UserError, match=r"cannot open the MLflow database .*: File exists"):
        check_tracking(f"sqlite:///{tmp_path / 'mlflow.db' / 'mlflow.db'}")


def test_the_default_is_a_database_at_home_unless_the_environment_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    uri = default_tracking_uri(Path("a home"))
    database = tmp_path / "a home" / "mlflow" / "mlflow.db"
    database.parent.mkdir(parents=True)
    shutil.copyfile(empty_database, database)
    client = mlflow_client(uri)
    with sqlite3.connect(database) as connection:
        experiment = client.get_experiment(experiment_id(client, "tests"))
        assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
        assert connection.execute("SELECT name FROM experiments ORDER BY name").fetchall() == [("Default",), ("tests",)]
    assert experiment.artifact_location == (database.parent / "artifacts").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert default_tracking_uri(tmp_path) == "http://mlflow:5000"


def test_a_deleted_experiment_is_one_clear_line(tracking_uri: str) -> None:
    client = mlflow_client(tracking_uri)
    client.delete_experiment(experiment_id(client, "tests"))
    with pytest.raises(UserError, match="the experiment 'tests' was deleted in MLflow; restore it there"):
        open_run(tracking_uri, "tests", "a run", {}, "unique")


def test_a_run_is_found_by_its_unique_tag_alone(tracking_uri: str) -> None:
    run_id = open_run(tracking_uri, "tests", "a run", {}, "one")
    client = mlflow_client(tracking_uri)
    experiment = experiment_id(client, "tests")
    found = find_run(client, experiment, "one")
    assert found is not None
    assert (found.info.run_id, found.data.tags[RUN_TAG]) == (run_id, "one")
    assert find_run(client, experiment, "two") is None


def test_host_facts_are_those_of_this_machine() -> None:
    import mlflow
    import ray
    import torch

    facts = host_facts()
    assert facts["host.name"] == socket.gethostname()
    assert facts["host.cpu_count"] == str(os.cpu_count())
    assert facts["host.platform"].startswith(os.uname().sysname)
    assert (facts["version.torch"], facts["version.ray"], facts["version.mlflow"]) == (
        torch.__version__.partition("+")[0],
        ray.__version__,
        mlflow.__version__,
    )
    assert ("host.gpu" in facts) == torch.cuda.is_available()
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    head = subprocess.run(git, capture_output=True, text=True, check=False)
    assert facts.get("mlflow.source.git.commit") == (head.stdout.strip() if head.returncode == 0 else None)
