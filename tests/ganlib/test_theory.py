"""The theory's quantities in closed form; D trained against a G whose density is known; the game's end."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganlib.data import Preparation, open_source, prepare_dataset
from ganlib.data.reading import Reading
from ganlib.data.sources.gaussians import GaussianMixture, known_truth
from ganlib.errors import UserError
from ganlib.networks.base import ImageShape
from ganlib.networks.mlp import MLPDiscriminator
from ganlib.theory.densities import BOTTOM, distance_to_optimum, js_divergence, optimal_discriminator, value
from ganlib.theory.figure import GameFigure
from ganlib.theory.line import Line, even_latents, look, pushed_density
from ganlib.theory.run import watch
from pipelines.shipped import find_recipe

LINE = Line(-8.0, 8.0, 2_000)


def normal(x: np.ndarray, mean: float, sigma: float) -> np.ndarray:
    density: np.ndarray = np.exp(-((x - mean) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    return density


def mixture() -> GaussianMixture:
    truth = known_truth("gaussian-mixture-1d")
    assert truth is not None
    return truth


class Logistic(nn.Module):
    """z of U[-1, 1] to `scale` times the logit of (z + 1) / 2, whose density is 1 / (4 s cosh^2(x / 2 s))."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def forward(self, latents: Tensor) -> Tensor:
        return (self.scale * torch.logit((latents.double() + 1) / 2)).view(-1, 1, 1, 1)

    def density(self, x: np.ndarray) -> np.ndarray:
        density: np.ndarray = 1 / (4 * self.scale * np.cosh(x / (2 * self.scale)) ** 2)
        return density


class Doubled(nn.Module):
    """z to 2 |z|: two branches, U[0, 2]."""

    def forward(self, latents: Tensor) -> Tensor:
        return 2 * latents.abs().view(-1, 1, 1, 1)


def test_the_best_discriminator_between_two_gaussians_is_a_logistic_function() -> None:
    """Of N(1, s^2) and N(-1, s^2): log p_data / p_g = 2 x / s^2."""
    x = LINE.x
    found = optimal_discriminator(normal(x, 1, 1.5), normal(x, -1, 1.5))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-2 * x / 1.5**2)), rtol=1e-9)
    assert optimal_discriminator(np.array([0.0, 0.0, 2.0]), np.array([0.0, 1.0, 0.0])).tolist() == [0.5, 0, 1]


def test_the_divergence_of_the_same_is_0_and_of_strangers_is_log_2() -> None:
    x = LINE.x
    p, left, right = normal(x, 0, 1), np.where(x < 0, 1 / 8, 0), np.where(x > 0, 1 / 8, 0)
    assert js_divergence(p, p, LINE.dx) == 0
    assert js_divergence(left, right, LINE.dx) == pytest.approx(math.log(2), rel=1e-12)
    # Half of each in common: m is 1/2, 1, 1/2 of a third: JS = (1/2) log 2 of a part that is half a stranger.
    one, two = np.where(x < 4, 1 / 12, 0), np.where(x > -4, 1 / 12, 0)
    assert js_divergence(one, two, LINE.dx) == pytest.approx(math.log(2) / 3, rel=1e-12)


