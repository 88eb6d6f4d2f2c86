"""Adaptive stepping (SYSTEMS.md, "ways of stepping"): which steps are taken, by readings that are made by hand."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ganlib.data import Dataset
from ganlib.data.batches import Batch
from ganlib.errors import UserError
from ganlib.methods.base import DataShape, Loss
from ganlib.methods.noise_to_image import NoiseToImage, NoiseToImageConfig
from ganlib.recipe import Recipe
from ganlib.training.side import Side
from ganlib.training.trainer import Tick, Trainer

from .conftest import assert_equal, tiny_recipe

BATCH = 16


class Scripted(NoiseToImage):
    """Its readings are the script's, whatever the networks say: D(x) and D(G(z)) of D's steps, D(G(z)) of G's."""

    def __init__(self, config: NoiseToImageConfig, data: DataShape):
        super().__init__(config, data)
        self.discriminator_readings: list[tuple[float, float]] = []
        self.generator_readings: list[float] = []

    def discriminator_loss(self, batch: Batch, fakes: Tensor, step: int) -> Loss:
        loss = super().discriminator_loss(batch, fakes, step)
        real, fake = self.discriminator_readings.pop(0)
        return Loss(loss.total, loss.parts | {"d_real": torch.tensor(real), "d_fake": torch.tensor(fake)})

    def generator_loss(self, batch: Batch, fakes: Tensor) -> Loss:
        loss = super().generator_loss(batch, fakes)
        if not torch.is_grad_enabled():  # the judgement at a tick's end
            return loss
        return Loss(loss.total, loss.parts | {"d_fake": torch.tensor(self.generator_readings.pop(0))})


class ScriptedConfig(NoiseToImageConfig):
    def build(self, data: DataShape) -> Scripted:
        return Scripted(self, data)


def play(
    folder: Path, dataset: Dataset, steps: str, discriminator: list[tuple[float, float]], generator: list[float]
) -> tuple[Trainer, Tick]:
    """A run of one tick through the whole script."""
    images = BATCH * len(discriminator)
    recipe = tiny_recipe(folder, f"train.steps={steps}", f"train.images={images}", f"train.tick={images}")
    recipe = recipe.model_copy(update={"method": ScriptedConfig.model_validate(recipe.method.model_dump())})
    trainer = Trainer(recipe, dataset)
    assert isinstance(trainer.method, Scripted)
    trainer.method.discriminator_readings, trainer.method.generator_readings = list(discriminator), list(generator)
    trainer.probe.held_out = None  # the script has no readings for what is judged at a tick's end
    (tick,) = trainer.run()
    assert not trainer.method.discriminator_readings
    assert not trainer.method.generator_readings
    return trainer, tick


def steps_of(side: Side) -> int:
    """How many updates Adam has made."""
    counts = {int(side.optimizer.state[p]["step"]) if p in side.optimizer.state else 0 for p in side.parameters}
    (count,) = counts
    return count


def test_a_side_that_is_ahead_is_left_out(digits16: Dataset, tmp_path: Path) -> None:
    script = [
        ((0.875, 0.125), 0.25),  # D is ahead by 0.75: it is left out
        ((0.625, 0.375), 0.75),  # G is: more of its images are taken for real than of the real ones
        ((0.5, 0.5), 0.5),  # neither
        ((0.75, 0.25), 0.25),  # D, by the margin and no more: neither
        ((0.25, 0.75), 0.75),  # G
    ]
    trainer, tick = play(
        tmp_path, digits16, "{adaptive: leave-out, margin: 0.5}", [d for d, _ in script], [g for _, g in script]
    )
    assert (steps_of(trainer.discriminator), steps_of(trainer.generator)) == (4, 3)
    assert tick.metrics["left_out/discriminator"] == pytest.approx(1 / 5)
    assert tick.metrics["left_out/generator"] == pytest.approx(2 / 5)
    # Time goes on: images are those that D has been shown, its step taken or not.
    assert tick.images_seen == 5 * BATCH


def test_without_a_margin_the_discriminator_is_left_out_whenever_it_is_right(digits16: Dataset, tmp_path: Path) -> None:
    readings = [(0.5, 0.5), (0.51, 0.5), (0.5, 0.51), (0.9, 0.1)]
    trainer, tick = play(tmp_path, digits16, "{adaptive: leave-out, margin: 0}", readings, [0.0] * 4)
    assert (steps_of(trainer.discriminator), steps_of(trainer.generator)) == (2, 4)
    assert tick.metrics["left_out/discriminator"] == pytest.approx(1 / 2)


