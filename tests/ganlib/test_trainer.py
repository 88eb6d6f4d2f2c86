"""The alternating loop: against a plain one written out here, and in ticks."""

import copy
import itertools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganlib.data import Dataset
from ganlib.data.batches import Batch, open_batches
from ganlib.draws import Draws
from ganlib.errors import UserError
from ganlib.methods.base import Loss
from ganlib.methods.noise_to_image import NoiseToImage, NoiseToImageConfig
from ganlib.networks.base import ImageShape
from ganlib.penalties import R1Config, zero_centred_penalty
from ganlib.recipe import Recipe
from ganlib.training.optimizers import Adam
from ganlib.training.trainer import Trainer

from .conftest import BATCH_NORM, DROPOUT, assert_equal, tiny_recipe


def plain_loop(recipe: Recipe, dataset: Dataset) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The recipe trained as a beginner would write it: (generator, its average, discriminator)."""
    train, split, config = recipe.train, dataset.split("train"), recipe.method
    first = Trainer(recipe, dataset)  # for the first weights alone
    generator, discriminator = first.method.generator, first.method.discriminator
    average = copy.deepcopy(generator)
    optimizers = []
    for network, optim in ((generator, recipe.optim.generator), (discriminator, recipe.optim.discriminator)):
        assert isinstance(optim, Adam)
        optimizers.append(torch.optim.Adam(network.parameters(), optim.lr, optim.betas, optim.eps))
    batches = open_batches(split, train.batch, train.seed, (0, train.batch))
    draws = Draws(train.seed, train.batch, (0, train.batch), "cpu")
    images = discriminator_steps = 0
    for step in range(recipe.train.length(len(split)) // (train.batch * train.steps.discriminator)):
        draws.at(step)
        latents = draws.latents("discriminator/0", config.latent.dim, "normal")
        fakes = generator(latents)
        for i in range(train.steps.discriminator):
            if train.steps.noise == "fresh" and i > 0:
                fakes = generator(draws.latents(f"discriminator/{i}", config.latent.dim, "normal"))
            real = batches[discriminator_steps].images
            d_real, d_fake = (torch.sigmoid(discriminator(x)) for x in (real, fakes.detach()))
            loss = -d_real.log().mean() - (1 - d_fake).log().mean()
            if isinstance(config.penalty, R1Config) and discriminator_steps % config.penalty.every == 0:
                loss = loss + config.penalty.every * config.penalty.gamma / 2 * zero_centred_penalty(
                    discriminator, real
                )
            optimizers[1].zero_grad()
            loss.backward()
            optimizers[1].step()
            discriminator_steps, images = discriminator_steps + 1, images + train.batch
        for i in range(train.steps.generator):
            if train.steps.noise == "fresh":
                fakes = generator(draws.latents(f"generator/{i}", config.latent.dim, "normal"))
            elif i > 0:
                fakes = generator(latents)
            loss = -torch.sigmoid(discriminator(fakes)).log().mean()
            optimizers[0].zero_grad()
            loss.backward()
            optimizers[0].step()
        half_life = min(recipe.optim.ema_half_life, 0.05 * images)
        keep = 0.5 ** (train.batch * train.steps.discriminator / half_life)
        for ours, theirs in zip(average.state_dict().values(), generator.state_dict().values(), strict=True):
            ours.copy_(keep * ours + (1 - keep) * theirs)
    return generator, average, discriminator


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["method.penalty={kind: r1, gamma: 2, every: 3}"],
        ["train.steps={generator: 2, noise: shared}"],
        ["train.steps={generator: 2, noise: fresh}"],
        ["train.steps={discriminator: 3, noise: shared}"],
        ["train.steps={discriminator: 3, noise: fresh}"],
    ],
    ids=["1:1", "lazy R1", "1:2 shared", "1:2 fresh", "3:1 shared", "3:1 fresh"],
)
def test_the_trainer_is_the_plain_loop(overrides: list[str], digits16: Dataset, tmp_path: Path) -> None:
    # A large eps: Adam then does not blow rounding errors up to the size of a step.
    recipe = tiny_recipe(tmp_path, "train.images=480", "optim.*.eps=1e-3", *overrides)
    expected = plain_loop(recipe, digits16)
    trainer = Trainer(recipe, digits16)
    *_, last = trainer.run()
    assert last.final
    assert trainer.average is not None
    found = (trainer.method.generator, trainer.average, trainer.method.discriminator)
    for ours, theirs in zip(found, expected, strict=True):
        for name, tensor in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], tensor, atol=1e-5, rtol=1e-4)


class Spy(NoiseToImage):
    """Writes down what the trainer asks for."""

    def __init__(self, config: NoiseToImageConfig, image: ImageShape):
        super().__init__(config, image)
        self.log: list[tuple[str, Tensor]] = []

    def draw(self, draws: Draws, stream: str) -> Tensor:
        latents = super().draw(draws, stream)
        self.log.append(("draw", latents))
        return latents

    def generate(self, batch: Batch, latents: Tensor) -> Tensor:
        self.log.append(("generate", latents))
        return super().generate(batch, latents)

    def discriminator_loss(self, batch: Batch, fakes: Tensor, step: int) -> Loss:
        assert not fakes.requires_grad
        self.log.append(("discriminator", fakes))
        return super().discriminator_loss(batch, fakes, step)

    def generator_loss(self, batch: Batch, fakes: Tensor) -> Loss:
        if torch.is_grad_enabled():  # else it is the judgement after the step
            self.log.append(("generator", fakes))
        return super().generator_loss(batch, fakes)


class SpyConfig(NoiseToImageConfig):
    def build(self, image: ImageShape) -> Spy:
        return Spy(self, image)


def test_a5_steps_once_and_twice_on_the_same_noise(digits48: Dataset, tmp_path: Path) -> None:
    """SYSTEMS.md A5: two generator steps for each discriminator step, the same noise in all three."""
    shipped = Recipe.load(Path(__file__).parents[2] / "pipelines" / "recipes" / "avatars-48.yaml")
    recipe = shipped.with_overrides("train.batch=4", "train.images=12", "train.tick=12")
    recipe = recipe.model_copy(update={"method": SpyConfig.model_validate(recipe.method.model_dump())})
    trainer = Trainer(recipe, digits48)
    *_, last = trainer.run()
    method = trainer.method
    assert isinstance(method, Spy)
    rounds, round_log = 3, ["draw", "generate", "discriminator", "generator", "generate", "generator"]
    assert [name for name, _ in method.log] == round_log * rounds + ["generate", "discriminator"]  # the tick's end
    for first in range(0, len(round_log) * rounds, len(round_log)):
        drawn, generated, judged, fooled, again, _ = (
            tensor for _, tensor in method.log[first : first + len(round_log)]
        )
        assert drawn.shape == (4, 100)
        assert drawn.abs().max() <= 1  # uniform on [-1, 1]
        assert generated is drawn
        assert again is drawn
        assert torch.equal(judged, fooled)  # the first generator step takes the very fakes that D judged
    for side, steps in ((trainer.discriminator, rounds), (trainer.generator, 2 * rounds)):
        assert {int(side.optimizer.state[parameter]["step"]) for parameter in side.parameters} == {steps}
    assert last.images_seen == 12


def test_ticks_count_images_and_say_what_is_due(digits16: Dataset, tmp_path: Path) -> None:
    recipe = tiny_recipe(
        tmp_path,
        "train.images=650",
        "train.tick=150",
        "train.sample_every=300",
        "train.checkpoint_every=450",
        "train.evaluate_every=1000",
    )
    ticks = list(Trainer(recipe, digits16).run())
    # A round is 16 images: each tick ends with the first round at or past a multiple of 150, the last past 650.
    assert [tick.images_seen for tick in ticks] == [160, 304, 464, 608, 656]
    assert {tick.images_total for tick in ticks} == {650}
    everything = {"samples", "checkpoint", "evaluation"}
    assert [set(tick.due) for tick in ticks] == [set(), {"samples"}, {"checkpoint"}, {"samples"}, everything]
    assert [tick.final for tick in ticks] == [False] * 4 + [True]
    lengths = [160, 144, 160, 144, 48]
    times = [images / tick.images_per_second for images, tick in zip(lengths, ticks, strict=True)]
    assert [tick.seconds for tick in ticks] == pytest.approx(list(itertools.accumulate(times)))


def test_epochs_are_counted_in_the_images_of_the_training_split(digits16: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(tiny_recipe(tmp_path, "train.epochs=0.5"), digits16)
    assert trainer.images_total == round(len(digits16.split("train")) / 2)


def test_metrics_are_means_over_the_tick(digits16: Dataset, tmp_path: Path) -> None:
    """Ten ticks of one round have the mean that one tick of ten rounds reports."""
    fine, coarse = (
        list(Trainer(tiny_recipe(tmp_path, "train.images=160", f"train.tick={tick}"), digits16).run())
        for tick in (16, 160)
    )
    assert (len(fine), len(coarse)) == (10, 1)
    for name in ("loss/discriminator", "loss/generator", "d_real", "d_fake", "gradient/discriminator"):
        mean = sum(tick.metrics[name] for tick in fine) / 10
        assert coarse[0].metrics[name] == pytest.approx(mean, rel=1e-5)
    # What is judged once a tick is of its last round.
    assert coarse[0].metrics["d_fake_after_g"] == pytest.approx(fine[-1].metrics["d_fake_after_g"])


def test_lazy_penalties_are_averaged_over_the_steps_that_took_them(digits16: Dataset, tmp_path: Path) -> None:
    penalty = "method.penalty={kind: r1, gamma: 1, every: 4}"
    fine, coarse = (
        list(Trainer(tiny_recipe(tmp_path, "train.images=160", f"train.tick={tick}", penalty), digits16).run())
        for tick in (16, 160)
    )
    taken = [tick.metrics["penalty/r1"] for tick in fine if "penalty/r1" in tick.metrics]
    assert len(taken) == 3  # at steps 0, 4 and 8
    assert coarse[0].metrics["penalty/r1"] == pytest.approx(sum(taken) / 3, rel=1e-5)


def test_the_first_judgements_are_those_of_the_first_weights(digits16: Dataset, tmp_path: Path) -> None:
    """D(x), D(G(z)), the losses and the gradient's norm of step 0, computed by hand from the networks as built."""
    recipe = tiny_recipe(tmp_path, "train.images=16")
    trainer = Trainer(recipe, digits16)
    generator, discriminator = copy.deepcopy(trainer.method.generator), copy.deepcopy(trainer.method.discriminator)
    (tick,) = trainer.run()
    real = open_batches(digits16.split("train"), 16, recipe.train.seed, (0, 16))[0].images
    fake = generator(Draws(recipe.train.seed, 16, (0, 16), "cpu").latents("discriminator/0", 6, "normal"))
    d_real, d_fake = torch.sigmoid(discriminator(real)), torch.sigmoid(discriminator(fake))
    loss = F.binary_cross_entropy(d_real, torch.ones(16)) + F.binary_cross_entropy(d_fake, torch.zeros(16))
    gradient = torch.autograd.grad(loss, list(discriminator.parameters()))
    assert tick.metrics["d_real"] == pytest.approx(d_real.mean().item(), rel=1e-5)
    assert tick.metrics["d_fake"] == pytest.approx(d_fake.mean().item(), rel=1e-5)
    assert tick.metrics["loss/discriminator"] == pytest.approx(loss.item(), rel=1e-5)
    norm = torch.cat([part.flatten() for part in gradient]).norm().item()
    assert tick.metrics["gradient/discriminator"] == pytest.approx(norm, rel=1e-4)
    # D after a step of torch's Adam on that gradient, before G's; then G has learned to be taken for real by this D.
    side = recipe.optim.discriminator
    adam = torch.optim.Adam(discriminator.parameters(), side.lr, side.betas)
    for parameter, part in zip(discriminator.parameters(), gradient, strict=True):
        parameter.grad = part
    adam.step()
    stepped = torch.sigmoid(discriminator(fake)).mean().item()
    assert tick.metrics["d_fake_before_g"] == pytest.approx(stepped, rel=1e-5)
    assert tick.metrics["d_fake_after_g"] > tick.metrics["d_fake_before_g"]