@pytest.mark.parametrize(("mean", "sigma"), [(0.0, 1.0), (0.5, 1.0), (0.0, 0.8), (1.5, 1.0)])
def test_the_value_at_the_best_discriminator_is_that_of_the_divergence(mean: float, sigma: float) -> None:
    """V(D*, G) = -log 4 + 2 JS(p_data || p_g) (theorem 1), at least -log 4 whatever G is; any other D is worse."""
    x, dx = LINE.x, LINE.dx
    p, q = normal(x, 0, 1), normal(x, mean, sigma)
    best = optimal_discriminator(p, q)
    assert value(best, p, q, dx) == pytest.approx(-math.log(4) + 2 * js_divergence(p, q, dx), abs=1e-9)
    assert value(best, p, q, dx) >= BOTTOM - 1e-9
    assert value(np.full_like(x, 0.5), p, q, dx) == pytest.approx(-math.log(4), abs=1e-9)
    for other in (0.9 * best + 0.02, best**2):
        assert value(other, p, q, dx) < value(best, p, q, dx)
    # A cell where all is certain, and nothing is: 0 log 0 = 0; certain and wrong is -inf.
    assert value(np.array([1.0, 0.0]), np.array([1.0, 0.0]), np.array([0.0, 1.0]), 1.0) == 0
    assert value(np.array([0.0, 0.0]), np.array([1.0, 0.0]), np.array([0.0, 1.0]), 1.0) == -math.inf


def test_the_distance_is_weighed_by_what_the_discriminator_is_shown() -> None:
    p, q = np.array([1.0, 0.0, 0.0]), np.array([0.5, 0.5, 0.0])
    # D* is 2/3, 0, 1/2; off by 0.1, 0.3, 0.5 where (p + q) / 2 is 0.75, 0.25, 0.
    d = np.array([2 / 3 - 0.1, 0.3, 1.0])
    assert distance_to_optimum(d, p, q, 1.0) == pytest.approx(0.075 + 0.075)


def test_a_generator_pushes_the_density_that_calculus_says() -> None:
    """The stated error, 2 / (count dx) a branch; the mean over a cell differs from the middle by dx^2 p'' / 24."""
    generator, count = Logistic(0.5), 1 << 18
    found = pushed_density(generator, LINE, count)
    assert found.sum() * LINE.dx == pytest.approx(1, rel=1e-12)
    bound = 2 / (count * LINE.dx) + LINE.dx**2 / 24
    assert np.abs(found - generator.density(LINE.x)).max() < bound
    folded = pushed_density(Doubled(), LINE, count)
    assert np.abs(folded - np.where((LINE.x > 0) & (LINE.x < 2), 0.5, 0)).max() < 2 * 2 / (count * LINE.dx)
    assert js_divergence(found, generator.density(LINE.x), LINE.dx) < 2e-4  # of the tails, where no z comes


def test_what_flies_off_the_line_is_in_its_last_cells() -> None:
    short = Line(-1.0, 1.0, 10)
    found = pushed_density(Logistic(1.0), short) * short.dx
    # P(x < -0.8) = 1 / (1 + e^0.8).
    assert found[[0, -1]] == pytest.approx([1 / (1 + math.exp(0.8))] * 2, abs=1e-4)


def test_latents_without_chance() -> None:
    assert even_latents(4).tolist() == [-0.75, -0.25, 0.25, 0.75]


