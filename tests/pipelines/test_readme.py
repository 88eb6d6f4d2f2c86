"""README.md: its `gan` commands are commands, of recipes that there are."""

import re
from pathlib import Path

import pytest

from pipelines.shipped import shipped_recipes
from pipelines.tracking import home_database, sqlite_path
from tests.documents import ROOT, fault, lines, named, parse, words_of

PAGE = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("command", lines(PAGE))
def test_every_line_is_a_command(command: str) -> None:
    assert fault(command, whole=True) is None
    words = words_of(command)
    inner = words[words.index("--") + 1 :] if "--" in words else words
    if inner[0] in ("run", "train", "tune", "plan") and not inner[1].startswith("-"):
        assert inner[1] in shipped_recipes()


@pytest.mark.parametrize("command", named(PAGE))
def test_every_command_in_a_sentence_is_one(command: str) -> None:
    assert fault(command, whole=False) is None


def test_what_is_served_is_in_the_store_of_the_default_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (uri,) = set(re.findall(r"MLFLOW_TRACKING_URI=(sqlite:\S+)", PAGE))
    assert sqlite_path(uri) == sqlite_path(home_database(Path("work")))


def test_alternatives_are_read_one_by_one() -> None:
    assert {"gan data list", "gan data show NAME", "gan up --nodes 3", "gan down", "gan jobs stop JOB"} <= {
        *lines(PAGE)
    }
    assert "gan recipes dcgan-64" in named(PAGE)
    assert str(fault("gan train digits --sorce x", whole=False)).startswith("No such option: --sorce")
    assert fault("gan trian", whole=False) == "no command 'trian'"
    assert parse(["submit", "--", "train", "digits"]) == ["submit", "train"]
