"""A run that was interrupted, and went on, is the run that was not: bit for bit."""

import random
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch
from torch import nn

from ganlib.data import Dataset
from ganlib.errors import UserError
from ganlib.recipe import Recipe
from ganlib.training.checkpoint import checkpoint_name, newest_checkpoint, read_checkpoint
from ganlib.training.optimizers import RMSprop
from ganlib.training.side import Side
from ganlib.training.trainer import Tick, Trainer
from ganlib.training.world import World

from .conftest import BATCH_NORM, DROPOUT, assert_equal, tiny_recipe

RESUMED = {
    "dropout": [DROPOUT],
    "lazy R1": ["method.penalty={kind: r1, gamma: 1, every: 7}"],
    "two G steps on shared noise": [BATCH_NORM, "train.steps={generator: 2, noise: shared}"],
    "two D steps on fresh noise": [DROPOUT, "train.steps={discriminator: 2, noise: fresh}"],
    "bf16": ["train.precision=bf16", "method.penalty={kind: r1, gamma: 1, every: 7}"],
    "bf16 with dropout and decay": [DROPOUT, "train.precision=bf16", "optim.*.decay.kind=cosine"],
    "sgd and rmsprop": [
        "optim.generator={kind: sgd, lr: 0.01, momentum: 0.9, decay: {kind: linear}}",
        "optim.discriminator={kind: rmsprop, lr: 0.001}",
    ],
    "no average": ["optim.ema_half_life=0"],
    # The second tick ends within one of the windows of four steps after which the probability is moved.
    "adaptive augmentation": [
        "method.augment={kind: adaptive, probability: 0.5, speed_images: 4000}", "train.tick=432",
    ],
    "adaptive augmentation on dropout": [
        DROPOUT, "method.augment={kind: adaptive, probability: 0.5}", "train.tick=432",
    ],
    "instance noise": ["method.instance_noise={sigma: 0.3, until: 0.7}", "method.augment={kind: fixed}"],
    "spectral norm, told the class": [
        "data.classes=10", "method.condition={kind: embedding, dim: 4}", "method.spectral_norm=true",
        "method.objective=hinge",
    ],
    "told the class by batch norm": [
        "data.classes=10", "method.condition={kind: batch-norm}", BATCH_NORM, "method.smoothing=0.1",
    ],
    "clipped": [
        BATCH_NORM, "method.objective=wasserstein", "method.penalty={kind: clip, bound: 0.05}",
        "train.steps={discriminator: 5, noise: fresh}", "optim.generator={kind: rmsprop, lr: 0.001}",
        "optim.discriminator={kind: rmsprop, lr: 0.001}",
    ],
    "gradient penalty": ["method.objective=wasserstein", "method.penalty={kind: gradient-penalty, every: 3}"],
    "DRAGAN that falls": ["method.penalty={kind: dragan, fall_from: 0.1, fall_to: 0}", "method.smoothing=0.1"],
    "pairs under R1 and R2": ["method.objective=relativistic", "method.penalty={kind: r1r2, gamma: 0.2}"],
}  # fmt: skip


@pytest.mark.parametrize("overrides", RESUMED.values(), ids=RESUMED.keys())
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    overrides: list[str], digits16: Dataset, tmp_path: Path
) -> None:
    """Taken after 960 of 2,400 images, within the first epoch of 1,600; written only once the run has gone on."""
    recipe = tiny_recipe(tmp_path, "train={batch: 48, images: 2400, tick: 480, seed: 5}", *overrides)
    whole = Trainer(recipe, digits16)
    ticks: list[Tick] = []
    for tick in whole.run():
        ticks.append(tick)
        if len(ticks) == 2:
            taken = whole.snapshot()
    assert ("generator_ema" in taken.tensors) == (recipe.optim.ema_half_life > 0)
    adaptive = recipe.flat()["method.augment.kind"] == "adaptive"
    assert ("method" in taken.tensors) == adaptive
    if adaptive:  # in the midst of a window: there is something to be remembered
        kept = taken.tensors["method"]
        assert 0 < kept["game.probability"] < 1
        assert kept["game.signs"][1] == 2 * 48
    folder = taken.write(tmp_path / checkpoint_name(taken.progress.images))
    resumed = Trainer(Recipe.load(folder / "recipe.yaml"), digits16, resume=folder)
    assert_equal(resumed.snapshot(), taken)
    rest = list(resumed.run())
    assert_equal(resumed.snapshot(), whole.snapshot())
    assert [tick.metrics for tick in rest] == [tick.metrics for tick in ticks[2:]]
    assert [tick.images_seen for tick in rest] == [tick.images_seen for tick in ticks[2:]]
    assert rest[0].seconds > taken.progress.seconds
    assert torch.equal(resumed.sample(3), whole.sample(3))


