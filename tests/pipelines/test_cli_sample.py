"""`gan sample`: grids and folders, of noise, of classes, and of a person's own images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from ganlib.methods.base import SampleRequest
from ganlib.recipe import Recipe
from ganlib.sampling import load_sampler
from ganlib.training.checkpoint import Progress, Snapshot
from tests.pipelines.command import gan

RECIPE = """
name: tiny
data: {size: 16, channels: 1, classes: 10}
method:
  generator: {kind: convnet, width: 4, widest: 8}
  discriminator: {kind: convnet, width: 4, widest: 8}
  latent: {dim: 6}
optim: {generator: {kind: adam, lr: 1.0e-3}, discriminator: {kind: adam, lr: 1.0e-3}}
train: {batch: 16, images: 640}
"""
ENCODER = "method={kind: encoder, encoder: {widths: [4]}, generator: {kind: convnet}, discriminator: {kind: convnet}}"
CAPTIONS = (
    "method={kind: gan-cls, text: {vocabulary: [a, red, blue, bar], words: 3, embedding: 4, dim: 6}, short: 5, "
    "latent: {dim: 3}, generator: {kind: convnet, width: 4, widest: 8}, discriminator: {kind: convnet, width: 4}}"
)


def checkpoint(folder: Path, *overrides: str) -> Path:
    """A checkpoint of first weights."""
    recipe = Recipe.parse(yaml.safe_load(RECIPE), overrides)
    method = recipe.method.build(recipe.shape)
    snapshot = Snapshot.take(recipe, Progress(), "none", method.generator, None, method.discriminator, {}, {})
    return snapshot.write(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints by the names "noise", "classes", "encoder" and "captions", and a folder "pictures" of three."""
    folder = tmp_path_factory.mktemp("sample")
    checkpoint(folder / "noise")
    checkpoint(folder / "classes", "method.condition={kind: embedding, dim: 4}")
    checkpoint(folder / "encoder", ENCODER)
    checkpoint(folder / "captions", CAPTIONS)
    (folder / "pictures").mkdir()
    dice = np.random.default_rng(0)
    for name in ("one", "two", "three"):
        pixels = dice.integers(0, 256, (16, 16), np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{name}.png")
    return folder


def images(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.iterdir())}


def test_images_of_noise_are_the_samplers(folder: Path, tmp_path: Path) -> None:
    assert gan("sample", folder / "noise", "-o", tmp_path / "out", "-n", 3, "--seed", 5) == 0
    made, expected = images(tmp_path / "out"), load_sampler(folder / "noise").sample(3, 5)
    assert list(made) == [f"sample-{i:06d}.png" for i in range(3)]
    np.testing.assert_array_equal(np.stack(list(made.values())), expected[..., 0])
    assert gan("sample", folder / "noise", "-o", tmp_path / "grid.png") == 0
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == ((8 * 18 + 2) * 4,) * 2  # 64 by default