@pytest.mark.parametrize("discriminator", [DROPOUT, BATCH_NORM], ids=["dropout", "batch norm"])
def test_the_length_of_a_tick_changes_nothing(discriminator: str, digits16: Dataset, tmp_path: Path) -> None:
    """What is judged at a tick's end leaves no trace: no draws used up, no running statistics moved."""
    snapshots = []
    for tick in (16, 160):
        trainer = Trainer(tiny_recipe(tmp_path, "train.images=160", f"train.tick={tick}", discriminator), digits16)
        list(trainer.run())
        snapshots.append(trainer.snapshot())
    assert_equal(*snapshots)


def test_a_run_neither_uses_nor_disturbs_torchs_own_randomness(digits16: Dataset, tmp_path: Path) -> None:
    snapshots = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        trainer = Trainer(tiny_recipe(tmp_path, "train.images=64", DROPOUT), digits16)
        list(trainer.run())
        trainer.sample(4)
        assert torch.equal(torch.get_rng_state(), before)
        snapshots.append(trainer.snapshot())
    assert_equal(*snapshots)


def test_the_seed_decides_the_run(digits16: Dataset, tmp_path: Path) -> None:
    weights = []
    for seed in (0, 1):
        trainer = Trainer(tiny_recipe(tmp_path, "train.images=32", f"train.seed={seed}"), digits16)
        list(trainer.run())
        weights.append(trainer.snapshot().tensors["generator"])
    assert all(not torch.equal(x, weights[1][name]) for name, x in weights[0].items() if x.numel() > 1)


def test_a_run_that_diverges_says_so(digits16: Dataset, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, DROPOUT, "optim.discriminator={kind: sgd, lr: 10}", "train.tick=640")
    recipe = recipe.with_overrides("method.penalty={kind: r1, gamma: 1000}")
    with pytest.raises(UserError, match=r"^training diverged between 0 and 640 images: .* lower the learning rates"):
        list(Trainer(recipe, digits16).run())


def test_a_dataset_of_another_shape_is_refused(digits28: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds 28x28x1 images and recipe tiny wants 16x16x1"):
        Trainer(tiny_recipe(tmp_path), digits28)


def test_a_batch_larger_than_the_dataset_is_refused(digits16: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a batch of 4000 images cannot be drawn from 16\d\d; lower train.batch"):
        Trainer(tiny_recipe(tmp_path, "train.batch=4000"), digits16)
