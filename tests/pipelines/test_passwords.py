"""A password in MLflow's address: the commands use it, and show it nowhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.command import gan, refused
from tests.pipelines.conftest import Server, free_port
from tests.pipelines.gate import gate
from tests.pipelines.test_compare import two_runs

PASSWORD = "p%40ss-of-mine"  # written as a URL has to: p@ss-of-mine


@pytest.fixture(scope="module")
def gated(server: Server) -> Iterator[str]:
    """HOST:PORT of an MLflow with two runs that asks for the password."""
    two_runs(server.uri, "-gated")
    with gate(server.uri, "me", "p@ss-of-mine") as address:
        yield address


@pytest.fixture(autouse=True)
def no_other_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command puts into this process's environment is gone after the test."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr()
    assert "ss-of-mine" not in said.out + said.err
    return str(said.out)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["option", "environment"])
def test_runs_and_their_pages_are_had_with_it(by: str, gated: str, tmp_path: Path, capsys, monkeypatch) -> None:
    address, home = f"http://me:{PASSWORD}@{gated}", ["--home", tmp_path]
    if by == "option":
        home += ["--tracking", address]
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    capsys.readouterr()
    assert gan("runs", "slow-gated", *home) == 0
    assert "slow-gated" in shown(capsys)
    assert gan("compare", "slow-gated", "fast-gated", *home) == 0
    assert f"http://{gated}/#/compare-runs" in shown(capsys)
    assert gan("ui", *home) == 0
    assert shown(capsys) == f"MLflow is at http://{gated}\n"


def test_where_nothing_answers_it_is_not_said(tmp_path: Path, capsys) -> None:
    place = f"127.0.0.1:{free_port()}"
    for words in (["runs"], ["compare", "one", "two"], ["ui"], ["up"]):
        said = refused(capsys, *words, "--home", tmp_path, "--tracking", f"http://me:{PASSWORD}@{place}")
        assert f"no MLflow answers at http://{place}: " in said
        assert "ss-of-mine" not in said


@pytest.mark.parametrize("place", ["postgresql://me:{}@host/db", "http://me:{}@host:99999", "http://me:{}@[host"])
def test_what_is_no_address_is_told_without_it(place: str, tmp_path: Path, capsys) -> None:
    for words in (["runs"], ["compare", "one", "two"], ["ui"], ["up"], ["report", "one"]):
        said = refused(capsys, *words, "--home", tmp_path, "--tracking", place.format(PASSWORD))
        assert "ss-of-mine" not in said
