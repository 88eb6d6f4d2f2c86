"""The pictures of a run as a whole: the sheet of its epochs, from samples that are told by their grey levels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.journal import Journal
from pipelines.run_folder import RunFacts, RunFolder
from pipelines.shipped import find_recipe
from pipelines.train import MARKS, draw

WIDTH, HEIGHT, TITLE, EDGE = 40, 20, 24, 4
EPOCH = 100


def drawn(folder: Path, levels: dict[int, int]) -> tuple[RunFolder, set[str]]:
    """A run whose samples after so many images are of one grey level each, drawn; and the artifacts of its journal."""
    facts = RunFacts(recipe="r", dataset_path="d", dataset_name="d", dataset_digest="0", created=0.0)
    run = RunFolder.create(folder / "run", facts, "name: r")
    run.pictures.mkdir(exist_ok=True)
    for images, level in levels.items():
        Image.new("L", (WIDTH, HEIGHT), level).save(run.pictures / f"samples-{images:012d}.png")
    with Journal(run.path, "train") as journal:
        draw(run, journal, EPOCH)
    lines = (run.path / "journal" / "train.jsonl").read_text().splitlines()
    return run, {Path(json.loads(line)["path"]).name for line in lines}


@pytest.mark.parametrize(
    ("levels", "shown"),
    [
        # The first samples with a whole 1, 5 and 10 epochs of 100 images behind them; there are none of 20 yet.
        ({0: 10, 96: 20, 104: 30, 496: 40, 512: 50, 1000: 60, 1600: 70}, [[30, 50, 60]]),
        ({0: 10, 100: 20, 500: 30, 1000: 40, 2000: 50, 4000: 60, 6000: 70}, [[20, 30, 40], [50, 60, 70]]),
        ({0: 10, 7000: 20}, [[20, 20, 20], [20, 20, 20]]),
        ({0: 10, 100: 20}, [[20]]),
    ],
)
def test_samples_after_some_epochs_stand_side_by_side(
    levels: dict[int, int], shown: list[list[int]], tmp_path: Path
) -> None:
    run, artifacts = drawn(tmp_path, levels)
    assert artifacts == {"curves.png", "animation.gif", "epochs.png"}
    sheet = np.asarray(Image.open(run.pictures / "epochs.png").convert("L"))
    across, down = WIDTH + 2 * EDGE, TITLE + HEIGHT + 2 * EDGE
    assert sheet.shape == (down * len(shown), across * len(shown[0]))
    for row, levels_of_row in enumerate(shown):
        for column, level in enumerate(levels_of_row):
            cell = sheet[row * down : (row + 1) * down, column * across : (column + 1) * across]
            assert (cell[EDGE + TITLE : EDGE + TITLE + HEIGHT, EDGE : EDGE + WIDTH] == level).all()
            assert (cell[: EDGE + TITLE] < 128).any()  # its title, "5 epochs"


def test_before_the_first_epoch_there_is_no_sheet(tmp_path: Path) -> None:
    run, artifacts = drawn(tmp_path, {0: 10, 99: 20})
    assert artifacts == {"curves.png", "animation.gif"}
    assert not (run.pictures / "epochs.png").exists()


def test_the_marks_are_those_at_which_a5_draws_samples() -> None:
    assert find_recipe("avatars-48").train.sample_epochs == MARKS == (1, 5, 10, 20, 40, 60)
