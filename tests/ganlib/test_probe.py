"""What is looked at once a tick, against figures worked out by hand; and that looking leaves no trace."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ganlib.data import Dataset
from ganlib.data.batches import open_batches
from ganlib.training.probe import FEWEST, spreads
from ganlib.training.trainer import Trainer
from ganlib.training.world import World

from .conftest import BATCH_NORM, tiny_recipe


def ring(modes: list[int], each: int) -> Tensor:
    """[len(modes) * each, 1, 1, 2]: so many points at each of those of eight modes on the unit circle."""
    angles = torch.tensor(modes, dtype=torch.float64) * math.pi / 4
    points = torch.stack([angles.cos(), angles.sin()], 1)
    return points.repeat(each, 1).view(-1, 1, 1, 2)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_neighbours_of_a_ring_have_the_spread_and_the_shift_of_their_chord(count: int) -> None:
    """k neighbours' mean is sin(k pi / 8) / (k sin(pi / 8)) from the middle; the mean square about it is 1 - that^2."""
    each, whole = 4_000, ring(list(range(8)), 1_000)
    away = math.sin(count * math.pi / 8) / (count * math.sin(math.pi / 8))
    found = spreads(whole, ring(list(range(count)), each), World())
    assert found["variety"].item() == pytest.approx(math.sqrt(max(1 - away**2, 0)), abs=1e-3)
    assert found["shift"].item() == pytest.approx(away, abs=1e-3)


def test_variety_is_the_ratio_of_mean_square_distances_between_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    real, fake = (scale * torch.randn(20, 3, 4, 4, generator=generator) for scale in (1.0, 0.6))
    pairs = [torch.cdist(x.flatten(1).double(), x.flatten(1).double()).square().sum() for x in (fake, real)]
    assert spreads(real, fake, World())["variety"].item() == pytest.approx(math.sqrt(pairs[0] / pairs[1]), rel=1e-9)


def test_the_shift_of_samples_of_one_density_is_no_more_than_chance() -> None:
    """E|m - m'|^2 is 2 tr C / n, which is taken off: of 200 draws the mean of what is left over is 0."""
    generator = torch.Generator().manual_seed(1)
    left = []
    for _ in range(200):
        real, fake = torch.randn(2, 16, 50, generator=generator)
        left.append(spreads(real, fake, World())["shift"].item() ** 2)
    # Clamped at 0, a normal variable of mean 0 has the mean s / sqrt(2 pi), s^2 = 2 / 50 (2 / 16)^2.
    assert sum(left) / 200 == pytest.approx(math.sqrt(2 / 50) / 8 / math.sqrt(2 * math.pi), rel=0.3)


def test_of_a_handful_of_images_nothing_is_said() -> None:
    images = torch.randn(FEWEST - 1, 5)
    assert spreads(images, images, World()) == {}


def test_what_a_fake_carries_beside_its_image_is_left_out() -> None:
    images = torch.randn(10, 1, 4, 4)
    carrying = torch.cat([images, torch.full((10, 2, 4, 4), 9.0)], 1)
    assert spreads(images, carrying, World()) == spreads(images, images, World())


@pytest.mark.parametrize("every", [1, 16], ids=["a penalty that is due", "a lazy one"])
def test_the_held_out_judgement_is_that_of_test_images(every: int, digits16: Dataset, tmp_path: Path) -> None:
    """After one round, whose tick is number 1: D as it is now, on batch 1 of the test split."""
    penalty = f"method.penalty={{kind: r1, gamma: 1, every: {every}}}"
    recipe = tiny_recipe(tmp_path, "train.images=16", "train.tick=16", penalty)
    trainer = Trainer(recipe, digits16)
    (tick,) = trainer.run()
    held_out = open_batches(digits16.split("test"), 16, recipe.train.seed, (0, 16), loading="resident")[1].images
    judged = torch.sigmoid(trainer.method.discriminator(held_out)).mean().item()
    assert tick.metrics["d_heldout"] == pytest.approx(judged, rel=1e-5)


def test_looking_moves_no_running_statistics(digits16: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(tiny_recipe(tmp_path, BATCH_NORM, "method.augment={kind: adaptive}"), digits16)
    batch, latents = trainer.batches[0], trainer.method.draw(trainer.draws, "discriminator/0")
    before = [buffer.clone() for buffer in trainer.method.buffers()]
    found = trainer.probe.look(trainer.method, batch, latents, 3)
    assert found.keys() == {"d_fake_after_g", "d_heldout", "variety", "shift"}
    assert all(torch.equal(old, new) for old, new in zip(before, trainer.method.buffers(), strict=True))
    assert all(parameter.grad is None for parameter in trainer.method.parameters())


def test_without_held_out_images_enough_for_a_batch_none_are_judged(digits16: Dataset, tmp_path: Path) -> None:
    batch = len(digits16.split("test")) + 1
    recipe = tiny_recipe(tmp_path, f"train.batch={batch}", f"train.images={batch}")
    (tick,) = Trainer(recipe, digits16).run()
    assert "d_heldout" not in tick.metrics
    assert {"variety", "shift"} <= tick.metrics.keys()


def test_of_real_images_that_are_all_one_nothing_is_said() -> None:
    """Masks of a batch may all be empty: a ratio to no spread would end a healthy run as one that diverged."""
    fakes = torch.randn(FEWEST, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert spreads(torch.full_like(fakes, -1.0), fakes, World()) == {}
