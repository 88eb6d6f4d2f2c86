"""How far a training is, as whoever started it sees it by what the run's folder says."""

import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ganlib.training.checkpoint import Progress
from ganlib.training.world import World
from pipelines import console
from pipelines.notice import heeding
from pipelines.run_folder import RunFolder
from pipelines.train import followed


def test_a_reading_that_is_being_written_is_not_taken_for_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "LINE_EVERY", 0.1)
    run = RunFolder(tmp_path)
    run.note_seen(5_000)  # where the run goes on
    with followed(run, 20_000):
        time.sleep(0.7)
        run.note_seen(6_000)
        time.sleep(0.7)
        (tmp_path / "seen").write_text("")  # what a reader finds between the file's opening and its writing
        time.sleep(0.7)
        run.note_seen(7_000)
        time.sleep(0.7)
    lines = capfd.readouterr().err.splitlines()
    told = [int(found[1].replace(",", "")) for line in lines if (found := re.search(r": ([\d,]+) of 20,000", line))]
    assert set(told) == {6_000, 7_000}
    assert told == sorted(told)
    assert not any("-" in line for line in lines)


def test_the_last_images_are_told_while_the_end_is_judged(tmp_path: Path) -> None:
    """Training ends between two looks, and what follows it may take minutes."""
    run = RunFolder(tmp_path)
    trainer = SimpleNamespace(world=World(), progress=Progress(images=311_680, loading="resident"))
    with heeding(trainer, run, on_ray=False):  # type: ignore[arg-type]
        trainer.progress.images = 320_000
    assert run.seen() == 320_000
