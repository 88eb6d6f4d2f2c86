"""What a round is counted to be, against counts by hand, torch's own counter, and the sizes of what is kept."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ganlib.data import Dataset
from ganlib.errors import UserError
from ganlib.recipe import Recipe
from ganlib.scaling.rehearsal import kinds_of_round
from ganlib.scaling.work import Counting, Work, count_work
from ganlib.training.meter import Meter
from ganlib.training.trainer import Trainer
from pipelines.shipped import find_recipe

from ..conftest import tiny_recipe

G, D = 3_576_704, 2_765_568
"""A4's parameters (README)."""


@pytest.fixture(scope="module")
def a4() -> dict[int, Work]:
    """SYSTEMS.md A4 at a batch of 4, alone and as one of two workers."""
    return {workers: count_work(find_recipe("dcgan-64", ["train.batch=4"]), workers) for workers in (1, 2)}


def test_a4_takes_the_multiplications_of_its_layers(a4: dict[int, Work]) -> None:
    """By hand, an image: places x channels in x channels out x 4 x 4, of each layer."""
    first_g, last_g = 100 * 512 * 16, 32 * 32 * 64 * 3 * 16
    middle = 3 * (4 * 4 * 512 * 256 * 16)  # each halves the channels and has four times the places
    first_d, last_d = 32 * 32 * 3 * 64 * 16, 512 * 16
    g, d = first_g + middle + last_g, first_d + middle + last_d
    # Backward, a layer takes its forward's once for the weights and once for the input, where that is asked for.
    d_step = g + 2 * d + 2 * (d + d - first_d)  # fakes, D on real and fake, and back; images ask for no gradient
    g_step = d + d + (g + g - first_g)  # D on the same fakes, back through D without its weights, and through G
    assert a4[1].flops == 2 * 4 * (d_step + g_step)
    assert a4[2].flops == a4[1].flops / 2


def test_a4_sends_its_gradients_and_its_batch_norms_moments(a4: dict[int, Work]) -> None:
    """Forward a norm of C channels sends C sums and a count, then C squares; backward the same."""
    assert not a4[1].messages
    in_g, in_d = (512, 256, 128, 64), (128, 256, 512)
    # G's norms: forward once, back once. D's: forward on real, fake and fake again, and back of each.
    passes = Counter(dict.fromkeys(in_g, 2))
    for channels in in_d:
        passes[channels] += 6
    expected = Counter({4 * G: 1, 4 * D: 1})
    for channels, times in passes.items():
        expected[4 * channels] += times
        expected[4 * (channels + 1)] += times
    assert Counter(a4[2].messages) == expected


def test_adam_keeps_two_numbers_a_parameter(a4: dict[int, Work]) -> None:
    """And a count of steps a tensor: 5 layers and 4 norms of 2 in G, 5 and 3 in D."""
    tensors = 5 + 2 * 4 + 5 + 2 * 3
    moving = 2 * (512 + 256 + 128 + 64) + 2 * (128 + 256 + 512)  # the norms' running means and variances
    work = a4[1]
    assert work.gradients == 4 * (G + D)
    assert work.optimizer == 2 * 4 * (G + D) + 4 * tensors
    assert work.weights == 4 * (G + D) + 4 * moving
    assert work.peak > work.weights + work.gradients + work.optimizer


def test_a_lazy_penalty_is_counted_at_its_share() -> None:
    def flops(penalty: str) -> float:
        return count_work(find_recipe("digits", [f"method.penalty={penalty}", "train.batch=8"])).flops

    without, each = flops("{kind: none}"), flops("{kind: r1, every: 1}")
    assert each > 1.2 * without
    assert flops("{kind: r1, every: 8}") == pytest.approx(without + (each - without) / 8)


def test_rounds_of_several_steps_meet_a_lazy_penalty_now_and_then() -> None:
    """Of 16 rounds of 5 steps, 80 steps, 5 take it, in 5 rounds."""
    recipe = find_recipe("wgan-gp", ["method.penalty.every=16"])
    assert kinds_of_round(recipe) == [(5, 11 / 16), (0, 5 / 16)]
    assert kinds_of_round(find_recipe("wgan-gp")) == [(0, 1.0)]
    assert kinds_of_round(find_recipe("dcgan-64")) == [(1, 1.0)]


def test_the_trainers_own_round_has_as_many_operations(tmp_path: Path, digits16: Dataset) -> None:
    """By torch's counter, of a round that trains. (It cannot follow a penalty.)"""
    recipe = tiny_recipe(tmp_path, "train.steps.generator=2", "train.steps.noise=fresh")
    trainer = Trainer(recipe, digits16, device="cpu")
    with FlopCounterMode(display=False) as counter:
        trainer._round(Meter(trainer.world, trainer.device), last=False)
    assert count_work(recipe).flops == counter.get_total_flops() > 0


def test_memory_is_what_is_alive_at_once() -> None:
    with Counting() as counting:
        x, w = torch.zeros(1000, 100), torch.zeros(100, 50)
        y = x @ w  # 400,000 + 20,000 + 200,000 bytes
        z = y.relu()  # and 200,000
        assert counting.alive == 820_000
        del y
        assert counting.alive == 620_000
        z.view(50, 1000).add_(1)  # takes nothing
        del x, w
    assert (counting.alive, counting.peak) == (200_000, 820_000)
    products = [operation for operation in counting.operations if operation.flops]
    assert [(one.flops, one.bytes) for one in products] == [(2 * 1000 * 100 * 50, 620_000)]


def test_more_workers_than_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"train.batch \(64\) has to be at least the workers \(65\)"):
        count_work(find_recipe("digits"), 65)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "wgan-gp",
        "mnist-encoder",
        "facades",
        "facades-unpaired",
        "hair-domains",
        "placed-digits-keypoints",
        "stacked-mnist-large",
    ],
)
def test_every_method_can_be_counted(name: str) -> None:
    recipe = find_recipe(name)
    steps, messages = recipe.train.steps, count_work(recipe, 2).messages
    method = fitted(recipe).method.build(recipe.shape)
    for side, times in ((method.generator, steps.generator), (method.discriminator, steps.discriminator)):
        assert messages[4 * sum(p.numel() for p in side.parameters())] == times


def fitted(recipe: Recipe) -> Recipe:
    """With the 16 words of the rehearsal's captions, where it is told texts."""
    words = [f"word{number}" for number in range(16)]
    if not hasattr(recipe.method, "text"):
        return recipe
    text = recipe.method.text.fitted([[" ".join(words)]], "the test")
    return recipe.model_copy(update={"method": recipe.method.model_copy(update={"text": text})})
