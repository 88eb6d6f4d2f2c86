"""Samples: each a function of (seed, number), from the moving average, the same from a checkpoint and its export."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from ganlib.data import Dataset
from ganlib.data.batches import quantise
from ganlib.draws import draw_latents, stream_generator
from ganlib.errors import UserError
from ganlib.methods.base import SampleRequest
from ganlib.methods.noise_to_image import SAMPLE_BLOCK
from ganlib.recipe import Recipe
from ganlib.sampling import export_generator, load_sampler
from ganlib.training.trainer import Trainer

from .conftest import tiny_recipe


@pytest.fixture(scope="module")
def trainer(digits16: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    trainer = Trainer(tiny_recipe(tmp_path_factory.mktemp("recipe"), "train.images=320"), digits16)
    list(trainer.run())
    return trainer


@pytest.fixture(scope="module")
def checkpoint(trainer: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trainer.snapshot().write(tmp_path_factory.mktemp("sampling") / "checkpoint")


def test_an_image_is_the_same_whatever_is_asked_for_with_it(checkpoint: Path) -> None:
    sampler = load_sampler(checkpoint)
    whole = sampler.sample(600, seed=3)
    assert whole.shape == (600, 16, 16, 1)
    assert whole.dtype == np.uint8
    assert len(np.unique(whole.reshape(600, -1), axis=0)) == 600
    for first, count in ((0, 1), (0, 64), (5, 300), (255, 2), (256, 1), (599, 1), (250, 280)):
        found = sampler.sample(count, seed=3, first=first).astype(int)
        differences = np.abs(found - whole[first : first + count])
        # In a batch of another size a network may round its sums otherwise, and a pixel be one level off.
        assert differences.max() <= 1
        assert differences.mean() < 1e-3
    assert not np.array_equal(sampler.sample(10, seed=4), whole[:10])


def test_a_sampler_makes_what_the_trainer_makes(trainer: Trainer, checkpoint: Path) -> None:
    sampler = load_sampler(checkpoint)
    assert sampler.images_seen == 320
    assert sampler.recipe == trainer.recipe
    assert sampler.stem == "generator_ema"
    np.testing.assert_array_equal(sampler.sample(20, seed=9), trainer.sample(20, seed=9).numpy())
    # It is the average that is sampled, in eval mode, which the trainer's generator is not left in.
    assert trainer.average is not None
    request = SampleRequest(20, seed=9)
    plain = trainer.method.sample(trainer.method.generator, request)
    assert not torch.equal(plain, trainer.sample(20, seed=9))
    assert trainer.method.generator.training


def test_samples_are_the_networks_in_eval_mode(trainer: Trainer, checkpoint: Path) -> None:
    """The weights from the file, put into a network of the recipe by hand."""
    generator = trainer.recipe.method.generator.build(6, trainer.recipe.image)
    generator.load_state_dict(safetensors.torch.load_file(checkpoint / "generator_ema.safetensors"))
    latents = draw_latents(stream_generator("cpu", 2, "sample", 0), SAMPLE_BLOCK, 6, "normal")
    with torch.no_grad():
        expected = (generator.eval()(latents) + 1) * 127.5
    found = load_sampler(checkpoint).sample(SAMPLE_BLOCK, seed=2)
    assert np.abs(found[..., 0] - expected[:, 0].numpy()).max() < 0.501


def test_without_an_average_the_generator_is_sampled(digits16: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(tiny_recipe(tmp_path, "train.images=32", "optim.ema_half_life=0"), digits16)
    list(trainer.run())
    sampler = load_sampler(trainer.snapshot().write(tmp_path / "checkpoint"))
    assert sampler.stem == "generator"
    np.testing.assert_array_equal(sampler.sample(4), trainer.sample(4).numpy())


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_latents_of_samples_have_the_recipes_distribution(distribution: str, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, f"method.latent.distribution={distribution}", "method.latent.dim=50")

    class Recorder(torch.nn.Module):
        """Keeps the latents that it is given; its images are grey."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.seen: list[torch.Tensor] = []

        def forward(self, latents: torch.Tensor) -> torch.Tensor:
            self.seen.append(latents)
            return torch.zeros(len(latents), 1, 16, 16)

    recorder = Recorder()
    images = recipe.method.build(recipe.shape).sample(recorder, SampleRequest(448, seed=1))
    assert images.unique().tolist() == [128]
    latents = torch.cat(recorder.seen).double()
    assert latents.shape == (448, 50)  # seven whole blocks of 64
    # 22,400 numbers: the standard error of the mean square is sqrt(E z^4 - (E z^2)^2) / 149.
    if distribution == "uniform":
        assert latents.abs().max() <= 1
        assert abs(latents.square().mean().item() - 1 / 3) < 5 * (1 / 5 - 1 / 9) ** 0.5 / 149
    else:
        assert latents.abs().max() > 3
        assert abs(latents.square().mean().item() - 1) < 5 * 2**0.5 / 141


def test_an_export_is_smaller_and_samples_the_same(checkpoint: Path, tmp_path: Path, digits16: Dataset) -> None:
    export_generator(checkpoint, tmp_path / "export")
    names = sorted(path.name for path in (tmp_path / "export").iterdir())
    assert names == ["generator_ema.safetensors", "progress.json", "recipe.yaml"]
    np.testing.assert_array_equal(load_sampler(tmp_path / "export").sample(5), load_sampler(checkpoint).sample(5))
    assert load_sampler(tmp_path / "export").images_seen == 320
    # It is not a checkpoint to go on training from.
    with pytest.raises(UserError, match="does not fit the recipe: generator has nothing at"):
        Trainer(Recipe.load(tmp_path / "export" / "recipe.yaml"), digits16, resume=tmp_path / "export")


def test_a_sampler_does_not_need_the_discriminator(checkpoint: Path, tmp_path: Path) -> None:
    """Damage to what sampling does not read is not its concern; damage to what it reads is."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint, folder)
    for name, harmless in (("discriminator", True), ("generator_ema", False)):
        path = folder / f"{name}.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"\x00")
        if harmless:
            load_sampler(folder)
        else:
            with pytest.raises(UserError, match=r"generator_ema\.safetensors is not what was written"):
                load_sampler(folder)


@pytest.mark.parametrize(("count", "seed", "first"), [(0, 0, 0), (1, -1, 0), (1, 2**63, 0), (1, 0, -1)])
def test_impossible_requests_are_refused(count: int, seed: int, first: int, checkpoint: Path) -> None:
    with pytest.raises(UserError, match=f"cannot sample {count} images from number {first} on with seed {seed}"):
        load_sampler(checkpoint).sample(count, seed, first)


def test_quantise_rounds_to_the_nearest_and_clips() -> None:
    values = torch.tensor([-2.0, -1, -0.9999, 0, 1 / 127.5, 0.9999, 1, 2])
    pixels = quantise(values.view(1, 1, 1, 8))
    assert pixels.flatten().tolist() == [0, 0, 0, 128, 128, 255, 255, 255]
