"""Contours: where a step is, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from ganlib.data.edges import contours


def test_a_flat_image_has_no_contours_and_neither_has_faint_noise() -> None:
    assert (contours(np.full((16, 16, 3), 77, np.uint8)) == 255).all()
    noise = np.random.default_rng(0).integers(100, 104, (64, 64, 1), dtype=np.uint8)
    assert (contours(noise) == 255).all()


def test_a_step_is_one_line_one_pixel_wide() -> None:
    image = np.zeros((16, 16, 1), np.uint8)
    image[:, 8:] = 200
    lines = contours(image)[..., 0] == 0
    assert lines.sum(axis=1).tolist() == [1] * 16
    assert set(np.nonzero(lines)[1].tolist()) <= {7, 8}
    np.testing.assert_array_equal(contours(image.transpose(1, 0, 2))[..., 0] == 0, lines.T)


def test_a_step_in_one_colour_alone_is_seen() -> None:
    image = np.full((16, 16, 3), 90, np.uint8)
    image[:8, :, 2] = 200
    assert (contours(image)[..., 0] == 0).sum() == 16


def test_a_circle_is_a_closed_line_around_it() -> None:
    y, x = np.mgrid[:64, :64] - 31.5
    lines = contours(np.where(np.hypot(x, y) < 20, 230, 20).astype(np.uint8)[..., None])[..., 0] == 0
    ys, xs = np.nonzero(lines)
    assert np.abs(np.hypot(xs - 31.5, ys - 31.5) - 20).max() < 1.6
    angles = np.sort(np.arctan2(ys - 31.5, xs - 31.5))
    assert np.diff(angles).max() < 2.5 / 20  # no gap wider than two pixels
    assert 100 < len(xs) < 180  # 2 pi 20 = 126 long, 4 * 2 * 20 / sqrt(2) = 113 pixels joined by corners


def test_a_faint_line_counts_only_where_a_strong_one_goes_on_in_it() -> None:
    image = np.zeros((40, 40, 1), np.uint8)
    image[:, 20:] = np.linspace(250, 40, 40).astype(np.uint8)[:, None, None]  # strong above, faint below
    assert ((contours(image)[..., 0] == 0).sum(axis=1) >= 1).all()
    image[:28] = 0  # the faint part, beside a strong mark elsewhere, fades to nothing
    image[2:8, 2:8] = 255
    image[28:, 20:] = 20
    assert not (contours(image)[32:, :, 0] == 0).any()


@pytest.mark.parametrize("channels", [1, 3])
def test_contours_have_the_images_shape_and_two_values(channels: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (20, 30, channels), dtype=np.uint8)
    lines = contours(image)
    assert lines.shape == image.shape
    assert lines.dtype == np.uint8
    assert set(np.unique(lines)) == {0, 255}
    assert (lines == lines[..., :1]).all()
