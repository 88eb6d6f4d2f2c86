"""Encoder and generator (SYSTEMS.md A8): the networks, the two losses, what it makes of images, and between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from torch import Tensor

from ganlib.data import Dataset, Preparation
from ganlib.data.batches import Batch, normalise
from ganlib.draws import Draws
from ganlib.errors import UserError
from ganlib.evaluation.reconstruction import Reconstructions
from ganlib.inputs import held_out, held_out_rows, read_inputs
from ganlib.methods.base import DataShape, Loss
from ganlib.methods.encoder import EncoderConfig, EncoderGenerator, EncoderToImage, Reconstruction
from ganlib.networks.base import ImageShape
from ganlib.networks.encoder import ConvEncoder
from ganlib.recipe import Recipe
from ganlib.sampling import Sampler, load_sampler
from ganlib.training.trainer import Trainer

from .conftest import tiny_recipe

SHIPPED = Path(__file__).parents[2] / "pipelines" / "recipes" / "mnist-encoder.yaml"
TINY = """
name: tiny-encoder
data: {size: 16, channels: 1}
method:
  kind: encoder
  encoder: {widths: [8, 8], features: 32}
  code: 16
  generator: {kind: convnet, width: 8, widest: 16}
  discriminator: {kind: convnet, width: 4, widest: 8}
optim:
  generator: {kind: adam, lr: 3.0e-3, betas: [0.5, 0.99]}
  discriminator: {kind: adam, lr: 1.0e-3, betas: [0.5, 0.99]}
  ema_half_life: 200
