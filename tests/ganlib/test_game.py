"""What the game does to what D is shown, by hand: augmentation steered by D's logits, noise that falls, who sees it."""

from __future__ import annotations

import pytest
import torch
import yaml
from torch import Tensor, nn

from ganlib.draws import Draws
from ganlib.methods.game import Game, GameConfig
from ganlib.recipe import Recipe

from .conftest import TINY

BATCH = 4


def game(*overrides: str) -> Game:
    config = Recipe.parse(yaml.safe_load(TINY), overrides).method
    assert isinstance(config, GameConfig)
    return Game(config, nn.Identity())


# ------------------------------------------------------------------------------------------- adaptive augmentation

STEERED = "method.augment={kind: adaptive, probability: 0.5, speed_images: 100, %s}"
UNCHANGED = "colour: false, translation: false, cutout: false"
"""No change is made, so that a D which puts out what it sees has the logits that a test gives it as images."""


def steered(objective: str, steps: list[Tensor]) -> list[float]:
    """The probability, 0.5 at first, after each step of D whose logits of real images are these."""
    played = game(f"method.objective={objective}", STEERED % UNCHANGED)
    found = []
    for step, real in enumerate(steps):
        # Fakes of other signs: only what D says of real images counts.
        draws = Draws(0, len(real), (0, len(real)), "cpu")
        loss = played.discriminator_loss(nn.Identity(), real, torch.full_like(real, -5), (), draws, step)
        assert loss.parts["augment/probability"] == played.probability
        found.append(played.probability.item())
    return found


@pytest.mark.parametrize(
    ("objective", "logits", "moved"),
    [
        # D = sigmoid(a) is above 1/2 where a is above 0: of four, four and three; (4 - 0) / 4 and (3 - 1) / 4.
        ("minimax", [0.1, 0.2, 0.3, 0.4], 0.16),
        ("minimax", [-0.1, 0.2, 0.3, 0.4], -0.16),
        ("non-saturating", [0.1, 0.2, 0.3, 0.4], 0.16),
        ("non-saturating", [-0.1, 0.2, 0.3, 0.4], -0.16),
        # D = a, between 0 for fakes and 1 for real images: all are above 0, and two of four above 1/2.
        ("least-squares", [0.9, 0.7, 0.6, 0.8], 0.16),
        ("least-squares", [0.9, 0.7, 0.2, 0.3], -0.16),
        ("least-squares", [1.9, 1.7, 0.6, 0.4], -0.16),
        # Margins at -1 and 1.
        ("hinge", [0.1, 0.2, 0.3, 0.4], 0.16),
        ("hinge", [-0.1, 0.2, 0.3, 0.4], -0.16),
    ],
)
def test_augmentation_follows_the_share_of_real_images_that_d_takes_for_real(
    objective: str, logits: list[float], moved: float
) -> None:
    """A move each fourth step, by the 16 images since the last, 16 / 100: up above a mean sign of 0.6, else down."""
    found = steered(objective, [torch.tensor(logits).view(BATCH, 1, 1, 1)] * 8)
    assert found == pytest.approx([0.5] * 3 + [0.5 + moved] * 4 + [0.5 + 2 * moved], abs=1e-6)


@pytest.mark.parametrize(
    ("objective", "unsure"), [("non-saturating", [1.0, 1.0, 1.0, -4.0]), ("least-squares", [0.6, 0.6, 0.6, -3.0])]
)
def test_patches_of_one_image_are_one_judgement(objective: str, unsure: list[float]) -> None:
    """Two images whose patches' mean is below 1/2, two above: 0 on the mean; patch by patch it were (2 + 4) / 8."""
    logits = torch.tensor([unsure, unsure, [2.0] * 4, [2.0] * 4]).view(BATCH, 1, 2, 2)
    assert steered(objective, [logits] * 4) == pytest.approx([0.5, 0.5, 0.5, 0.34], abs=1e-6)


def test_a_move_is_made_of_all_steps_since_the_last() -> None:
    """One sure step of four is a mean of -1/2, and then three of four one of 1/2; four sure ones are 1."""
    sure, not_sure = torch.ones(BATCH, 1, 1, 1), -torch.ones(BATCH, 1, 1, 1)
    found = steered("non-saturating", [*[not_sure] * 3, *[sure] * 4, not_sure, *[sure] * 4])
    assert found[3::4] == pytest.approx([0.34, 0.18, 0.34], abs=1e-6)


