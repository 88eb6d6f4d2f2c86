"""Samples that are copies of training images, that are held-out images, and what lies between."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from ganlib.data import Dataset
from ganlib.evaluation.memorisation import (
    LOW,
    memorisation_distance,
    memorised_by_chance,
    memorised_share,
    memory_radius,
    mifid,
    nearest_in_features,
    nearest_in_pixels,
)
from ganlib.evaluation.neighbours import nearest
from ganlib.evaluation.random_network import RandomExtractor
from ganlib.networks.base import ImageShape

from .test_neighbours import cloud

TRAINING = cloud(500, 10, 0)


def distances(samples: np.ndarray) -> np.ndarray:
    return nearest(samples, TRAINING)[0]


@pytest.mark.parametrize("copied", [0, 100, 400])
def test_the_share_of_copies_is_what_is_memorised(copied: int) -> None:
    fresh, held_out = cloud(400 - copied, 10, 1), cloud(1_000, 10, 2)
    samples = np.concatenate([TRAINING[:copied] + np.float32(1e-3), fresh])
    # Of what is fresh, LOW is expected below the quantile: at most 4 more than that in 400 by four deviations of it.
    share, error = memorised_share(distances(samples), memory_radius(distances(held_out)))
    assert copied / 400 <= share <= copied / 400 + LOW + 4 * np.sqrt(LOW / 400)
    assert error == pytest.approx(np.sqrt(share * (1 - share) / 399), rel=1e-9)  # of a share


def test_held_out_images_themselves_are_below_their_own_quantile_by_its_share() -> None:
    held_out = distances(cloud(1_001, 10, 2))
    assert (
        memorised_share(held_out, memory_radius(held_out)).value == 10 / 1_001
    )  # below the eleventh, by LOW of 1,000 steps
    # Where held-out images are copies too, nothing can be told.
    assert memorised_share(np.zeros(5), memory_radius(np.zeros(5))) == (0, 0)


@pytest.mark.parametrize("held_out", [12, 150])
def test_a_generator_that_remembers_nothing_has_more_than_chance_gives_once_in_a_hundred(held_out: int) -> None:
    random = np.random.default_rng(0)
    radii = np.array([memory_radius(random.random(held_out)) for _ in range(20_000)])
    # Of uniform distances the share below a radius is the radius. 200 of 20,000 by 4.3 deviations of 14.
    assert abs(int((radii > memorised_by_chance(held_out)).sum()) - 200) <= 60
    assert memorised_by_chance(1) == pytest.approx(0.99)  # below one uniform number lies 0.99 once in a hundred


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


def test_the_nearest_in_pixels_is_the_image_itself(digits16: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """And of an image a grey level off in every pixel, that one, 1/255 away; in whichever block it lies."""
    monkeypatch.setattr("ganlib.evaluation.memorisation.BLOCK_BYTES", 1_000 * 4 * 16 * 16)
    train = digits16.split("train")
    own, every = train.take(np.array([7, 1_200])), np.arange(len(train))
    apart, rows = nearest_in_pixels(own.repeat(600, 0), train.take, every)
    assert rows.tolist() == [7] * 600 + [1_200] * 600
    apart, rows = nearest_in_pixels(own, train.take, every)
    assert (train.take(rows) == own).all()
    assert apart.tolist() == [0, 0]
    apart, rows = nearest_in_pixels(np.where(own > 127, own - 1, own + 1).astype(np.uint8), train.take, every)
    assert (train.take(rows) == own).all()
    assert apart == pytest.approx(1 / 255, rel=1e-5)
    # Among some rows, their nearest is one of these.
    among = np.array([3, 7, 900])
    apart, rows = nearest_in_pixels(own, train.take, among)
    squares = np.square(own[:, None] / 255 - train.take(among)[None] / 255).mean((2, 3, 4))
    assert rows.tolist() == among[squares.argmin(1)].tolist()
    assert apart == pytest.approx(np.sqrt(squares.min(1)), abs=1e-6)


def test_the_nearest_in_features_is_the_image_itself_whatever_the_order_of_what_is_kept(
    digits16: Dataset, tmp_path: Path
) -> None:
    dataset = Dataset.open(shutil.copytree(digits16.path, tmp_path / digits16.path.name))
    extractor, train = RandomExtractor(ImageShape(16, 16, 1)), dataset.split("train")
    own = train.take(np.array([7, 1_200, 3]))
    apart, rows = nearest_in_features(own, dataset, extractor)
    assert (train.take(rows) == own).all()
    assert apart == pytest.approx(0, abs=1e-3)
    # Of held-out images by all distances to all of them.
    held = dataset.split("test").take(np.arange(5))
    ours, theirs = (extractor.features(images)[0] for images in (held, train.take(np.arange(len(train)))))
    every = np.linalg.norm(ours[:, None] - theirs[None], axis=2)
    apart, rows = nearest_in_features(held, dataset, extractor)
    assert rows.tolist() == every.argmin(1).tolist()
    assert apart == pytest.approx(every.min(1), rel=1e-4)
