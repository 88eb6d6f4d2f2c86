"""`gan sample` with captions, boxes, keypoints, domains and inputs, by a generator that paints what it is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganlib.data import Columns, Preparation, prepare_dataset
from ganlib.data.sources.base import Record
from ganlib.sampling import Sampler
from pipelines.cli import samples
from pipelines.run_folder import RunFacts, RunFolder
from tests.ganlib.data.list_source import ListSource, noise
from tests.painter import painting
from tests.pipelines.command import gan
from tests.pipelines.test_cli_sample import images

COLOURS = ["black", "blonde", "blue"]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> object:
    """Has the command find a sampler, its domains called COLOURS, whatever the run's name."""

    def by(sampler: Sampler) -> None:
        monkeypatch.setattr(samples, "_open", lambda run, home: (sampler, COLOURS))

    return by


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of "a.png", 16x16 and grey, and "b.png", 32x48 and in colour, each of one grey level: 50 and 150."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("L", (16, 16), 50).save(folder / "a.png")
    Image.new("RGB", (32, 48), (150, 150, 150)).save(folder / "b.png")
    return folder


def test_captions_and_boxes_one_for_all_or_one_each(opened, tmp_path: Path) -> None:
    opened(painting(("captions", "boxes")))
    words = ("--text", "blue", "--text", "pale green", "--seed", 9, "-n", 2)
    assert gan("sample", "run", "-o", tmp_path / "out", *words, "--box", "0.1,0.2,0.5,0.25") == 0
    made = list(images(tmp_path / "out").values())
    assert [image[0, :4].tolist() for image in made] == [[9, 0, 0, 4], [9, 1, 0, 4], [9, 2, 0, 10], [9, 3, 0, 10]]
    assert [image[2, :4].tolist() for image in made] == [[20, 40, 100, 50]] * 4
    assert gan("sample", "run", "-o", tmp_path / "two", *words, "--box", "0,0,1,1", "--box", "0.5,0.5,0.5,0.5") == 0
    made = list(images(tmp_path / "two").values())
    assert [image[2, :4].tolist() for image in made] == [[0, 0, 200, 200]] * 2 + [[100, 100, 100, 100]] * 2


def test_a_file_has_a_caption_a_line_and_a_grid_a_row_a_caption(opened, tmp_path: Path) -> None:
    opened(painting(("captions",)))
    (tmp_path / "captions.txt").write_text("one\n\n  three words here \nfünf\n")
    assert gan("sample", "run", "-o", tmp_path / "out", "--text", f"@{tmp_path / 'captions.txt'}") == 0
    assert [image[0, 3] for image in images(tmp_path / "out").values()] == [3, 16, 5]
    assert gan("sample", "run", "-o", tmp_path / "grid.png", "--text", f"@{tmp_path / 'captions.txt'}", "-n", 2) == 0
    grid = np.asarray(Image.open(tmp_path / "grid.png"))
    assert grid.shape == ((3 * 18 + 2) * 4, 132 + (2 * 18 + 2) * 4, 3)
    assert (grid[:, :132] < 128).any()  # the captions are written there
    cells = grid[::4, 132::4, 0]
    assert [cells[2 + 18 * row, 2 + 18 * column + 1] for row in range(3) for column in range(2)] == [0, 1, 2, 3, 4, 5]
    assert [cells[2 + 18 * row, 5] for row in range(3)] == [3, 16, 5]


def test_keypoints_as_words_or_json(opened, tmp_path: Path) -> None:
    opened(painting(("keypoints",), keypoints=3))
    assert gan("sample", "run", "-o", tmp_path / "out", "--keypoints", "0.5,0.25 - 1,0") == 0
    (image,) = images(tmp_path / "out").values()
    assert image[3, :9].tolist() == [100, 50, 200, 0, 0, 0, 200, 0, 200]
    first, second = [[0.5, 0.25], None, [1, 0]], [None, [0, 0.5], [0.5, 0.5]]
    for content, rows in (
        (first, [[100, 50, 200, 0, 0, 0, 200, 0, 200]]),
        ([first, second], [[100, 50, 200, 0, 0, 0, 200, 0, 200], [0, 0, 0, 0, 100, 200, 100, 100, 200]]),
    ):
        (tmp_path / "parts.json").write_text(json.dumps(content))
        assert gan("sample", "run", "-o", tmp_path / f"json{len(rows)}", "--keypoints", tmp_path / "parts.json") == 0
        assert [image[3, :9].tolist() for image in images(tmp_path / f"json{len(rows)}").values()] == rows


def test_inputs_are_prepared_as_the_datasets_and_go_to_domains_by_name(opened, pictures: Path, tmp_path: Path) -> None:
    opened(painting(("inputs", "domains"), domains=3))
    assert gan("sample", "run", "-o", tmp_path / "one", "--input", pictures, "--domain", "blue") == 0
    made = images(tmp_path / "one")
    assert list(made) == ["0000-a.png", "0001-b.png"]
    assert [image.shape for image in made.values()] == [(16, 16)] * 2
    assert [(image[10, 10], *image[1, :3]) for image in made.values()] == [(50, 0, 0, 1), (150, 0, 0, 1)]
    words = ("--domain", "1", "--domain", "black,blue")
    assert gan("sample", "run", "-o", tmp_path / "each", "--input", pictures, *words) == 0
    assert [image[1, :3].tolist() for image in images(tmp_path / "each").values()] == [[0, 1, 0], [1, 0, 1]]
    assert gan("sample", "run", "-o", tmp_path / "both", "--input", pictures / "b.png", *words, "-n", 2) == 0
    made = images(tmp_path / "both")
    assert list(made) == ["0000-b-000.png", "0000-b-001.png", "0001-b-000.png", "0001-b-001.png"]
    assert [image[1, :3].tolist() for image in made.values()] == [[0, 1, 0]] * 2 + [[1, 0, 1]] * 2


