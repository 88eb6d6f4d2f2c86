"""Pictures, laid out by hand and read back with Pillow."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import GifImagePlugin, Image

from ganlib.pictures import animate, curves, grid, png, sheet, side_by_side, to_image

Series = dict[str, dict[str, list[tuple[int, float]]]]


def test_a_grid_of_two_by_two_pixels() -> None:
    """Three images in two columns, a white gap of one pixel around each, all of it 32 times as large."""
    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1)
    w = 255
    expected = [
        [w, w, w, w, w, w, w],
        [w, 0, 1, w, 4, 5, w],
        [w, 2, 3, w, 6, 7, w],
        [w, w, w, w, w, w, w],
        [w, 8, 9, w, w, w, w],
        [w, 10, 11, w, w, w, w],
        [w, w, w, w, w, w, w],
    ]
    picture = grid(images, gap=1)
    assert picture.mode == "L"
    np.testing.assert_array_equal(np.asarray(picture), np.kron(np.array(expected), np.ones((32, 32), int)))


def test_a_grid_has_the_columns_that_are_asked_for() -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 64, 80, 3), dtype=np.uint8)
    for columns, width, height in ((None, 3, 2), (2, 2, 3), (6, 6, 1), (7, 7, 1)):
        picture = grid(images, columns)
        assert picture.mode == "RGB"
        assert picture.size == (width * 82 + 2, height * 66 + 2)  # 64 pixels are large enough as they are
        np.testing.assert_array_equal(np.asarray(picture)[2:66, 2:82], images[0])
    np.testing.assert_array_equal(np.asarray(grid(images, 2))[2 + 2 * 66 : 2 * 66 + 66, 84:164], images[5])


def test_what_is_made_stands_to_the_right_of_its_input() -> None:
    """Five pairs of 64x64, four a row: the second row has the fifth of them, and then nothing."""
    inputs = np.zeros((5, 64, 64, 1), np.uint8) + np.arange(5, dtype=np.uint8)[:, None, None, None]
    picture = np.asarray(side_by_side(inputs, inputs + 100))
    assert picture.shape == (2 * 66 + 2, 8 * 66 + 2)
    assert picture[10, 10::66].tolist() == [0, 100, 1, 101, 2, 102, 3, 103]
    assert picture[76, 10::66].tolist() == [4, 104] + [255] * 6


def test_a_png_holds_the_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(to_image(pixels))))), pixels)


def frames(folder: Path, count: int) -> list[Path]:
    """PNG files, each with one white row at its own height."""
    paths = []
    for index in range(count):
        pixels = np.zeros((count, 4, 1), np.uint8)
        pixels[index] = 255
        paths.append(folder / f"{index:04d}.png")
        paths[-1].write_bytes(png(to_image(pixels)))
    return paths


@pytest.mark.parametrize("count", [1, 2, 5, 60])
def test_an_animation_shows_every_frame_and_holds_the_last(count: int, tmp_path: Path) -> None:
    animate(frames(tmp_path, count), tmp_path / "animation.gif", milliseconds=120)
    durations = []
    with GifImagePlugin.GifImageFile(tmp_path / "animation.gif") as gif:
        assert gif.n_frames == count
        for index in range(count):
            gif.seek(index)
            durations.append(gif.info.get("duration"))
            assert np.asarray(gif.convert("L")).argmax(0).tolist() == [index] * 4
    if count > 1:
        assert durations == [120] * (count - 1) + [2000]


def test_a_long_animation_is_thinned_out_and_keeps_its_ends(tmp_path: Path) -> None:
    animate(frames(tmp_path, 150), tmp_path / "animation.gif")
    with GifImagePlugin.GifImageFile(tmp_path / "animation.gif") as gif:
        assert gif.n_frames == 51  # every third of the first 149, and the last
        assert np.asarray(gif.convert("L")).argmax(0).tolist() == [0] * 4
        gif.seek(gif.n_frames - 1)
        assert np.asarray(gif.convert("L")).argmax(0).tolist() == [149] * 4


def test_curves_are_a_png_with_a_panel_for_each_title(tmp_path: Path) -> None:
    losses = {"generator": [(0, 1.0), (1000, 0.5)], "discriminator": [(0, 1.4), (1000, 1.2)], "empty": []}
    two: Series = {"loss": losses, "D": {"d_real": [(0, 0.5)]}, "nothing": {"x": []}}
    heights = []
    for series in ({"loss": losses}, two, {}):
        curves(series, tmp_path / "curves.png")
        with Image.open(tmp_path / "curves.png") as picture:
            assert picture.format == "PNG"
            heights.append(picture.height)
            # A flat white picture would have one value.
            assert series == {} or len(np.unique(np.asarray(picture.convert("L")))) > 10
    assert heights == [286, 572, 286]  # 2.6 inches a panel at 110 dots an inch
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_a_sheet_holds_each_picture_below_its_title(tmp_path: Path) -> None:
    colours = {"1 epoch": (250, 0, 0), "5 epochs": (0, 250, 0), "10 epochs": (0, 0, 250), "20 epochs": (9, 9, 9)}
    for title, colour in colours.items():
        Image.new("RGB", (50, 40), colour).save(tmp_path / f"{title}.png")
    sheet({title: tmp_path / f"{title}.png" for title in colours}, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as whole:
        # Three across and two down; cells are 8 wider and 32 higher than a picture, which begins at (4, 28) of its own.
        assert whole.size == (3 * 58, 2 * 72)
        pixels = whole.load()
        for position, colour in enumerate(colours.values()):
            x, y = position % 3 * 58 + 4, position // 3 * 72 + 28
            assert pixels[x, y] == pixels[x + 49, y + 39] == colour
            assert pixels[x + 50, y] == (255, 255, 255)
