"""Pictures of any size to squares, and boxes and keypoints with them; numbers counted by hand."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from PIL import Image

from ganlib.data.geometry import Placement, Squares, fit
from ganlib.data.sources.base import BadRecordError

from .list_source import noise


@pytest.mark.parametrize("size", [(40, 20), (20, 33), (7, 9), (300, 200)])
@pytest.mark.parametrize("channels", [1, 3])
def test_crop_is_the_centre_square_by_pillows_filter(size: tuple[int, int], channels: Literal[1, 3]) -> None:
    image = noise(1, *size, channels)
    left, top, right, bottom = Placement.of(*size, 10, "crop").source
    theirs = np.asarray(image.crop((left, top, right, bottom)).resize((10, 10), Image.Resampling.LANCZOS))
    assert np.abs(fit(image, 10, channels) - theirs.reshape(10, 10, channels).astype(int)).max() <= 1
    assert Placement.of(30, 20, 10, "crop").source == (5, 0, 25, 20)


def test_an_image_of_its_size_keeps_its_pixels() -> None:
    pixels = np.asarray(noise(2, 8, 11))
    np.testing.assert_array_equal(fit(Image.fromarray(pixels), 8, 3), pixels[1:9])
    padded = fit(Image.fromarray(pixels), 11, 3, "pad")
    np.testing.assert_array_equal(padded[:, 1:9], pixels)
    assert not padded[:, :1].any()
    assert not padded[:, 9:].any()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("waiting", [None, 5000])
def test_pictures_resized_together_are_those_resized_alone(
    channels: Literal[1, 3], waiting: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if waiting is not None:
        monkeypatch.setattr("ganlib.data.geometry._MOST_WAITING", waiting)
    images = [noise(5 + number, *size, channels) for number, size in enumerate([(40, 20), (20, 40), (16, 16)] * 3)]
    found = np.full((len(images), 16, 16, channels), 99, np.uint8)  # black around a padded one is written, not assumed
    squares = Squares()
    for square, image in zip(found, images, strict=True):
        squares.fill(square, image, Placement.of(*image.size, 16, "pad"))
    squares.finish()
    for square, image in zip(found, images, strict=True):
        wide, high = ({40: 16, 20: 8, 16: 16}[side] for side in image.size)
        theirs = np.asarray(image.resize((wide, high), Image.Resampling.LANCZOS)).reshape(high, wide, channels)
        left, top = (16 - wide) // 2, (16 - high) // 2
        part = square[top : top + high, left : left + wide].astype(int)
        assert np.abs(part - theirs).max() <= 1
        assert square.sum(dtype=int) == part.sum()
        np.testing.assert_array_equal(square, fit(image, 16, channels, "pad"))


def test_pad_brings_the_longer_side_to_size_on_black() -> None:
    image = Image.new("RGB", (40, 10), (200, 100, 50))
    padded = fit(image, 16, 3, "pad")  # 16 x 4, rows 6 to 9
    assert (padded[6:10] == (200, 100, 50)).all()
    assert not padded[:6].any()
    assert not padded[10:].any()
    np.testing.assert_array_equal(padded[..., :1], fit(image.getchannel("R"), 16, 1, "pad"))


def test_grey_is_rec_601_luma_and_colour_from_grey_repeats_it() -> None:
    image = noise(3, 8, 8)
    by_hand = np.asarray(image).astype(float) @ (0.299, 0.587, 0.114)
    np.testing.assert_allclose(fit(image, 8, 1)[..., 0], by_hand, atol=1)
    grey = noise(4, 8, 8, 1)
    np.testing.assert_array_equal(fit(grey, 8, 3), np.repeat(np.asarray(grey)[..., None], 3, axis=2))


@pytest.mark.parametrize("how", ["crop", "pad"])
def test_small_and_thin_images_become_the_size_too(how: str) -> None:
    for size in ((1, 1), (3, 2), (1, 500), (500, 1)):
        assert fit(Image.new("RGB", size, "white"), 16, 3, how).shape == (16, 16, 3)  # type: ignore[arg-type]
    assert (fit(Image.new("L", (2, 3), 255), 16, 1, "crop") == 255).all()


def test_boxes_follow_the_crop() -> None:
    crop = Placement.of(200, 100, 50, "crop")  # x from 50 to 150 is kept
    np.testing.assert_allclose(crop.box((75, 25, 50, 50)), (0.25, 0.25, 0.5, 0.5))
    np.testing.assert_allclose(crop.box((0, 10, 75, 20)), (0, 0.1, 0.25, 0.2), atol=1e-7)
    for outside in ((0, 0, 50, 100), (150, 0, 10, 10), (60, -20, 10, 20)):
        with pytest.raises(BadRecordError, match="outside"):
            crop.box(outside)
    for flat in ((60, 10, 0, 5), (60, 10, 5, -1), (60, 10, float("nan"), 5), (60, 10, float("inf"), 5)):
        with pytest.raises(BadRecordError, match="no area"):
            crop.box(flat)


def test_boxes_follow_the_padding_and_end_with_the_picture() -> None:
    pad = Placement.of(200, 100, 50, "pad")  # 50 x 25, rows 12 to 36
    assert pad.target == (0, 12, 50, 37)
    np.testing.assert_allclose(pad.box((100, 0, 100, 100)), (0.5, 0.24, 0.5, 0.5), atol=1e-7)
    np.testing.assert_allclose(pad.box((100, -50, 500, 500)), (0.5, 0.24, 0.5, 0.5), atol=1e-7)


def test_keypoints_that_fall_outside_are_not_seen() -> None:
    points = np.array(
        [[100, 50, 1], [49, 50, 1], [150, 100, 1], [100, 50, 0], [np.nan, 0, 0], [np.nan, 0, 1]], np.float32
    )
    placed = Placement.of(200, 100, 50, "crop").keypoints(points)
    expected = [[0.5, 0.5, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert placed.tolist() == expected
    assert placed.dtype == np.float32
    in_the_border = np.array([[100, -10, 1], [100, 0, 1]], np.float32)
    placed = Placement.of(200, 100, 50, "pad").keypoints(in_the_border)
    np.testing.assert_allclose(placed, np.array([[0, 0, 0], [0.5, 0.24, 1]]), atol=1e-7)


def test_a_marked_pixel_goes_where_its_keypoint_goes() -> None:
    """White 8x8 patch on black: the brightest place after resizing is the keypoint's."""
    for how in ("crop", "pad"):
        pixels = np.zeros((120, 200), np.uint8)
        pixels[40:48, 88:96] = 255
        placement = Placement.of(200, 120, 60, how)
        x, y, seen = placement.keypoints(np.array([[92, 44, 1]], np.float32))[0] * (60, 60, 1)
        ys, xs = np.nonzero(fit(Image.fromarray(pixels), 60, 1, how)[..., 0] > 100)
        assert seen == 1
        assert abs(xs.mean() + 0.5 - x) < 0.5
        assert abs(ys.mean() + 0.5 - y) < 0.5
