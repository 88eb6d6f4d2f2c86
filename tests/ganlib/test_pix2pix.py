"""pix2pix (SYSTEMS.md B1): its losses, what it makes of images, resume, one worker and two."""

from __future__ import annotations

from datetime import timedelta
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from ganlib.data import Dataset, Preparation, open_source, prepare_dataset
from ganlib.data.batches import Batch, normalise
from ganlib.draws import Draws
from ganlib.errors import UserError
from ganlib.inputs import held_out, told_of
from ganlib.methods.pix2pix import Pix2Pix
from ganlib.networks.layers import Dropout
from ganlib.recipe import Recipe
from ganlib.sampling import Sampler, load_sampler
from ganlib.training.trainer import Trainer

from .conftest import assert_equal

TINY = """
name: tiny-pix2pix
data: {size: 16, channels: 1, pairs: edges}
method:
  kind: pix2pix
  generator: {width: 8}
  discriminator: {width: 4, layers: 1}
optim:
  generator: {kind: adam, lr: 2.0e-3, betas: [0.5, 0.99]}
  discriminator: {kind: adam, lr: 1.0e-3, betas: [0.5, 0.99]}
train: {batch: 8, images: 640, tick: 160}
"""
WORKERS = 2
STEADY = (
    # Five rows are three and two. Divided by their own size, gradients that are nothing but rounding would all count;
    # and under much L1 a pixel's gradient turns round where rounding takes the pixel past its target.
    "train={batch: 5, images: 100, tick: 5}",
    "optim.*.eps=1e-3",
    "method.l1=1",
)
SHARED = {
    "batch norm": STEADY,
    "instance norm, a to b": (*STEADY, "method.*.norm=instance", "method.direction=a-to-b", "data.augment.mirror=true"),
}


def tiny(*overrides: str) -> Recipe:
    return Recipe.parse(yaml.safe_load(TINY), overrides)


def built(*overrides: str) -> Pix2Pix:
    """The method in float64 and in eval mode, its weights large enough to make a difference."""
    torch.manual_seed(0)
    recipe = tiny(*overrides)
    method = recipe.method.build(recipe.shape).double().eval()
    assert isinstance(method, Pix2Pix)
    method.draws = Draws(0, 3, (0, 3), "cpu")
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.mul_(5 if parameter.dim() > 1 else 1)
    return method