def test_all_domains_are_a_row_an_image_and_a_column_a_domain(opened, pictures: Path, tmp_path: Path) -> None:
    opened(painting(("inputs", "domains"), domains=3))
    words = ("--input", pictures, "--domain", "all")
    assert gan("sample", "run", "-o", tmp_path / "out", *words) == 0
    made = images(tmp_path / "out")
    assert list(made) == [f"{i:04d}-{name}-{colour}.png" for i, name in enumerate("ab") for colour in COLOURS]
    expected = [(level, *row) for level in (50, 150) for row in np.eye(3, dtype=int).tolist()]
    assert [(image[10, 10], *image[1, :3]) for image in made.values()] == expected
    assert gan("sample", "run", "-o", tmp_path / "sheet.png", *words) == 0
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (12 + (2 * 18 + 2) * 4, (4 * 18 + 2) * 4, 3)
    assert (sheet[:12] < 128).any()  # the domains' names
    cells = sheet[12::4, ::4, 0]
    for row, level in enumerate((50, 150)):
        assert (cells[2 + 18 * row : 18 + 18 * row, 2:18] == level).all()  # the input
        for column in range(3):
            corner = cells[3 + 18 * row, 20 + 18 * column : 23 + 18 * column]
            assert corner.tolist() == np.eye(3, dtype=int)[column].tolist()


def test_the_domains_names_are_those_of_the_runs_dataset(tmp_path: Path) -> None:
    records = {str(i): Record(noise(i), domains=(i % 2, 1 - i % 2)) for i in range(4)}
    source = ListSource(records, Columns(domain_names=["left", "right"]))
    dataset = prepare_dataset(source, Preparation(size=8, test_share=0), tmp_path / "datasets", "two")
    place = str(dataset.location)
    facts = RunFacts(recipe="r", dataset_path=place, dataset_name="two", dataset_digest="0", created=0.0)
    run = RunFolder.create(tmp_path / "run", facts, "name: r")
    assert samples._domain_names(run) == ["left", "right"]
    (dataset.path / "manifest.json").unlink()
    assert samples._domain_names(run) == []


@pytest.mark.parametrize(
    ("wanted", "words", "said"),
    [
        (["captions", "boxes"], ["--text", "a"], "has to be told what to make; give --box"),
        (["captions"], ["--text", " "], "--text is empty; give a caption of a word at least"),
        (["captions"], ["--text", "@{tmp}/empty.txt"], "empty.txt (--text) has no captions; give one a line"),
        (["captions"], ["--text", "@{tmp}/none.txt"], "none.txt (--text) cannot be read: No such file or directory"),
        (["boxes"], ["--box", "0.5,0,0.6,1"], "the box 0.5,0,0.6,1 (x, y, width, height as shares of the sides) is n"),
        (["boxes"], ["--box", "0,0,0,1"], "the box 0,0,0,1 (x, y, width, height as shares of the sides) is not inside"),
        (["boxes"], ["--box", "0,0,1"], "--box: a box is x, y, width and height as shares of the sides, as in 0.1,0.2"),
        (["boxes"], ["--box", "0,0,nan,1"], "--box: a box is x, y, width and height as shares of the sides"),
        (
            ["captions", "boxes"],
            ["--text", "a", "--text", "b", "--box", "0,0,1,1", "--box", "0,0,1,1", "--box", "0,0,1,1"],
            "2 of --text, 3 of --box do not go together; give one for all, or as many of each",
        ),
        (
            ["keypoints"],
            ["--keypoints", "0.5,0.5 -"],
            "--keypoints: keypoints are those of 3 parts, each there or not;",
        ),
        (["keypoints"], ["--keypoints", "0.5 - -"], "a keypoint is x and y as shares of the sides, as in 0.5,0.25; no"),
        (["keypoints"], ["--keypoints", "0.5,2 - -"], "keypoints are x and y as shares of the image's sides"),
        (["keypoints"], ["--keypoints", "{tmp}/empty.txt.json"], "empty.txt.json (--keypoints) is not JSON"),
        (["domains"], ["--domain", "red"], "--domain: there is no domain 'red' (known: black, blonde, blue)"),
        (["domains"], ["--domain", "3"], "--domain: there is no domain '3' (known: black, blonde, blue)"),
        (["inputs"], ["--input", "{tmp}/empty.txt"], "empty.txt cannot be used: empty file"),
        (["inputs"], ["--input", "{tmp}/nothing"], "has no images (.png"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(
    wanted: list[str], words: list[str], said: str, opened, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "empty.txt.json").touch()
    (tmp_path / "nothing").mkdir()
    opened(painting(tuple(wanted), domains=3, keypoints=3))
    assert gan("sample", "run", "-o", tmp_path / "out", *(word.format(tmp=tmp_path) for word in words)) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert not (tmp_path / "out").exists()