def test_a_grid_by_its_own_option_is_the_picture_that_out_makes(folder: Path, tmp_path: Path) -> None:
    words = ("sample", folder / "noise", "-n", 6, "--seed", 5)
    assert gan(*words, "--grid", tmp_path / "grid.png") == 0
    assert gan(*words, "--out", tmp_path / "out.png") == 0
    found = images(tmp_path)
    np.testing.assert_array_equal(found["grid.png"], found["out.png"])
    assert found["grid.png"].shape == ((2 * 18 + 2) * 4, (3 * 18 + 2) * 4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--grid", "{tmp}/a.png", "-o", "{tmp}/b"], "--out FOLDER for single files, or --grid FILE.png; one of the"),
        ([], "say where the images go: --out FOLDER for single files, or --grid FILE.png"),
        (["--grid", "{tmp}/folder"], "folder, and a grid is a .png file; single files go to a folder, by --out"),
    ],
)
def test_where_images_go_is_said_once(
    words: list[str], said: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gan("sample", folder / "noise", *(word.format(tmp=tmp_path) for word in words)) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert not list(tmp_path.iterdir())


def test_classes_are_drawn_as_they_are_named(folder: Path, tmp_path: Path) -> None:
    sampler = load_sampler(folder / "classes")
    assert gan("sample", folder / "classes", "-o", tmp_path / "out", "--labels", "3,3,7") == 0
    expected = sampler.sample(3, labels=[3, 3, 7])
    np.testing.assert_array_equal(np.stack(list(images(tmp_path / "out").values())), expected[..., 0])
    assert not np.array_equal(expected[1], sampler.sample(3, labels=[3, 4, 7])[1])
    # More than a block of images, so many of each class.
    assert gan("sample", folder / "classes", "-o", tmp_path / "many", "--labels", "9,0", "-n", 129) == 0
    each = sampler.method.sample(sampler.generator, SampleRequest(258, labels=(9,) * 129 + (0,) * 129)).numpy()
    np.testing.assert_array_equal(np.stack(list(images(tmp_path / "many").values())), each[..., 0])
    # On a grid a row a class.
    assert gan("sample", folder / "classes", "-o", tmp_path / "grid.png", "--labels", "9,0", "-n", 5) == 0
    grid = np.asarray(Image.open(tmp_path / "grid.png"))[::4, ::4]
    assert grid.shape == (2 * 18 + 2, 5 * 18 + 2)
    expected = sampler.sample(10, labels=[9] * 5 + [0] * 5)
    np.testing.assert_array_equal(grid[20:36, 38:54], expected[7, :, :, 0])


def test_a_persons_images_are_made_again_and_gone_between(folder: Path, tmp_path: Path) -> None:
    sampler, pictures = load_sampler(folder / "encoder"), images(folder / "pictures")
    inputs = np.stack([pictures[f"{name}.png"] for name in ("one", "three", "two")])[..., None]
    assert gan("sample", folder / "encoder", "--input", folder / "pictures", "-o", tmp_path / "out") == 0
    made = images(tmp_path / "out")
    assert list(made) == ["0000-one.png", "0001-three.png", "0002-two.png"]
    expected = sampler.sample(3, inputs=inputs)
    np.testing.assert_array_equal(np.stack(list(made.values())), expected[..., 0])
    words = ("--input", folder / "pictures", "--interpolate", 2)
    assert gan("sample", folder / "encoder", *words, "-o", tmp_path / "line") == 0
    line = images(tmp_path / "line")
    between = sampler.sample(3, inputs=inputs, interpolate=2)
    assert list(line) == [
        "0000-one-000.png", "0000-one-001.png", "0000-one-002.png",
        "0001-three-000.png", "0001-three-001.png", "0001-three-002.png", "0002-two-000.png",
    ]  # fmt: skip
    np.testing.assert_array_equal(np.stack(list(line.values())), between[..., 0])
    # A grid: each input before what is made of it.
    assert gan("sample", folder / "encoder", "--input", folder / "pictures", "-o", tmp_path / "grid.png") == 0
    grid = np.asarray(Image.open(tmp_path / "grid.png"))[::4, ::4]
    cells = [grid[2:18, 2 + 18 * i : 18 + 18 * i] for i in range(6)]
    np.testing.assert_array_equal(cells[0], inputs[0, :, :, 0])
    np.testing.assert_array_equal(cells[5], expected[2, :, :, 0])
    # A row from an input to the next: itself, made again, two between, the next made again, the next itself.
    assert gan("sample", folder / "encoder", *words, "-o", tmp_path / "rows.png") == 0
    rows = np.asarray(Image.open(tmp_path / "rows.png"))[::4, ::4]
    assert rows.shape == (2 * 18 + 2, 6 * 18 + 2)
    np.testing.assert_array_equal(rows[20:36, 2:18], inputs[1, :, :, 0])
    np.testing.assert_array_equal(rows[20:36, 38:54], between[4, :, :, 0])
    np.testing.assert_array_equal(rows[20:36, 92:108], inputs[2, :, :, 0])


def test_images_go_from_one_caption_to_the_next(folder: Path, tmp_path: Path) -> None:
    captions = ["a red bar", "blue", "a blue bar"]
    words = [folder / "captions", "--seed", 4, "--interpolate", 2]
    words += [word for caption in captions for word in ("--text", caption)]
    assert gan("sample", *words, "-o", tmp_path / "line") == 0
    line = images(tmp_path / "line")
    sampler = load_sampler(folder / "captions")
    between = sampler.sample(3, 4, captions=captions, interpolate=2)
    assert list(line) == [f"{i:04d}-sample-{step:03d}.png" for i in range(2) for step in range(3)] + [
        "0002-sample-000.png"
    ]
    np.testing.assert_array_equal(np.stack(list(line.values())), between[..., 0])
    # At the captions are their own images; what lies between two is neither's.
    np.testing.assert_array_equal(between[::3], sampler.sample(3, 4, captions=captions))
    assert len({image.tobytes() for image in between}) == 7
    # On a grid a row from a caption to the next, each end shown in both rows that it has.
    assert gan("sample", *words, "--grid", tmp_path / "rows.png") == 0
    rows = np.asarray(Image.open(tmp_path / "rows.png"))[::4, ::4]
    assert rows.shape == (2 * 18 + 2, 4 * 18 + 2)
    cells = [rows[2 + 18 * row : 18 + 18 * row, 2 + 18 * i : 18 + 18 * i] for row in range(2) for i in range(4)]
    np.testing.assert_array_equal(np.stack(cells), between[[0, 1, 2, 3, 3, 4, 5, 6], :, :, 0])
    # Of one caption there is nothing between: its image alone.
    assert gan("sample", *words[:5], "--text", "blue", "-o", tmp_path / "one") == 0
    (one,) = images(tmp_path / "one").values()
    np.testing.assert_array_equal(one, sampler.sample(1, 4, captions=["blue"])[0, ..., 0])


def test_points_are_numbers_in_a_file(folder: Path, tmp_path: Path) -> None:
    mlp = "{kind: mlp, widths: [8]}"
    networks = (f"method.generator={mlp}", f"method.discriminator={mlp}")
    checkpoint(tmp_path / "points", "data.points=2", *networks)
    assert gan("sample", tmp_path / "points", "-o", tmp_path / "out.npy", "-n", 300) == 0
    expected = load_sampler(tmp_path / "points").sample(300)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected[:, 0, :, 0])
    assert expected.shape == (300, 1, 2, 1)
    assert gan("sample", tmp_path / "points", "-o", tmp_path / "out.png") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["encoder"], "the generator of tiny has to be told what to make; give --input"),
        (["encoder", "--input", "missing.png"], "the image missing.png cannot be read: No such file"),
        (["encoder", "--input", "{folder}/pictures", "--interpolate", "1", "-n", "3"], "leave out --count"),
        (["noise", "--input", "{folder}/pictures"], "takes no --input; it takes --count, --seed"),
        (["noise", "--labels", "1"], "the generator of tiny takes no --labels; it takes --count, --seed"),
        (["classes", "--text", "a seven"], "takes no --text; it takes --labels, --count, --seed"),
        (["captions", "--text", "a", "--interpolate", "1", "-n", "3"], "leave out --count"),
        (["captions", "--text", "a green bar", "--interpolate", "1"], "has words unknown here: green"),
        (["noise", "--no-dropout"], "the generator of tiny has no dropout in sampling; leave the dropout out"),
        (["noise", "--interpolate", "3"], "--interpolate goes between images or texts; give some with --input or"),
        (["classes", "--labels", "1,2", "-n", "1000000"], "2 things, 1,000,000 images of each, are more than 1,000,0"),
        (["classes", "--labels", "1,cat"], "--labels is '1,cat': give classes by number, separated by commas"),
        (["classes", "--labels", "1,10"], "give one label from 0 to 9 for each of the 2 images"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(
    words: list[str], said: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = (word.format(folder=folder) for word in words)
    assert gan("sample", folder / name, *rest, "-o", tmp_path / "out.png") == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert not (tmp_path / "out.png").exists()


def test_nothing_is_drawn_where_the_last_of_many_cannot_be(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are drawn 256 at a time, and seen to all at once before."""
    texts = [word for text in ["a red bar"] * 256 + ["a green bar"] for word in ("--text", text)]
    assert gan("sample", folder / "captions", *texts, "-o", tmp_path / "out") == 2
    assert "has words unknown here: green" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