@pytest.mark.parametrize("overrides", [[DROPOUT], RESUMED["adaptive augmentation"]], ids=["dropout", "adaptive"])
def test_a_run_interrupted_after_every_round_is_the_one_left_alone(
    overrides: list[str], digits16: Dataset, tmp_path: Path
) -> None:
    """Ticks are of nine rounds of 48, or of what is left; what one has measured is carried from round to round."""
    lengths = "train={batch: 48, images: 960, tick: 400, sample_every: 500, checkpoint_every: 70}"
    recipe = tiny_recipe(tmp_path, lengths, *[word for word in overrides if not word.startswith("train")])
    whole = Trainer(recipe, digits16)
    ticks = list(whole.run())
    trainer, found, folder = Trainer(recipe, digits16), [], tmp_path / "checkpoint"
    for rounds in range(1, 21):
        trainer.interrupt()
        found += list(trainer.run())
        assert (trainer.progress.rounds, trainer.interrupted) == (rounds, rounds < 20)
        taken = trainer.snapshot()
        trainer = Trainer(recipe, digits16, resume=taken.write(folder))
        assert_equal(trainer.snapshot(), taken)
    assert_equal(trainer.snapshot(), whole.snapshot())
    assert [(tick.images_seen, tick.metrics, tick.due) for tick in found] == [
        (tick.images_seen, tick.metrics, tick.due) for tick in ticks
    ]
    assert [tick.images_seen for tick in ticks] == [432, 816, 960]


def test_a_finished_run_resumed_has_nothing_left_to_do(digits16: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(tiny_recipe(tmp_path, "train.images=32"), digits16)
    list(trainer.run())
    folder = trainer.snapshot().write(tmp_path / "done")
    assert list(Trainer(trainer.recipe, digits16, resume=folder).run()) == []


def test_what_the_method_keeps_has_to_be_in_the_checkpoint(digits16: Dataset, tmp_path: Path) -> None:
    folder = Trainer(tiny_recipe(tmp_path), digits16).snapshot().write(tmp_path / "plain")
    adaptive = tiny_recipe(tmp_path, "method.augment={kind: adaptive}")
    with pytest.raises(UserError, match=r"does not fit the recipe: it holds no game\.probability"):
        Trainer(adaptive, digits16, resume=folder)


@pytest.mark.parametrize("overrides", [[BATCH_NORM], ["method.spectral_norm=true"]], ids=["batch norm", "spectral"])
def test_how_often_a_run_is_looked_at_changes_nothing(overrides: list[str], digits16: Dataset, tmp_path: Path) -> None:
    """At the end of each tick D judges once more: a forward that moves neither statistics nor singular vectors."""
    found = []
    for tick in (16, 160):
        trainer = Trainer(tiny_recipe(tmp_path, *overrides, "train.images=160", f"train.tick={tick}"), digits16)
        assert len(list(trainer.run())) == 160 // tick
        found.append(trainer.snapshot())
    assert_equal(*found)


def test_optimizer_state_goes_to_the_device_of_the_weights() -> None:
    """Fused optimizers want their step counts beside the weights; a checkpoint is read onto the CPU."""
    side = Side(nn.Linear(2, 1, device="meta"), RMSprop(kind="rmsprop", lr=1e-3), World())
    side.load_optimizer_state({"weight/step": torch.tensor(3.0), "weight/square_avg": torch.ones(1, 2)})
    assert {name: x.device.type for name, x in side.optimizer_state().items()} == {
        "weight/step": "meta",
        "weight/square_avg": "meta",
    }


def train_on(folder: Path, dataset: Path) -> None:
    """What a job does each time that it is started: goes on from the newest checkpoint, keeps one at each tick."""
    torch.set_num_threads(1)
    run = folder / "run"
    trainer = Trainer(Recipe.load(folder / "recipe.yaml"), Dataset.open(dataset), resume=newest_checkpoint(run))
    for tick in trainer.run():
        trainer.snapshot().write(run / checkpoint_name(tick.images_seen))


@pytest.mark.slow
def test_a_run_killed_at_random_moments_has_the_weights_of_one_left_alone(
    digits16: Dataset, tmp_path: Path, forkserver: ForkServerContext
) -> None:
    """Real processes and SIGKILL: while it loads, trains and writes checkpoints, until a start gets to the end."""
    recipe = tiny_recipe(
        tmp_path, DROPOUT, "train.images=1600", "train.steps.generator=2", "train.precision=bf16",
        "method.penalty={kind: r1, gamma: 1, every: 5}",
    )  # fmt: skip
    dice, kills, checkpoints = random.Random(0), 0, {}
    for name in ("alone", "killed"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "recipe.yaml").write_text(recipe.dump())
        for start in range(100):
            process = forkserver.Process(target=train_on, args=(folder, digits16.path))
            process.start()
            process.join(None if name == "alone" else dice.uniform(0, 0.1 + 0.1 * start))
            if process.exitcode is not None:
                assert process.exitcode == 0
                break
            process.kill()
            process.join()
            kills += 1
        newest = newest_checkpoint(folder / "run")
        assert newest is not None
        checkpoints[name] = newest
    assert kills >= 3
    alone, killed = (read_checkpoint(folder) for folder in checkpoints.values())
    assert killed.progress.images == 1600
    assert_equal(killed, alone)