train: {batch: 32, images: 6400, tick: 640}
"""


def inputs_of(dataset: Dataset, count: int, seed: int = 0, first: int = 0) -> np.ndarray:
    """The images that `told_of` takes."""
    return held_out(dataset).take(held_out_rows(dataset, count, seed, first))


def tiny(*overrides: str) -> Recipe:
    return Recipe.parse(yaml.safe_load(TINY), overrides)


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def trainer(digits16: Dataset) -> Trainer:
    trainer = Trainer(tiny(), digits16)
    trainer.ticks = list(trainer.run())
    return trainer


@pytest.fixture(scope="module")
def sampler(trainer: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    return load_sampler(trainer.snapshot().write(tmp_path_factory.mktemp("encoder") / "checkpoint"))


def test_the_encoder_is_a8s() -> None:
    """Conv 3x3 32 ReLU, pool, Conv 3x3 64 ReLU, pool, Flatten, Linear 128 ReLU, written out in float64."""
    torch.manual_seed(0)
    encoder = ConvEncoder(ImageShape(28, 28, 1), (32, 64), 128).double()
    x = torch.randn(3, 1, 28, 28, dtype=torch.float64)
    first, second, last = (encoder[i] for i in (0, 3, 7))
    y = F.max_pool2d(F.conv2d(x, first.weight, first.bias).clamp(min=0), 2)
    assert y.shape == (3, 32, 13, 13)
    y = F.max_pool2d(F.conv2d(y, second.weight, second.bias).clamp(min=0), 2)
    assert y.shape == (3, 64, 5, 5)
    y = (y.reshape(3, 1600) @ last.weight.T + last.bias).clamp(min=0)
    torch.testing.assert_close(encoder(x), y)
    assert y.shape == (3, 128)
    assert (y > 0).any()
    # Glorot-uniform: bounded by sqrt(6 / (fan in + fan out)), of variance 2 / (fan in + fan out).
    assert last.weight.abs().max() <= (6 / 1728) ** 0.5
    assert last.weight.var().item() == pytest.approx(2 / 1728, rel=0.02)
    assert not any(layer.bias.any() for layer in (first, second, last))
    assert parameters(encoder) == (9 * 32 + 32) + (9 * 32 * 64 + 64) + (1600 * 128 + 128)


def test_the_shipped_recipe_has_a2_on_both_sides_of_the_code() -> None:
    recipe = Recipe.load(SHIPPED)
    with torch.device("meta"):
        method = recipe.method.build(recipe.shape)
    generator, discriminator = 7 * 7 * 256 * 100 + 2 * 12544 + 25 * (256 * 128 + 128 * 64 + 64) + 2 * 192 + 1, 212_865
    assert parameters(method.generator) == 223_744 + (128 * 100 + 100) + generator
    assert parameters(method.discriminator) == discriminator


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_the_generators_loss_is_adversarial_and_reconstruction(kind: str) -> None:
    recipe = tiny(f"method.reconstruction={{kind: {kind}, weight: 3.5}}", "method.objective=least-squares")
    method = recipe.method.build(recipe.shape).double().eval()
    method.draws = Draws(0, 5, (0, 5), "cpu")
    images = torch.rand(5, 1, 16, 16, dtype=torch.float64) * 2 - 1
    batch = Batch(images)
    fakes = method.generate(batch, method.draw(method.draws, "generator/0"))
    loss = method.generator_loss(batch, fakes)
    made, real = fakes.detach().numpy(), images.numpy()
    distance = np.abs(made - real).mean() if kind == "l1" else ((made - real) ** 2).mean()
    logits = method.discriminator(fakes).detach().numpy()
    adversarial = 0.5 * ((logits - 1) ** 2).mean()
    assert loss.total.item() == pytest.approx(adversarial + 3.5 * distance, rel=1e-6)
    assert loss.parts["loss/generator"].item() == pytest.approx(adversarial, rel=1e-6)
    assert loss.parts["loss/reconstruction"].item() == pytest.approx(distance, rel=1e-6)
    # It reaches every weight of the three networks: the encoder, the dense layer, the generator.
    slopes = torch.autograd.grad(loss.total, list(method.generator.parameters()))
    assert all(slope.abs().sum() > 0 for slope in slopes)


def test_the_reconstruction_loss_is_in_float32_whatever_the_networks_compute_in() -> None:
    made = torch.full((1, 1, 1, 3000), 1.0, dtype=torch.bfloat16)
    images = torch.full((1, 1, 1, 3000), 1 / 3)
    assert Reconstruction(kind="l1").distance(made, images).item() == pytest.approx(2 / 3, rel=1e-6)


def test_it_learns_to_make_images_again(trainer: Trainer) -> None:
    losses = [tick.metrics["loss/reconstruction"] for tick in trainer.ticks]
    assert losses[-1] < 0.6 * losses[0]
    # Those of the test split, too: far closer than an image is to the test split's mean.
    inputs = inputs_of(trainer.dataset, 100).astype(float)
    error = np.abs(trainer.sample(100).numpy() - inputs).mean()
    assert error < 0.75 * np.abs(inputs - inputs.mean(0)).mean()


def test_a_resumed_run_is_the_uninterrupted_one(digits16: Dataset, tmp_path: Path) -> None:
    whole = Trainer(tiny("train.images=320", "train.tick=160"), digits16)
    next(ticks := whole.run())
    folder = whole.snapshot().write(tmp_path / "checkpoint")
    list(ticks)
    resumed = Trainer(whole.recipe, digits16, resume=folder)
    list(resumed.run())
    for name, tensor in whole.method.state_dict().items():
        assert torch.equal(resumed.method.state_dict()[name], tensor), name


def test_what_is_made_of_an_image_depends_on_it_alone(sampler: Sampler, digits16: Dataset) -> None:
    inputs = inputs_of(digits16, 150)
    whole = sampler.sample(150, inputs=inputs)
    assert whole.shape == (150, 16, 16, 1)
    assert whole.dtype == np.uint8
    for rows in ([3], [149, 3], list(range(60, 130))):
        np.testing.assert_array_equal(sampler.sample(len(rows), inputs=inputs[rows]), whole[rows])
    # The network's own answer, in eval mode.
    with torch.no_grad():
        expected = sampler.generator.eval()(normalise(torch.from_numpy(inputs)))
    difference = np.abs(whole[..., 0].astype(float) - ((expected + 1) * 127.5)[:, 0].numpy())
    assert difference.max() < 0.51


def test_a_sampler_makes_what_the_trainer_makes(trainer: Trainer, sampler: Sampler) -> None:
    made = sampler.sample(9, inputs=inputs_of(trainer.dataset, 9, seed=4))
    np.testing.assert_array_equal(made, trainer.sample(9, seed=4).numpy())
    assert trainer.method.generator.training


def test_between_two_images_codes_lie_on_a_line(sampler: Sampler, digits16: Dataset) -> None:
    inputs = inputs_of(digits16, 3, seed=1)
    made = sampler.sample(3, inputs=inputs, interpolate=4)
    assert made.shape == (3 + 2 * 4, 16, 16, 1)
    np.testing.assert_array_equal(made[::5], sampler.sample(3, inputs=inputs))
    generator = sampler.generator.eval()
    assert isinstance(generator, EncoderGenerator)
    with torch.no_grad():
        a, b, c = generator.encode(normalise(torch.from_numpy(inputs)))
        codes = [a + j / 5 * (b - a) for j in range(1, 5)] + [b + j / 5 * (c - b) for j in range(1, 5)]
        expected = ((generator.decoder(torch.stack(codes)) + 1) * 127.5)[:, 0].numpy()
    between = made[[1, 2, 3, 4, 6, 7, 8, 9], :, :, 0].astype(float)
    assert np.abs(between - expected).max() < 0.51
    alone = sampler.sample(1, inputs=inputs[:1], interpolate=4)
    np.testing.assert_array_equal(alone, made[:1])


def test_what_it_cannot_make_is_refused(sampler: Sampler, digits16: Dataset, tmp_path: Path) -> None:
    inputs = inputs_of(digits16, 2)
    with pytest.raises(UserError, match="makes images of inputs; give some for each image"):
        sampler.sample(2)
    with pytest.raises(UserError, match="takes no labels; leave the labels out"):
        sampler.sample(2, inputs=inputs, labels=[1, 2])
    for wrong in (inputs[:1], inputs[:, :8], inputs.astype(np.float32)):
        with pytest.raises(UserError, match=r"the inputs are .* have to be uint8 2x16x16x1"):
            sampler.sample(2, inputs=wrong)
    noise = Trainer(tiny_recipe(tmp_path), digits16)
    with pytest.raises(UserError, match="the generator of tiny takes no inputs"):
        load_sampler(noise.snapshot().write(tmp_path / "noise")).sample(2, inputs=inputs)
    with pytest.raises(UserError, match="the encoder's 4 stages leave nothing of 16x16 images"):
        tiny("method.encoder.widths=[8, 8, 8, 8]")


class Spy(EncoderToImage):
    """Writes down, of each judgement, the images and the fakes."""

    def __init__(self, config: EncoderConfig, data: DataShape):
        super().__init__(config, data)
        self.log: list[tuple[Tensor, Tensor]] = []

    def generate(self, batch: Batch, latents: Tensor) -> Tensor:
        assert latents.shape == (len(batch.images), 0)
        return batch.images * (1 + 0 * super().generate(batch, latents))

    def discriminator_loss(self, batch: Batch, fakes: Tensor, step: int) -> Loss:
        self.log.append((batch.images, fakes))
        return super().discriminator_loss(batch, fakes, step)

    def generator_loss(self, batch: Batch, fakes: Tensor) -> Loss:
        self.log.append((batch.images, fakes))
        return super().generator_loss(batch, fakes)


class SpyConfig(EncoderConfig):
    def build(self, data: DataShape) -> Spy:
        return Spy(self, data)


@pytest.mark.parametrize("noise", ["shared", "fresh"])
def test_fakes_are_made_from_the_batch_that_they_are_judged_with(noise: str, digits16: Dataset) -> None:
    """Also where several discriminator steps of a round, each with a batch of its own, share their noise."""
    recipe = tiny(
        f"train.steps={{discriminator: 3, generator: 2, noise: {noise}}}", "train.images=192", "train.tick=192"
    )
    recipe = recipe.model_copy(update={"method": SpyConfig.model_validate(recipe.method.model_dump())})
    trainer = Trainer(recipe, digits16)
    list(trainer.run())
    assert isinstance(trainer.method, Spy)
    assert len(trainer.method.log) == 2 * (3 + 2) + 2  # at the tick's end the batch once more, and held-out images
    assert all(torch.equal(images, fakes) for images, fakes in trainer.method.log)
    assert not torch.equal(trainer.method.log[0][0], trainer.method.log[1][0])


def test_every_held_out_image_is_an_input_once(digits16: Dataset) -> None:
    test = digits16.split("test")
    n = len(test)
    inputs = np.concatenate([inputs_of(digits16, 50, 3, 0), inputs_of(digits16, n - 50, 3, 50)])
    keys = sorted(image.tobytes() for image in inputs)
    assert keys == sorted(image.tobytes() for image in test.images)
    np.testing.assert_array_equal(inputs_of(digits16, 2, 3, n + 7), inputs[7:9])
    assert not np.array_equal(inputs_of(digits16, 50, 4), inputs[:50])


def test_reconstructions_are_judged_by_their_mean_distance(sampler: Sampler, digits16: Dataset) -> None:
    made = Reconstructions(sampler, digits16)
    assert made.count == len(digits16.split("test"))
    inputs = inputs_of(digits16, 40, 2) / 127.5 - 1
    images = made.sample(40, 2) / 127.5 - 1
    each = np.abs(images - inputs).mean((1, 2, 3))
    assert made.metrics(40, 2) == {
        "reconstruction/l1": pytest.approx(each.mean(), rel=1e-6),
        "reconstruction_se/l1": pytest.approx(each.std(ddof=1) / np.sqrt(40), rel=1e-6),
    }
    np.testing.assert_array_equal(made.sample(5, 2, first=10), made.sample(15, 2)[10:])


def test_a_persons_images_are_prepared_as_a_datasets(tmp_path: Path) -> None:
    grey = np.arange(100, dtype=np.uint8).reshape(10, 10)
    Image.fromarray(grey).save(tmp_path / "b.png")
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = (255, 0, 0)
    Image.fromarray(wide).save(tmp_path / "a.PNG")
    (tmp_path / "notes.txt").write_text("no image")
    names, images = read_inputs(tmp_path, Preparation(size=10, channels=1))
    assert names == ["a", "b"]
    assert images.shape == (2, 10, 10, 1)
    np.testing.assert_array_equal(images[0], 76)  # the centre square, its luma 0.299 * 255
    np.testing.assert_array_equal(images[1, :, :, 0], grey)
    names, padded = read_inputs(tmp_path / "a.PNG", Preparation(size=30, channels=3, fit="pad"))
    assert names == ["a"]
    np.testing.assert_array_equal(padded[0, 10:20], wide)
    assert not padded[0, :10].any()


def test_images_that_cannot_be_inputs(tmp_path: Path) -> None:
    preparation = Preparation(size=16)
    with pytest.raises(UserError, match="has no images"):
        read_inputs(tmp_path, preparation)
    with pytest.raises(UserError, match=r"none\.png cannot be read: No such file"):
        read_inputs(tmp_path / "none.png", preparation)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(UserError, match=r"broken\.png cannot be used"):
        read_inputs(tmp_path, preparation)
