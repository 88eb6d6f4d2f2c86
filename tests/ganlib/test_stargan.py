"""StarGAN (SYSTEMS.md B3): its losses written out, whom images are translated to, what it is refused, resume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from ganlib.data import Dataset
from ganlib.data.batches import Batch, normalise
from ganlib.draws import Draws
from ganlib.errors import UserError
from ganlib.inputs import told_of
from ganlib.methods.stargan import StarGAN
from ganlib.methods.translating import other_domains
from ganlib.recipe import Recipe
from ganlib.sampling import Sampler
from ganlib.training.trainer import Trainer

from .conftest import assert_equal, trained_sampler
from .domains_data import digits_in_domains

TINY = """
name: tiny-stargan
data: {size: 16, channels: 1, domains: 3}
method:
  kind: stargan
  generator: {width: 4, blocks: 1, kernel: 4, padding: zeros, affine: true, init: torch}
  discriminator: {width: 4, layers: 3}
optim:
  generator: {kind: adam, lr: 1.0e-3, betas: [0.5, 0.999]}
  discriminator: {kind: adam, lr: 1.0e-3, betas: [0.5, 0.999]}
train: {batch: 5, images: 100, tick: 50, steps: {discriminator: 5}}
"""


def tiny(*overrides: str) -> Recipe:
    return Recipe.parse(yaml.safe_load(TINY), overrides)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return digits_in_domains(tmp_path_factory.mktemp("stargan"), 16, 1, 3)


@pytest.fixture(scope="module")
def sampler(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    return trained_sampler(tiny("train.images=25"), digits, tmp_path_factory.mktemp("stargan"))


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def built(*overrides: str) -> tuple[StarGAN, Batch]:
    recipe = tiny(*overrides)
    torch.manual_seed(0)
    method = recipe.method.build(recipe.shape).double()
    method.draws = Draws(0, 4, (0, 4), "cpu")
    domains = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]])
    if "method.domains=attributes" in overrides:
        domains[0, 2] = domains[2, 1] = 1
    assert isinstance(method, StarGAN)
    return method, Batch(torch.rand(4, 1, 16, 16, dtype=torch.float64) * 2 - 1, domains=domains)


def classification(kind: str, logits: np.ndarray, domains: np.ndarray) -> float:
    """-log p(c|x) by the definitions of softmax and sigmoid, a mean over images."""
    if kind == "exclusive":
        return -np.log((np.exp(logits) * domains).sum(1) / np.exp(logits).sum(1)).mean()
    p = 1 / (1 + np.exp(-logits))
    return -(domains * np.log(p) + (1 - domains) * np.log(1 - p)).sum(1).mean()


@pytest.mark.parametrize("kind", ["exclusive", "attributes"])
def test_its_losses_are_the_papers(kind: str) -> None:
    method, batch = built(f"method.domains={kind}", "method.classification=3", "method.reconstruction=7")
    assert batch.domains is not None
    own = batch.domains.numpy()
    fakes = method.generate(batch, method.draw(method.draws, "generator/0"))
    images, targets = fakes[:, :1], numbers(fakes[:, 1:])
    assert (targets == targets[:, :, :1, :1]).all()
    targets = targets[:, :, 0, 0]
    assert sorted(map(tuple, targets)) == sorted(map(tuple, own))  # a permutation of the batch's
    np.testing.assert_array_equal(numbers(method.generator(batch.images, torch.tensor(targets))), numbers(images))
    patches, told = (numbers(x) for x in method.discriminator(images))
    back = numbers(method.generator(images, batch.domains))
    distance = np.abs(back - batch.images.numpy()).mean()

    loss = method.generator_loss(batch, fakes)
    expected = -patches.mean() + 3 * classification(kind, told, targets) + 7 * distance
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)
    assert loss.parts["loss/reconstruction"].item() == pytest.approx(distance, rel=1e-6)
    slopes = torch.autograd.grad(loss.total, list(method.generator.parameters()))
    assert all(slope.abs().sum() > 0 for slope in slopes)

    method.draws.at(0)
    t = method.draws.uniform("gradient-penalty", (1, 1, 1)).double()
    between = (images.detach() + t * (batch.images - images.detach())).requires_grad_(True)
    (slope,) = torch.autograd.grad(method.discriminator(between)[0].sum(), between)
    penalty = ((np.sqrt((numbers(slope) ** 2).sum((1, 2, 3))) - 1) ** 2).mean()
    real_patches, real_told = (numbers(x) for x in method.discriminator(batch.images))
    expected = patches.mean() - real_patches.mean() + 10 * penalty + 3 * classification(kind, real_told, own)
    method.draws.at(0)
    found = method.discriminator_loss(batch, fakes.detach(), 0)
    assert found.total.item() == pytest.approx(expected, rel=1e-5)
    assert found.parts["loss/domains_real"].item() == pytest.approx(classification(kind, real_told, own), rel=1e-5)


def test_the_second_head_takes_no_second_forward() -> None:
    method, batch = built("method.penalty.kind=none")
    seen: list[int] = []
    method.discriminator.register_forward_hook(lambda _, args, out: seen.append(len(args[0])))
    fakes = method.generate(batch, method.draw(method.draws, "generator/0"))
    method.discriminator_loss(batch, fakes.detach(), 0)
    method.generator_loss(batch, fakes)
    assert seen == [8, 4]


def test_targets_change_from_round_to_round() -> None:
    method, batch = built()
    orders = set()
    for step in range(20):
        method.draws.at(step)
        fakes = method.generate(batch, method.draw(method.draws, "discriminator/0"))
        orders.add(tuple(fakes[:, 1:, 0, 0].argmax(1).tolist()))
    assert len(orders) > 5


def test_a_resumed_run_is_the_uninterrupted_one(digits: Dataset, tmp_path: Path) -> None:
    whole = Trainer(tiny(), digits)
    next(ticks := whole.run())
    folder = whole.snapshot().write(tmp_path / "checkpoint")
    list(ticks)
    resumed = Trainer(Recipe.load(folder / "recipe.yaml"), digits, resume=folder)
    list(resumed.run())
    assert_equal(resumed.snapshot(), whole.snapshot())
    assert (whole.progress.discriminator_steps, whole.progress.rounds) == (20, 4)


def test_it_trains_under_another_game(digits: Dataset) -> None:
    recipe = tiny("method.objective=relativistic", "method.penalty.kind=none", "train.precision=bf16", "train.batch=4")
    ticks = list(Trainer(recipe, digits).run())
    assert {"loss/domains_real", "loss/domains_fake", "loss/reconstruction"} <= ticks[-1].metrics.keys()


def test_an_image_goes_to_the_domain_that_it_is_told(sampler: Sampler, digits: Dataset) -> None:
    told = told_of(digits, sampler.recipe.method, 30)
    split = digits.split("test")
    own = {image.tobytes(): row for image, row in zip(split.images, split.column("domains"), strict=True)}  # type: ignore[arg-type]
    assert all(own[x.tobytes()] @ c == 0 for x, c in zip(told["inputs"], told["domains"], strict=True))
    assert (told["domains"].sum(0) > 3).all()
    made = sampler.sample(30, **told)
    with torch.no_grad():
        expected = sampler.generator(
            normalise(torch.from_numpy(told["inputs"])), torch.from_numpy(told["domains"]).float()
        )
    assert np.abs(made[..., 0] - ((expected + 1) * 127.5)[:, 0].numpy()).max() < 0.51
    rows = [7, 3, 29]
    alone = sampler.sample(3, inputs=told["inputs"][rows], domains=told["domains"][rows])
    np.testing.assert_array_equal(alone, made[rows])


def test_the_other_domains_come_in_turn() -> None:
    own = np.eye(4, dtype=np.uint8)[[0, 0, 0, 3, 3]]
    rows = np.array([0, 1, 2, 3, 7])
    assert other_domains(own, rows, exclusive=True).argmax(1).tolist() == [1, 2, 3, 0, 1]
    turned = other_domains(np.array([[1, 1, 0], [0, 0, 0]], np.uint8), np.array([1, 5]), exclusive=False)
    assert turned.tolist() == [[1, 0, 0], [0, 0, 1]]


def test_what_it_cannot_make_is_refused(sampler: Sampler, digits: Dataset, digits16: Dataset, tmp_path: Path) -> None:
    told = told_of(digits, sampler.recipe.method, 2)
    with pytest.raises(UserError, match="an image goes to one domain"):
        sampler.sample(2, inputs=told["inputs"], domains=np.ones((2, 3), np.uint8))
    with pytest.raises(
        UserError, match=r"goes between domains, and data.domains is 1; say how many the dataset has, 2"
    ):
        tiny("data.domains=1")
    with pytest.raises(UserError, match="needs the column 'domains', which dataset digits has not"):
        Trainer(tiny(), digits16)
    both = digits_in_domains(tmp_path, 16, 1, 3, count=40, attributes=True)
    with pytest.raises(UserError, match="needs each image in one domain"):
        Trainer(tiny(), both)
    list(Trainer(tiny("method.domains=attributes", "train.images=25"), both).run())
