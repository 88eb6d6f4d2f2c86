"""From one latent to the next: the great circle, worked out by hand, and the images along it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ganlib.data import Dataset
from ganlib.methods.base import SampleRequest
from ganlib.methods.blocks import great_circle, latents_of
from ganlib.methods.noise_to_image import NoiseToImage
from ganlib.training.trainer import Trainer

from .conftest import tiny_recipe


def test_halfway_between_east_and_north_is_north_east() -> None:
    east, north = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    for share in (0.0, 1 / 3, 0.5, 1.0):
        angle = share * math.pi / 2
        expected = [[2 * math.cos(angle), 2 * math.sin(angle)]]
        torch.testing.assert_close(great_circle(east, north, torch.tensor([[share]])), torch.tensor(expected))


def test_of_one_direction_it_is_the_straight_line() -> None:
    a = torch.tensor([[1.0, 2.0]])
    torch.testing.assert_close(great_circle(a, 3 * a, torch.tensor([[0.5]])), 2 * a)
    torch.testing.assert_close(great_circle(a, a, torch.tensor([[0.25]])), a)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_a_walk_goes_through_the_seed_s_latents(distribution: str, digits16: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(tiny_recipe(tmp_path, f"method.latent.distribution={distribution}"), digits16)
    method = trainer.method
    assert isinstance(method, NoiseToImage)
    made = method.walk(method.generator, rows=3, steps=3, seed=5).numpy().reshape(3, 5, 16, 16, 1)
    ends = trainer.method.sample(method.generator, _request(4, 5)).numpy()
    np.testing.assert_array_equal(made[:, 0], ends[:3])
    np.testing.assert_array_equal(made[:, -1], ends[1:])
    # The middle of the second row, made alone: of one length with its ends, or right between them.
    a, b = latents_of(5, 1, 2, 6, distribution)
    middle = (a + b) / 2
    if distribution == "normal":
        angle = math.acos(torch.nn.functional.cosine_similarity(a, b, dim=0).item())
        middle = middle / math.cos(angle / 2)
    method.generator.eval()
    alone = method.generator(middle[None])[0, 0].detach().numpy()
    np.testing.assert_allclose(made[1, 2, ..., 0], (alone + 1) * 127.5, atol=0.6)


def test_the_class_is_kept_along_a_row(digits16: Dataset, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, "data.classes=10", "method.condition={kind: embedding, dim: 4}")
    method = Trainer(recipe, digits16).method
    assert isinstance(method, NoiseToImage)
    made = method.walk(method.generator, rows=2, steps=1, seed=0)
    ends = method.sample(method.generator, _request(3, 0, labels=(0, 0, 1)))
    again = method.sample(method.generator, _request(3, 0, labels=(0, 1, 1)))
    assert torch.equal(made[0], ends[0])
    assert torch.equal(made[2], ends[1])
    assert torch.equal(made[3], again[1])
    assert torch.equal(made[5], again[2])


def _request(count: int, seed: int, labels: tuple[int, ...] | None = None) -> SampleRequest:
    return SampleRequest(count, seed, labels=labels)
