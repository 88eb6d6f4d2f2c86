"""A model of MLflow's from a stranger, whose loader runs code: no command of ours loads it."""

from pathlib import Path

import mlflow.pyfunc
import pytest

from tests.pipelines.command import refused

MLMODEL = """
flavors:
  python_function:
    loader_module: strange_loader
    code: code
    data: data
    python_version: 3.11.7
"""
LOADER = """
from pathlib import Path

Path({mark!r}).touch()


class Model:
    def predict(self, given):
        return given


def _load_pyfunc(path):
    Path({mark!r}).touch()
    return Model()
"""


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What the stranger's loader makes when it runs."""
    return tmp_path / "mark"


@pytest.fixture
def model(tmp_path: Path, mark: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "code").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "code" / "strange_loader.py").write_text(LOADER.format(mark=str(mark)))
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["sample", "MODEL", "--grid", "samples.png"],
        ["evaluate", "MODEL"],
        ["evaluate", "MODEL", "--against", "MODEL"],
        ["report", "MODEL"],
        ["health", "MODEL"],
        ["train", "MODEL"],
        ["train", "--run", "MODEL"],
        ["train", "--from", "MODEL"],
        ["prepare", "strange", "--source", "MODEL"],
    ],
    ids=" ".join,
)
def test_no_command_runs_its_loader(
    words: list[str], model: Path, mark: Path, tmp_path: Path, tracking_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(model) if word == "MODEL" else word for word in words]
    tracking = ["--tracking", tracking_uri] if words[0] in ("train", "evaluate", "report") else []
    said = refused(capsys, *given, "--home", tmp_path / "home", *tracking)
    assert not mark.exists()
    assert str(model) in said


def test_mlflow_itself_would_run_it(model: Path, mark: Path) -> None:
    mlflow.pyfunc.load_model(str(model))
    assert mark.exists()
