"""Sharpness and variety of images beside real ones: sums in splits, against pairs and images one by one."""

from itertools import combinations

import numpy as np
import pytest

from ganlib.evaluation.pixels import PixelSplits, PixelStatistics
from ganlib.evaluation.sharpness import laplacian_variance

RANDOMNESS = np.random.default_rng(0)
REAL = RANDOMNESS.integers(0, 256, (30, 6, 5, 3), dtype=np.uint8)
MADE = RANDOMNESS.integers(80, 200, (43, 6, 5, 3), dtype=np.uint8)


def in_blocks(images: np.ndarray, *sizes: int) -> PixelSplits:
    splits = PixelSplits(len(images))
    for block in np.split(images, np.cumsum(sizes)):
        splits.add(block)
    return splits


def between_pairs(images: np.ndarray) -> float:
    levels = images.reshape(len(images), -1) / 255
    return float(np.sqrt(np.mean([np.square(a - b).sum() for a, b in combinations(levels, 2)])))


def test_both_are_1_of_the_images_themselves_whatever_the_blocks() -> None:
    whole = PixelStatistics.of(REAL)
    found = in_blocks(REAL, 7, 1, 12).metrics(whole)
    assert (found["sharpness"], found["pixel_variety"]) == (pytest.approx(1), pytest.approx(1))


def test_they_are_means_over_images_and_distances_over_pairs() -> None:
    found = in_blocks(MADE, 20).metrics(PixelStatistics.of(REAL))
    assert found["sharpness"] == pytest.approx(laplacian_variance(MADE).mean() / laplacian_variance(REAL).mean())
    assert found["pixel_variety"] == pytest.approx(between_pairs(MADE) / between_pairs(REAL))


def test_the_error_is_what_leaving_out_a_tenth_says() -> None:
    found = in_blocks(MADE, 20).metrics(PixelStatistics.of(REAL))
    parts = np.arange(43) * 10 // 43
    without = [between_pairs(MADE[parts != part]) / between_pairs(REAL) for part in range(10)]
    assert found["pixel_variety_se"] == pytest.approx(np.sqrt(9 * np.var(without)))
    without = [laplacian_variance(MADE[parts != part]).mean() / laplacian_variance(REAL).mean() for part in range(10)]
    assert found["sharpness_se"] == pytest.approx(np.sqrt(9 * np.var(without)))


def test_one_image_over_and_over_has_no_variety() -> None:
    assert in_blocks(REAL[:1].repeat(25, 0), 10).metrics(PixelStatistics.of(REAL))["pixel_variety"] == pytest.approx(0)


def test_what_cannot_be_told_is_not_there() -> None:
    assert in_blocks(MADE[:19]).metrics(PixelStatistics.of(REAL)) == {}
    assert in_blocks(MADE).metrics(PixelStatistics.of(REAL[:19])) == {}
    flat = np.full((20, 6, 5, 3), 9, np.uint8)
    assert in_blocks(MADE).metrics(PixelStatistics.of(flat)) == {}
    narrow = MADE[:, :2]
    assert "sharpness" not in in_blocks(narrow).metrics(PixelStatistics.of(REAL[:, :2]))
