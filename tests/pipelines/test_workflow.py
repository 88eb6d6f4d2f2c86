"""`gan run`: a chain that is killed goes on where it broke; one that is changed does again what the change touches."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ganlib.evaluation.names import metric_value
from pipelines.run_folder import RunFolder
from pipelines.tracking import mlflow_client
from tests.pipelines.command import gan
from tests.pipelines.test_cli import SMALL

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def uri(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    shutil.copyfile(empty_database, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, uri: str) -> Path:
    """The home of a chain that SIGKILL ended while it trained."""
    home = tmp_path_factory.mktemp("home")
    words = ["run", "digits", *SMALL, "train.images=64000", "--home", str(home), "--tracking", uri]
    process = subprocess.Popen([sys.executable, "-m", "pipelines.cli", *words], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(home.glob("runs/*/checkpoint-*/progress.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    (folder,) = (home / "runs").iterdir()
    # Short from here on: what is asked is where it goes on, not how long it takes.
    (folder / "length.json").write_text("1280")
    return home


def judged(run: RunFolder) -> dict[str, float]:
    return run.evaluation(run.last_checkpoint().name) or {}


def test_a_chain_goes_on_where_it_broke_and_does_again_what_a_change_touches(
    killed: Path, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def stages(*changes: str) -> list[str]:
        """What each stage says, and then the lines at the end."""
        capsys.readouterr()
        assert gan("run", "digits", *SMALL, "train.images=64000", *changes, "--home", killed, "--tracking", uri) == 0
        return capsys.readouterr().out.splitlines()

    (folder,) = (killed / "runs").iterdir()
    run = RunFolder(folder)
    begun = run.facts().created
    assert stages()[:4] == ["prepare: as before", f"train: goes on with {run.name}", "evaluate ...", "publish ..."]
    assert run.facts().created == begun

    again = stages()
    as_before = ["prepare: as before", f"train: as before, {run.name}", "evaluate: as before", "publish: as before"]
    assert again[:4] == as_before
    # The end: a table, the pictures, the model, and how to open MLflow.
    said = {line.split()[0]: line.split()[1:] for line in again[5:]}
    fid = float(next(values[0] for name, values in said.items() if name.startswith("fid/classifier-")))
    assert fid == pytest.approx(metric_value(judged(run), "fid/classifier"), rel=1e-3)
    assert Path(said["grid"][0]).read_bytes().startswith(b"\x89PNG")
    assert Path(said["animation"][0]).read_bytes().startswith(b"GIF8")
    assert said["model"] == ["models:/gan-digits/1,", "champion"]
    assert said["MLflow"] == ["gan", "ui", "--tracking", uri]

    # Judged on other samples: neither prepared nor trained again, and the number is another.
    assert stages("evaluate.samples=128")[:4] == [*as_before[:2], "evaluate ...", "publish ..."]
    other = metric_value(judged(run), "fid/classifier")
    assert other != pytest.approx(fid, rel=1e-3)

    # A model that was deleted from the registry, and a dataset that lost a shard, are made again.
    mlflow_client(uri).delete_registered_model("gan-digits")
    assert stages()[:4] == [*as_before[:3], "publish ..."]
    next((killed / "datasets").glob("*/*.arrow")).unlink()
    assert stages()[:4] == ["prepare ...", *as_before[1:]]

    # Another rate: another run, on the same data.
    changed = stages("optim.generator.lr=0.002", "train.images=320")
    assert changed[0] == "prepare: as before"
    assert changed[1].startswith("train: digits-")
    assert changed[2:4] == ["evaluate ...", "publish ..."]
    assert len(list((killed / "runs").iterdir())) == 2
