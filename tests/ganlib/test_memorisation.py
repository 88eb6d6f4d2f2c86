"""Samples that are copies of training images, that are held-out images, and what lies between."""

import numpy as np
import pytest

from ganlib.evaluation.memorisation import (
    LOW,
    memorisation_distance,
    memorised_share,
    memory_radius,
    mifid,
    nearest_in_pixels,
)
from ganlib.evaluation.neighbours import nearest

from .test_neighbours import cloud

TRAINING = cloud(500, 10, 0)


def distances(samples: np.ndarray) -> np.ndarray:
    return nearest(samples, TRAINING)[0]


@pytest.mark.parametrize("copied", [0, 100, 400])
def test_the_share_of_copies_is_what_is_memorised(copied: int) -> None:
    fresh, held_out = cloud(400 - copied, 10, 1), cloud(1_000, 10, 2)
    samples = np.concatenate([TRAINING[:copied] + np.float32(1e-3), fresh])
    # Of what is fresh, LOW is expected below the quantile: at most 4 more than that in 400 by four deviations of it.
    share = memorised_share(distances(samples), memory_radius(distances(held_out)))
    assert copied / 400 <= share <= copied / 400 + LOW + 4 * np.sqrt(LOW / 400)


def test_held_out_images_themselves_are_below_their_own_quantile_by_its_share() -> None:
    held_out = distances(cloud(1_001, 10, 2))
    assert memorised_share(held_out, memory_radius(held_out)) == 10 / 1_001  # below the eleventh, by LOW of 1,000 steps
    assert (
        memorised_share(np.zeros(5), memory_radius(np.zeros(5))) == 0
    )  # held-out images are copies too: nothing can be told


def test_the_distance_of_memorisation_is_the_mean_least_angle() -> None:
    training = np.array([[1.0, 0], [0, 2]])
    samples = np.array([[3.0, 0], [5, 5], [-1, 0], [0, 0]])
    # A copy but for its length; 45 degrees from both; the opposite, whose cosine counts as its size; nothing at all.
    expected = (0 + (1 - np.sqrt(0.5)) + 0 + 1) / 4
    assert memorisation_distance(samples, training) == pytest.approx(expected, rel=1e-12)


def test_mifid_is_the_frechet_distance_unless_samples_are_too_near() -> None:
    assert mifid(12.0, 0.3) == 12
    assert mifid(12.0, 0.1) == 12
    assert mifid(12.0, 0.05) == pytest.approx(12 / 0.05, rel=1e-4)
    assert mifid(12.0, 0.3, threshold=0.4) == pytest.approx(40, rel=1e-4)
    assert np.isfinite(mifid(12.0, 0.0))


def test_the_nearest_image_in_pixels() -> None:
    draw = np.random.default_rng(0)
    training = draw.integers(0, 256, (2_100, 4, 4, 3), dtype=np.uint8)  # more than a block
    images = training[[2_099, 3]].copy()
    images[1, 0, 0, 0] ^= 16
    found, index = nearest_in_pixels(images, training)
    assert index.tolist() == [2_099, 3]
    assert found == pytest.approx([0, 16 / 255 / np.sqrt(48)], rel=1e-5)
