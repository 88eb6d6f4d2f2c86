"""A fresh MLflow store for each test, and one real `mlflow server` for those that need it."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.ports import free_ports
from pipelines.tracking import check_tracking


def free_port() -> int:
    """One that no connection of another test takes before it is used."""
    return free_ports(1)[0]


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> None:
    """Return once `url` answers with success; fail with the log where the process ends first."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer within {seconds} s: {log.read_text()}")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without a run: creating one takes five seconds of migrations, copying it none."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    check_tracking(f"sqlite:///{path}")
    return path


@pytest.fixture
def tracking_uri(empty_database: Path, tmp_path: Path) -> str:
    """A SQLite store of the test's own."""
    path = tmp_path / "mlflow" / "mlflow.db"
    path.parent.mkdir()
    shutil.copyfile(empty_database, path)
    return f"sqlite:///{path}"


class Server:
    """A real `mlflow server` on loopback, with SQLite, that can be killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = self.folder / "server.log"
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}", "--workers", "1"),
            *("--artifacts-destination", str(self.folder / "artifacts")),
        ]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, start_new_session=True, cwd=self.folder
            )
        wait_for(f"{self.uri}/health", self.process, log)

    def kill(self) -> None:
        """SIGKILL to the server and its workers."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="session")
def server(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_database, folder / "mlflow.db")
    running = Server(folder)
    try:
        running.start()
        yield running
    finally:
        if running.process is not None:
            running.kill()


@pytest.fixture(scope="module")
def store(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{shutil.copy(empty_database, tmp_path_factory.mktemp('registry'))}"
