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
