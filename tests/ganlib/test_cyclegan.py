"""CycleGAN (SYSTEMS.md B2): its losses written out, what it makes, what it is refused, resume."""

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
from ganlib.methods.cyclegan import CycleGAN
from ganlib.recipe import Recipe
from ganlib.sampling import Sampler
from ganlib.training.trainer import Trainer

from .conftest import assert_equal, trained_sampler
from .domains_data import digits_in_domains

TINY = """
name: tiny-cyclegan
data: {size: 16, channels: 1, domains: 2}
method:
  kind: cyclegan
  generator: {width: 4, blocks: 1}
  discriminator: {width: 4, layers: 2, norm: instance}
  pool: 5
optim:
  generator: {kind: adam, lr: 1.0e-3, betas: [0.5, 0.999], decay: {kind: linear, start: 0.5}}
  discriminator: {kind: adam, lr: 1.0e-3, betas: [0.5, 0.999], decay: {kind: linear, start: 0.5}}
train: {batch: 3, images: 60, tick: 30}
"""


def tiny(*overrides: str) -> Recipe:
    return Recipe.parse(yaml.safe_load(TINY), overrides)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return digits_in_domains(tmp_path_factory.mktemp("cyclegan"), 16, 1, 2)


@pytest.fixture(scope="module")
def sampler(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    return trained_sampler(tiny("train.images=30", "optim.*.lr=1e-2"), digits, tmp_path_factory.mktemp("cyclegan"))


def built(*overrides: str) -> tuple[CycleGAN, Batch]:
    recipe = tiny(*overrides)
    torch.manual_seed(0)
    method = recipe.method.build(recipe.shape).double()
    for parameter in method.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2)
    method.draws = Draws(0, 3, (0, 3), "cpu")
    a, b = (torch.rand(3, 1, 16, 16, dtype=torch.float64) * 2 - 1 for _ in range(2))
    assert isinstance(method, CycleGAN)
    return method, Batch(a, partners=b)


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def test_its_losses_are_the_papers() -> None:
    method, batch = built("method.adversarial=2", "method.cycle=7", "method.identity=0.25", "method.pool=0")
    a, b = batch.images, batch.partners
    assert b is not None
    g, f = method.generator.second, method.generator.first  # G: A -> B, F: B -> A, as the paper calls them
    fakes = method.generate(batch, method.draw(method.draws, "generator/0"))
    assert fakes.shape == (3, 2, 1, 16, 16)
    loss = method.generator_loss(batch, fakes)
    d_a, d_b = method.discriminator.first, method.discriminator.second
    judged = [numbers(d_b(g(a))), numbers(d_a(f(b)))]
    adversarial = sum(((logits - 1) ** 2).mean() for logits in judged)
    cycle = np.abs(numbers(f(g(a)) - a)).mean() + np.abs(numbers(g(f(b)) - b)).mean()
    identity = np.abs(numbers(g(b) - b)).mean() + np.abs(numbers(f(a) - a)).mean()
    assert loss.total.item() == pytest.approx(adversarial + 7 * cycle + 0.25 * 7 * identity, rel=1e-6)
    assert loss.parts["loss/cycle"].item() == pytest.approx(cycle, rel=1e-6)
    assert loss.parts["loss/identity"].item() == pytest.approx(identity, rel=1e-6)
    assert loss.parts["d_fake"].item() == pytest.approx(np.mean([x.clip(0, 1).mean() for x in judged]), rel=1e-6)
    slopes = torch.autograd.grad(loss.total, [p for p in method.generator.parameters() if p.dim() == 4])
    assert all(slope.abs().sum() > 0 for slope in slopes)

    found = method.discriminator_loss(batch, fakes.detach(), 0)
    real = [numbers(d_a(a)), numbers(d_b(b))]
    expected = sum(((x - 1) ** 2).mean() / 2 for x in real) + sum((x**2).mean() / 2 for x in judged)
    assert found.total.item() == pytest.approx(expected, rel=1e-6)
    assert found.parts["loss/discriminator"].item() == pytest.approx(expected, rel=1e-6)


