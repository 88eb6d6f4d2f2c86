"""`gan theory`: a short game on a line, its table, stills and animation, and what is refused."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganlib.data.sources.gaussians import known_truth
from ganlib.theory.figure import GameFigure
from ganlib.theory.line import Line, Look
from ganlib.theory.run import watch
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home
from pipelines.shipped import find_recipe
from tests.pipelines.command import gan

SHORT = ["train.images=1024", "train.tick=512", "train.batch=128", "data.read.count=1000"]
"""Two rounds of two steps of D a tick: looks at 0, 512 and 1,024 points."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def looks(home: Path) -> list[tuple[int, Look]]:
    """The same game, watched here."""
    recipe, truth = find_recipe("theory-1d", SHORT), known_truth("gaussian-mixture-1d")
    assert truth is not None
    dataset = DatasetRequest(recipe.data, Home(home).create()).prepare()
    return list(watch(recipe, dataset, truth, Line.around(truth)))


def test_it_prints_and_draws_every_look(
    home: Path, looks: list[tuple[int, Look]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gan("theory", *SHORT, "-o", tmp_path / "out", "--home", home) == 0
    head, *rows, end = capsys.readouterr().out.strip().splitlines()
    assert re.split(r"\s{2,}", head.strip()) == ["points seen", "mean |D-D*|", "JS", "V(D, G)", "V + log 4"]
    assert end == f"stills and animation in {tmp_path / 'out'}"
    found = [[float(cell.replace(",", "")) for cell in row.split()] for row in rows]
    assert [int(seen) for seen, *_ in found] == [seen for seen, _ in looks] == [0, 512, 1024]
    for (_, *printed), (_, moment) in zip(found, looks, strict=True):
        d_star, dx = moment.p_data / (moment.p_data + moment.p_g + 1e-300), moment.line.dx
        mean = (moment.p_data + moment.p_g) / 2
        value = ((moment.p_data * np.log(moment.d)) + moment.p_g * np.log(1 - moment.d)).sum() * dx
        best = (np.log(d_star + 1e-300) * moment.p_data + np.log(1 - d_star + 1e-300) * moment.p_g).sum() * dx
        expected = [
            (np.abs(moment.d - d_star) * mean).sum() * dx,
            (best + math.log(4)) / 2,  # V(D*, G) = -log 4 + 2 JS
            value,
            value + math.log(4),
        ]
        assert printed == pytest.approx(expected, abs=6e-5)
    # Of 1,024 points the default stills are 0, 20, 102, 307 and all: of the first look that has seen as many.
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "theory-000000000.png", "theory-000000512.png", "theory-000001024.png", "theory.gif",
    ]  # fmt: skip
    for seen, moment in looks:
        with Image.open(tmp_path / "out" / f"theory-{seen:09d}.png") as still:
            np.testing.assert_array_equal(np.asarray(still), np.asarray(GameFigure().draw(moment, seen)))
    with Image.open(tmp_path / "out" / "theory.gif") as animation:
        assert animation.n_frames == 3  # type: ignore[attr-defined]
        assert animation.size == GameFigure().draw(looks[0][1], 0).size


def test_stills_are_kept_where_they_are_asked_for(home: Path, tmp_path: Path) -> None:
    assert gan("theory", *SHORT, "-o", tmp_path / "out", "--home", home, "--at", 513, "--at", 1024) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["theory-000001024.png", "theory.gif"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.source=gaussian-ring", "data.points=2"], "gan theory needs points on a line whose density is known"),
        (["method.latent.distribution=normal"], "the theory is drawn for points on a line, made from one uniform z"),
        (["method.objective=hinge"], "objective 'hinge' has no D that estimates p_data / (p_data + p_g): take minimax"),
        (["--at", "1025"], "the run ends at 1,024 points, before the 1,025 of --at"),
        (["-o", "{tmp}/file/out"], "/file/out cannot be written (Not a directory)"),
    ],
)
def test_what_it_cannot_show_is_said_in_one_line(
    words: list[str], said: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    told = [word.format(tmp=tmp_path) for word in words]
    out = [] if "-o" in told else ["-o", tmp_path / "out"]
    assert gan("theory", *SHORT, *told, *out, "--home", home) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert not list(tmp_path.rglob("*.png"))