def test_each_step_of_a_round_is_left_out_by_itself(digits16: Dataset, tmp_path: Path) -> None:
    """Two D steps and two G steps a round; the generator is held against D(x) of the round's last batch."""
    steps = "{discriminator: 2, generator: 2, adaptive: leave-out, margin: 0.25}"
    readings = [(0.75, 0.25), (0.5, 0.5), (0.5, 0.5), (0.875, 0.125)]
    trainer, _ = play(tmp_path, digits16, steps, readings, [0.25, 0.625, 0.625, 0.75])
    assert (steps_of(trainer.discriminator), steps_of(trainer.generator)) == (2, 3)


def test_a_side_left_out_keeps_its_weights(digits16: Dataset, tmp_path: Path) -> None:
    trainer, _ = play(tmp_path, digits16, "{adaptive: leave-out, margin: 0.5}", [(1.0, 0.0)] * 3, [0.0] * 3)
    fresh = Trainer(trainer.recipe, digits16).method
    for name, weight in trainer.method.discriminator.state_dict().items():
        assert torch.equal(weight, fresh.discriminator.state_dict()[name])
    assert any(
        not torch.equal(x, y)
        for x, y in zip(trainer.method.generator.parameters(), fresh.generator.parameters(), strict=True)
    )
    # Its optimizer has no state yet, and a checkpoint says so.
    folder = trainer.snapshot().write(tmp_path / "checkpoint")
    plain = trainer.recipe.with_overrides()
    assert_equal(Trainer(plain, digits16, resume=folder).snapshot(), copy.copy(trainer.snapshot()))


def test_a_round_ends_once_the_fakes_have_risen(digits16: Dataset, tmp_path: Path) -> None:
    """By more than the margin over the first of them; else after its last step."""
    rounds = [
        [0.25, 0.3125, 0.5],  # risen by 0.25 before the third step: two are taken
        [0.25, 0.25, 0.25, 0.375],  # by the margin and no more: all four
        [0.5, 0.75],  # one
        [0.5, 0.4375, 0.375, 0.25],  # falling: all
    ]
    steps = "{generator: 4, adaptive: until-risen, margin: 0.125}"
    readings = [reading for one in rounds for reading in one]
    trainer, tick = play(tmp_path, digits16, steps, [(0.5, 0.5)] * 4, readings)
    assert (steps_of(trainer.discriminator), steps_of(trainer.generator)) == (4, 2 + 4 + 1 + 4)
    assert tick.metrics["steps/generator"] == pytest.approx(11 / 4)


@pytest.mark.parametrize("noise", ["shared", "fresh"])
def test_a_round_always_has_a_generator_step(noise: str, digits16: Dataset, tmp_path: Path) -> None:
    steps = f"{{generator: 3, noise: {noise}, adaptive: until-risen, margin: 0}}"
    trainer, tick = play(tmp_path, digits16, steps, [(0.5, 0.5)] * 3, [0.5, 0.5625] * 3)
    assert steps_of(trainer.generator) == 3
    assert tick.metrics["steps/generator"] == 1


def test_stepping_that_is_not_adaptive_reads_nothing(digits16: Dataset, tmp_path: Path) -> None:
    trainer, tick = play(tmp_path, digits16, "{adaptive: none}", [(1.0, 0.0), (0.0, 1.0)], [1.0, 0.0])
    assert (steps_of(trainer.discriminator), steps_of(trainer.generator)) == (2, 2)
    assert not any(name.startswith(("left_out", "steps")) for name in tick.metrics)


@pytest.mark.parametrize(
    "steps", ["{adaptive: leave-out, margin: 0.02}", "{generator: 4, adaptive: until-risen, margin: 0.001}"]
)
def test_an_adaptive_run_resumed_is_the_uninterrupted_one(steps: str, digits16: Dataset, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, f"train.steps={steps}", "train.images=320", "train.tick=160")
    whole = Trainer(recipe, digits16)
    first = next(ticks := whole.run())
    folder = whole.snapshot().write(tmp_path / "checkpoint")
    list(ticks)
    # It is a run in which some steps were taken and some were not.
    if "left_out/discriminator" in first.metrics:
        assert 0 < first.metrics["left_out/discriminator"] < 1
    else:
        assert 1 < first.metrics["steps/generator"] < 4
    resumed = Trainer(Recipe.load(folder / "recipe.yaml"), digits16, resume=folder)
    list(resumed.run())
    assert_equal(resumed.snapshot(), whole.snapshot())


def test_a_round_of_one_generator_step_has_nothing_to_cut_short(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.steps: 'until-risen' cuts a round's generator steps short"):
        tiny_recipe(tmp_path, "train.steps.adaptive=until-risen")