# ----------------------------------------------------------------------------------------- what D is shown of images


class Seeing(nn.Module):
    """A D that keeps what it was shown; a logit is the image's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach())
        return images.flatten(1).mean(1)


def draws(step: int, done: float, batch: int = BATCH) -> Draws:
    drawn = Draws(0, batch, (0, batch), "cpu")
    drawn.at(step, done)
    return drawn


@pytest.mark.parametrize(("done", "sigma"), [(0.0, 0.8), (0.125, 0.6), (0.25, 0.4), (0.5, 0.0), (0.9, 0.0)])
def test_instance_noise_falls_to_0_in_its_share_of_the_run(done: float, sigma: float) -> None:
    """0.8 (1 - done / 0.5); of 49,152 numbers a standard deviation is known to 0.3 percent, a mean to 0.0036."""
    noisy = game("method.instance_noise={sigma: 0.8, until: 0.5}")
    images = torch.zeros(64, 3, 16, 16)
    noise = noisy._veiled(images, draws(3, done, 64))
    assert noise.std().item() == pytest.approx(sigma, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.02 * sigma)
    # It is added to what is there, and is of the step; each batch that is shown in a step has its own.
    torch.testing.assert_close(noisy._veiled(images + 2, draws(3, done, 64)), noise + 2)
    if sigma:
        assert (noisy._veiled(images, draws(4, done, 64)) - noise).std() > sigma
        one_step = draws(3, done, 64)
        first, second = (noisy._veiled(images, one_step) for _ in range(2))
        assert (first - second).std().item() == pytest.approx(sigma * 2**0.5, rel=0.02)


def test_both_sides_see_noise_on_real_and_fake_alike() -> None:
    noisy, judge = game("method.instance_noise={sigma: 0.5}", "method.objective=relativistic"), Seeing()
    real, fake = torch.zeros(BATCH, 1, 16, 16), torch.ones(BATCH, 1, 16, 16)
    noisy.discriminator_loss(judge, real, fake, (), draws(0, 0), 0)
    noisy.generator_loss(judge, real, fake, (), draws(0, 0))
    both, of_generator, beside = judge.seen
    for shown, mean in ((both[:BATCH], 0), (both[BATCH:], 1), (of_generator, 1), (beside, 0)):
        assert (shown - mean).std().item() == pytest.approx(0.5, rel=0.1)


AUGMENTED = ["method.augment={kind: fixed, colour: false, translation: false}"]


def test_the_discriminator_sees_holes_in_real_and_fake_alike() -> None:
    """Holes of half the size in 16x16 images: of 64 pixels, or fewer at an edge, at least 4x4."""
    judge = Seeing()
    ones = torch.ones(BATCH, 1, 16, 16)
    game(*AUGMENTED).discriminator_loss(judge, ones, ones, (), draws(0, 0), 0)
    (both,) = judge.seen
    holes = (both == 0).flatten(1).sum(1)
    assert len(holes) == 2 * BATCH
    assert all(16 <= hole <= 64 for hole in holes.tolist())
    assert not torch.equal(both[:BATCH], both[BATCH:])  # each at places of its own


@pytest.mark.parametrize("objective", ["non-saturating", "relativistic"])
def test_the_generator_learns_through_the_augmentation_of_its_fakes(objective: str) -> None:
    judge = Seeing()
    fakes = torch.ones(BATCH, 1, 16, 16, requires_grad=True)
    real = torch.ones(BATCH, 1, 16, 16)
    loss = game(*AUGMENTED, f"method.objective={objective}").generator_loss(judge, real, fakes, (), draws(0, 0))
    (slope,) = torch.autograd.grad(loss.total, fakes)
    shown, *beside = judge.seen
    assert all((image == 0).sum() >= 16 for image in shown)
    # A pixel in a hole is of no account to D, and every other one is.
    assert torch.equal(slope == 0, shown == 0)
    # The real images that a pair needs are shown as D is shown them.
    assert len(beside) == (objective == "relativistic")
    assert all((image == 0).sum() >= 16 for images in beside for image in images)