def pair_batch() -> Batch:
    images, partners = torch.rand(2, 3, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Batch(images * 2 - 1, partners=partners * 2 - 1)


@pytest.fixture(scope="session")
def pairs16(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    preparation = Preparation(size=16, channels=1, pairs="edges")
    return prepare_dataset(open_source("digits"), preparation, tmp_path_factory.mktemp("pairs16"), "pairs")


@pytest.fixture(scope="module")
def trainer(pairs16: Dataset) -> Trainer:
    trainer = Trainer(tiny("method.sample_dropout=true"), pairs16)
    trainer.ticks = list(trainer.run())
    return trainer


@pytest.fixture(scope="module")
def sampler(trainer: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    return load_sampler(trainer.snapshot().write(tmp_path_factory.mktemp("pix2pix") / "checkpoint"))


@pytest.mark.parametrize("direction", ["a-to-b", "b-to-a"])
def test_the_losses_are_the_papers(direction: str) -> None:
    method = built(f"method.direction={direction}", "method.l1=7", "method.adversarial=0.5")
    batch = pair_batch()
    assert batch.partners is not None
    x, y = (batch.images, batch.partners) if direction == "a-to-b" else (batch.partners, batch.images)
    fakes = method.generate(batch, method.draw(method.draws, "generator/0"))
    torch.testing.assert_close(fakes, method.generator(x))
    real_logits, fake_logits = (
        method.discriminator(torch.cat([x, seen], 1)).detach().numpy().astype(np.float32) for seen in (y, fakes)
    )
    assert real_logits.shape == (3, 1, 6, 6)

    # -E[log D(x, y)] - E[log(1 - D(x, G(x)))], over patches.
    loss = method.discriminator_loss(batch, fakes.detach(), 0)
    expected = np.log1p(np.exp(-real_logits)).mean() + np.log1p(np.exp(fake_logits)).mean()
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)
    assert loss.parts["d_real"].item() == pytest.approx((1 / (1 + np.exp(-real_logits))).mean(), rel=1e-5)

    # 0.5 -E[log D(x, G(x))] + 7 E|y - G(x)|.
    loss = method.generator_loss(batch, fakes)
    adversarial = np.log1p(np.exp(-fake_logits)).mean()
    distance = np.abs(y.numpy() - fakes.detach().numpy()).mean()
    assert loss.total.item() == pytest.approx(0.5 * adversarial + 7 * distance, rel=1e-5)
    assert loss.parts["loss/generator"].item() == pytest.approx(adversarial, rel=1e-5)
    assert loss.parts["loss/l1"].item() == pytest.approx(distance, rel=1e-5)
    slopes = torch.autograd.grad(loss.total, list(method.generator.parameters()))
    assert all(slope.abs().sum() > 0 for slope in slopes)


def test_without_its_adversarial_term_it_is_a_regression() -> None:
    method, batch = built("method.adversarial=0", "method.l1=1"), pair_batch()
    loss = method.generator_loss(batch, method.generate(batch, method.draw(method.draws, "generator/0")))
    assert loss.total.item() == pytest.approx(loss.parts["loss/l1"].item())


def test_the_discriminator_is_told_the_input() -> None:
    """The same fakes, beside other inputs, are judged otherwise; also where both pass D together."""
    for norm in ("batch", "instance"):
        method, batch = built(f"method.discriminator.norm={norm}"), pair_batch()
        with torch.no_grad():
            method.discriminator[0].weight.mul_(5)
        assert batch.partners is not None
        fakes = torch.zeros_like(batch.images)
        other = Batch(batch.images, partners=batch.partners.flip(0))
        first, second = (method.discriminator_loss(told, fakes, 0).total.item() for told in (batch, other))
        assert abs(first - second) > 1e-4
        apart = [method.discriminator(torch.cat([batch.partners, seen], 1)).float() for seen in (batch.images, fakes)]
        expected = torch.nn.functional.softplus(-apart[0]).mean() + torch.nn.functional.softplus(apart[1]).mean()
        assert first == pytest.approx(expected.item(), rel=1e-5)


def test_any_objective_and_penalty_plays(pairs16: Dataset) -> None:
    overrides = ("train.images=32", "train.tick=32", "method.discriminator.norm=instance")
    for objective, penalty in (
        ("least-squares", "{kind: none}"),
        ("hinge", "{kind: r1, gamma: 0.5}"),
        ("wasserstein", "{kind: gradient-penalty}"),
        ("relativistic", "{kind: r1r2, gamma: 0.5}"),
    ):
        recipe = tiny(*overrides, f"method.objective={objective}", f"method.penalty={penalty}")
        (tick,) = Trainer(recipe, pairs16).run()
        assert any(name.startswith("penalty/") for name in tick.metrics) == ("none" not in penalty)


def test_it_learns(trainer: Trainer) -> None:
    losses = [tick.metrics["loss/l1"] for tick in trainer.ticks]
    assert losses[-1] < 0.8 * losses[0]


def test_a_batch_of_one_trains(pairs16: Dataset) -> None:
    """The bottleneck, of a single pixel, has no norm: nothing would be left of it."""
    recipe = tiny("train={batch: 1, images: 3, tick: 3}", "method.*.norm=instance")
    (tick,) = Trainer(recipe, pairs16).run()
    assert tick.images_seen == 3
    with pytest.raises(UserError, match=r"train\.batch is 1: this method learns from 2 up"):
        tiny(
            "train.batch=1", "method={kind: noise-to-image, generator: {kind: convnet}, discriminator: {kind: convnet}}"
        )


@pytest.mark.parametrize("batch", [1, 8])
def test_a_resumed_run_is_the_uninterrupted_one(batch: int, pairs16: Dataset, tmp_path: Path) -> None:
    augment = "data.augment={jitter_crop: 1.125, mirror: true}"
    recipe = tiny(
        f"train={{batch: {batch}, images: {20 * batch}, tick: {10 * batch}}}", augment, "optim.ema_half_life=9"
    )
    whole = Trainer(recipe, pairs16)
    next(ticks := whole.run())
    folder = whole.snapshot().write(tmp_path / "checkpoint")
    (last,) = ticks
    resumed = Trainer(recipe, pairs16, resume=folder)
    (again,) = resumed.run()
    assert_equal(resumed.snapshot(), whole.snapshot())
    assert again.metrics == last.metrics


def test_what_is_made_of_an_image_depends_on_it_alone(trainer: Trainer, pairs16: Dataset, tmp_path: Path) -> None:
    recipe = trainer.recipe.with_overrides("method.sample_dropout=false")
    plain = Trainer(recipe.with_overrides("train.images=8"), pairs16)
    sampler = load_sampler(plain.snapshot().write(tmp_path / "plain"))
    inputs = told_of(pairs16, recipe.method, 12)["inputs"]
    whole = sampler.sample(12, inputs=inputs)
    assert whole.shape == (12, 16, 16, 1)
    assert whole.dtype == np.uint8
    for rows in ([3], [11, 3], list(range(5, 9))):
        np.testing.assert_array_equal(sampler.sample(len(rows), seed=9, first=4, inputs=inputs[rows]), whole[rows])
    with torch.no_grad():
        expected = sampler.generator.eval()(normalise(torch.tensor(inputs)))
    assert np.abs(whole[..., 0].astype(float) - ((expected + 1) * 127.5)[:, 0].numpy()).max() < 0.51


def test_dropout_in_sampling_is_a_function_of_seed_and_number(sampler: Sampler, pairs16: Dataset) -> None:
    inputs = held_out(pairs16).take_partner(np.array([2, 2, 2, 5]))
    made = sampler.sample(4, seed=1, inputs=inputs)
    np.testing.assert_array_equal(sampler.sample(4, seed=1, inputs=inputs), made)
    np.testing.assert_array_equal(sampler.sample(2, seed=1, first=2, inputs=inputs[2:]), made[2:])
    assert not np.array_equal(made[0], made[1])
    assert not np.array_equal(made[1], made[2])
    # Asked for, it is on or off whatever the recipe says.
    np.testing.assert_array_equal(sampler.sample(4, seed=1, inputs=inputs, dropout=True), made)
    without = sampler.sample(4, seed=1, inputs=inputs, dropout=False)
    np.testing.assert_array_equal(without[0], without[1])
    assert not np.array_equal(without[0], made[0])
    assert not np.array_equal(sampler.sample(4, seed=2, inputs=inputs)[0], made[0])


def test_sampling_leaves_the_training_as_it_was(trainer: Trainer, sampler: Sampler) -> None:
    images = trainer.sample(5, seed=4).numpy()
    told = told_of(trainer.dataset, trainer.recipe.method, 5, 4)
    np.testing.assert_array_equal(sampler.sample(5, seed=4, **told), images)
    dropouts = [layer for layer in trainer.method.generator.modules() if isinstance(layer, Dropout)]
    assert len(dropouts) == 3
    assert all(layer.draws is trainer.draws and layer.training for layer in dropouts)
    assert trainer.method.generator.training


def test_what_it_cannot_do_is_refused(sampler: Sampler, pairs16: Dataset, digits16: Dataset) -> None:
    with pytest.raises(UserError, match="needs the column 'partner', which dataset digits has not") as error:
        Trainer(tiny(), digits16)
    assert "\n" not in str(error.value)
    inputs = held_out(pairs16).take(np.arange(2))
    with pytest.raises(UserError, match="makes images of inputs; give some for each image"):
        sampler.sample(2)
    with pytest.raises(UserError, match="has nothing between two inputs; leave interpolate out"):
        sampler.sample(2, inputs=inputs, interpolate=3)
    with pytest.raises(UserError, match=r"method\.augment would move but one of them"):
        tiny("method.augment={kind: fixed}")
    with pytest.raises(UserError, match="cannot be done to 20x20"):
        tiny("data.size=20")
    with pytest.raises(UserError, match="a patch discriminator of 3 layers leaves nothing of 16x16 images"):
        tiny("method.discriminator.layers=3")


def metrics_of(recipe: Recipe, dataset: Dataset) -> dict[str, Tensor]:
    ticks = list(Trainer(recipe, dataset).run())
    return {name: torch.tensor([t.metrics[name] for t in ticks], dtype=torch.float64) for name in ticks[0].metrics}


def work(rank: int, folder: Path, dataset: Path) -> None:
    """The body of one worker process."""
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=WORKERS, timeout=timedelta(seconds=300))
    for name, overrides in SHARED.items():
        save_file(metrics_of(tiny(*overrides), Dataset.open(dataset)), folder / f"{name}-{rank}")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_have_the_losses_of_one(pairs16: Dataset, tmp_path: Path, forkserver: ForkServerContext) -> None:
    processes.start_processes(work, (tmp_path, pairs16.path), WORKERS, start_method=forkserver.get_start_method())
    for name, overrides in SHARED.items():
        alone = metrics_of(tiny(*overrides), pairs16)
        first, second = (load_file(tmp_path / f"{name}-{rank}") for rank in range(WORKERS))
        assert first.keys() == second.keys() == alone.keys()
        assert len(alone["loss/l1"]) == 20
        assert alone["loss/l1"][-1] != alone["loss/l1"][0]
        for metric, values in alone.items():
            assert torch.equal(first[metric], second[metric]), (name, metric)
            apart = (first[metric] - values).abs().max().item()
            assert apart < 1e-4 * max(values.abs().max().item(), 1), (name, metric, apart)
