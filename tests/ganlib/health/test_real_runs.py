"""Each fault provoked in seconds, on points of a ring, and found by what the trainer says."""

import pytest

from ganlib import Dataset, Preparation, Recipe, Trainer, open_source, prepare_dataset
from ganlib.data.reading import Reading
from ganlib.errors import UserError
from ganlib.health import diagnose
from pipelines.shipped import find_recipe

SMALL = [
    "train.batch=64", "train.images=38400", "train.tick=1280",
    "method.generator.widths=[64, 64]", "method.discriminator.widths=[64, 64]",
]  # fmt: skip
"""Thirty ticks of twenty steps."""
SIDES = ("generator", "discriminator")
FREE = "method.penalty={kind: none}"


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    source = open_source("gaussian-ring", Reading(count=4_000))
    return prepare_dataset(source, Preparation(size=8, channels=1), tmp_path_factory.mktemp("ring"), "ring")


def said(dataset: Dataset, *overrides: str) -> dict[str, str]:
    """Verdict -> severity, on a run of the recipe `ring`."""
    recipe: Recipe = find_recipe("ring", [*SMALL, *overrides])
    metrics: dict[str, list[tuple[int, float]]] = {}
    try:
        for tick in Trainer(recipe, dataset, device="cpu").run():
            for name, value in tick.metrics.items():
                metrics.setdefault(name, []).append((tick.images_seen, value))
    except UserError as error:
        assert "diverged" in str(error)  # noqa: PT017 - the run's last tick says so too
    return {verdict.name: verdict.severity for verdict in diagnose(metrics, recipe)}


def test_rates_apart_let_the_discriminator_win(ring: Dataset) -> None:
    found = said(ring, FREE, "optim.discriminator.lr=1e-2", "optim.generator.lr=1e-6")
    assert "discriminator-winning" in found


def test_the_saturating_form_loses_its_gradient(ring: Dataset) -> None:
    found = said(ring, FREE, "method.objective=minimax", "optim.discriminator.lr=1e-2", "optim.generator.lr=1e-6")
    assert found["vanishing-gradients"] == "severe"


def test_a_critic_that_nothing_bounds_diverges(ring: Dataset) -> None:
    assert said(ring, FREE, "method.objective=wasserstein", "optim.*.lr=0.1")["diverged"] == "severe"


def test_rates_a_hundred_times_too_high_end_in_no_number_or_far_away(ring: Dataset) -> None:
    assert said(ring, FREE, *(f"optim.{side}={{kind: sgd, lr: 10}}" for side in SIDES))["diverged"] == "severe"


def test_a_slow_discriminator_without_a_penalty_lets_modes_go(ring: Dataset) -> None:
    found = said(ring, FREE, "optim.discriminator.lr=1e-4", "optim.*.betas=[0.5, 0.999]")
    assert found["mode-collapse"] == "severe"


def test_momentum_without_a_penalty_swings(ring: Dataset) -> None:
    found = said(
        ring, FREE, "method.objective=least-squares", "optim.*.lr=5e-3", "optim.*.betas=[0.9, 0.999]",
        "optim.*.decay={kind: constant}",
    )  # fmt: skip
    assert "oscillation" in found


def test_the_recipe_as_it_is_has_nothing_wrong(ring: Dataset) -> None:
    assert said(ring).keys() <= {"equilibrium"}