def train_to_optimality(
    discriminator: nn.Module, p_data: np.ndarray, p_g: np.ndarray, line: Line, steps: int = 2_000, lr: float = 1e-2
) -> None:
    """Trains D: [n, 1, 1, 1] -> [n] logits, in place, to the largest V(D, G) for a fixed G; the optimum is D*.

    V is the integral over `line` itself (eq. 3), not a mean over samples, so there is no noise to be averaged: `steps`
    of Adam, the rate falling from `lr` to 0 along a cosine.
    """
    x = torch.from_numpy(line.x).float().view(-1, 1, 1, 1)
    real, fake = (torch.from_numpy(density * line.dx).float() for density in (p_data, p_g))
    optimizer = torch.optim.Adam(discriminator.parameters(), lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        logits = discriminator(x)
        loss = -(real * F.logsigmoid(logits) + fake * F.logsigmoid(-logits)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@pytest.mark.slow
def test_a_discriminator_trained_to_optimality_is_the_best() -> None:
    """|D - D*| < 0.02 on the bulk, (p_data + p_g) / 2 above 0.02 of its largest, for a G whose density is known."""
    truth, generator = mixture(), Logistic(0.5)
    line = Line(-6.0, 6.0, 1_200)
    torch.manual_seed(0)
    discriminator = MLPDiscriminator(ImageShape(1, 1, 1), (64, 64, 64), 1, 0.0, 0.0, "fan-in")
    p_data, p_g = truth.density(line.x), generator.density(line.x)
    train_to_optimality(discriminator, p_data, p_g, line)
    with torch.no_grad():
        d = torch.sigmoid(discriminator(torch.from_numpy(line.x).float().view(-1, 1, 1, 1)).double()).numpy()
    best = p_data / (p_data + p_g)
    where = (p_data + p_g) > 0.02 * (p_data + p_g).max()
    assert np.ptp(best[where]) > 0.5  # there is something to learn
    assert np.abs(d - best)[where].max() < 0.02
    assert value(d, p_data, p_g, line.dx) == pytest.approx(
        -math.log(4) + 2 * js_divergence(p_data, p_g, line.dx), abs=2e-3
    )


@pytest.mark.slow
def test_the_game_ends_where_the_theory_says(tmp_path: Path) -> None:
    """The shipped recipe: JS below 0.02 and V within 0.05 of -log 4, D near 1/2 where it was shown anything.

    D is near D*, too: from half of all there is between 0 and 1, since G begins where no data is, to a sixteenth.
    """
    recipe = find_recipe("theory-1d")
    dataset = prepare_dataset(open_source("gaussian-mixture-1d"), recipe.data.preparation, tmp_path, "line")
    truth = mixture()
    looks = [moment for _, moment in watch(recipe, dataset, truth, Line.around(truth))]
    first, last = looks[0], looks[-1]
    assert first.figures["js"] > 0.1
    assert first.figures["distance"] > 0.3
    assert last.figures["distance"] < 1 / 16
    assert last.figures["js"] < 0.02
    assert last.figures["value"] == pytest.approx(-math.log(4), abs=0.05)
    assert last.p_g.sum() * last.line.dx == pytest.approx(1)
    shown = last.p_data + last.p_g
    where = shown > 0.1 * shown.max()
    assert np.abs(last.d - 0.5)[where].mean() < 0.05


def test_a_look_is_drawn_and_a_game_of_another_kind_refused(tmp_path: Path) -> None:
    source = open_source("gaussian-mixture-1d", Reading(count=1_000))
    dataset = prepare_dataset(source, Preparation(size=8, channels=1), tmp_path, "line")
    truth, line = mixture(), Line(-4.0, 4.0, 200)
    short = find_recipe("theory-1d", ["train.images=1024", "train.tick=512", "train.batch=128"])
    looks = list(watch(short, dataset, truth, line))
    assert [seen for seen, _ in looks] == [0, 512, 1024]
    figure = GameFigure()
    for seen, moment in looks:
        np.testing.assert_array_equal(moment.p_data, truth.density(line.x))
        drawn = figure.draw(moment, seen)
        assert drawn.size == (700, 520)
        np.testing.assert_array_equal(
            np.asarray(drawn), np.asarray(GameFigure().draw(moment, seen))
        )  # nothing of before
    assert looks[0][1].figures["value"] < 0
    for wrong in ("method.latent.distribution=normal", "method.objective=hinge"):
        with pytest.raises(UserError):
            next(watch(short.with_overrides(wrong), dataset, truth, line))


def test_what_is_read_of_a_discriminator_is_its_objective_s() -> None:
    """A D of logits x gives sigmoid(x) under cross-entropy."""
    line = Line(-4.0, 4.0, 200)
    moment = look(Logistic(0.5), nn.Flatten(0), torch.sigmoid, mixture(), line)
    np.testing.assert_allclose(moment.d, 1 / (1 + np.exp(-line.x)), rtol=1e-6)
    np.testing.assert_allclose(moment.images, 0.5 * np.log((1 + moment.latents) / (1 - moment.latents)), atol=1e-4)