def test_discriminators_see_past_fakes_of_their_own_side() -> None:
    method, batch = built("method.pool=3")
    first = torch.stack([torch.full((3, 1, 16, 16), 0.25), torch.full((3, 1, 16, 16), -0.25)], 1)
    method.discriminator_loss(batch, first, 0)
    assert torch.equal(method.own_state()["pools.0.images"].float(), first[:, 0])
    assert torch.equal(method.own_state()["pools.1.images"].float(), first[:, 1])
    seen: list[Tensor] = []
    method.discriminator.second.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    for step in range(1, 6):
        method.draws.at(step)
        method.discriminator_loss(batch, torch.full((3, 2, 1, 16, 16), float(step)), step)
    shown = torch.cat([images[3:] for images in seen])[:, 0, 0, 0]
    assert -0.25 in shown.tolist()
    assert 0.25 not in shown.tolist()
    # The pool changes with D's steps alone.
    before = {name: x.clone() for name, x in method.own_state().items()}
    method.generator_loss(batch, method.generate(batch, torch.empty(3, 0)))
    assert all(torch.equal(x, before[name]) for name, x in method.own_state().items())


def test_a_resumed_run_is_the_uninterrupted_one(digits: Dataset, tmp_path: Path) -> None:
    whole = Trainer(tiny(), digits)
    next(ticks := whole.run())
    folder = whole.snapshot().write(tmp_path / "checkpoint")
    list(ticks)
    resumed = Trainer(Recipe.load(folder / "recipe.yaml"), digits, resume=folder)
    assert resumed.method.own_state()["pools.0.images"].abs().sum() > 0
    list(resumed.run())
    assert_equal(resumed.snapshot(), whole.snapshot())
    assert whole.progress.discriminator_steps == 20


def test_it_trains_on_single_images_under_another_game(digits: Dataset) -> None:
    recipe = tiny(
        "train={batch: 1, images: 4, tick: 4}", "method.objective=hinge", "method.penalty={kind: r1, gamma: 0.1}",
        "method.augment={kind: adaptive, probability: 0.5}", "train.precision=bf16",
    )  # fmt: skip
    (tick,) = Trainer(recipe, digits).run()
    assert {"loss/cycle", "loss/identity", "penalty/r1", "augment/probability"} <= tick.metrics.keys()


def test_an_image_goes_to_the_domain_that_it_is_told(sampler: Sampler, digits: Dataset) -> None:
    told = told_of(digits, sampler.recipe.method, 20)
    split = digits.split("test")
    own = {image.tobytes(): row for image, row in zip(split.images, split.column("domains"), strict=True)}  # type: ignore[arg-type]
    for image, target in zip(told["inputs"], told["domains"], strict=True):
        assert (own[image.tobytes()] + target == 1).all()
    made = sampler.sample(20, **told)
    with torch.no_grad():
        images = normalise(torch.from_numpy(told["inputs"]))
        first, second = (network(images) for network in (sampler.generator.first, sampler.generator.second))
    expected = torch.where(torch.from_numpy(told["domains"])[:, :1, None, None] > 0, first, second)
    assert np.abs(made[..., 0] - ((expected + 1) * 127.5)[:, 0].numpy()).max() < 0.51
    rows = [7, 3, 19]
    np.testing.assert_array_equal(
        sampler.sample(3, inputs=told["inputs"][rows], domains=told["domains"][rows]), made[rows]
    )


def test_what_it_cannot_make_is_refused(sampler: Sampler, digits: Dataset, tmp_path: Path) -> None:
    told = told_of(digits, sampler.recipe.method, 2)
    with pytest.raises(UserError, match="makes images of domains; give some for each image"):
        sampler.sample(2, inputs=told["inputs"])
    for wrong in ([[0, 0], [1, 0]], [[1, 1], [1, 0]]):
        with pytest.raises(UserError, match="an image goes to one domain"):
            sampler.sample(2, inputs=told["inputs"], domains=np.array(wrong, np.uint8))
    with pytest.raises(UserError, match="have to be uint8 2x2"):
        sampler.sample(2, inputs=told["inputs"], domains=np.eye(3, dtype=np.uint8)[:2])
    with pytest.raises(UserError, match="nothing between two inputs"):
        sampler.sample(2, interpolate=1, **told)
    with pytest.raises(UserError, match=r"goes between two domains, and data.domains is 0"):
        tiny("data.domains=0")
    three = digits_in_domains(tmp_path, 16, 1, 3, count=30)
    with pytest.raises(UserError, match="has 3 domains and recipe tiny-cyclegan is for 2"):
        Trainer(tiny(), three)
    both = digits_in_domains(tmp_path, 16, 1, 2, count=30, attributes=True)
    with pytest.raises(UserError, match="needs each image in one domain"):
        Trainer(tiny(), both)
