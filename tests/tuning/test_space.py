"""Spaces as people write them, what is drawn from them, and every mistake."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ganlib.errors import UserError
from pipelines.shipped import find_recipe, shipped_recipes
from tuning.distributions import Choice, Int, Uniform, parse_distribution
from tuning.space import InvalidDrawError, Space, fields_of, own_space, read_space

DIGITS = find_recipe("digits")
CONDITIONAL = {
    "method.penalty.kind": "choice(none, r1, gradient-penalty)",
    "method.penalty.gamma": "log(0.1, 10)",
    "optim.*.lr": "log(1e-5,1e-2)",
}


def draws(text: str, count: int = 2_000) -> list:
    chance = np.random.default_rng(11)
    distribution = parse_distribution(text, "x")
    return [distribution.draw(chance) for _ in range(count)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("log(1e-5,1e-2)", Uniform(1e-5, 1e-2, log=True)),
        (" uniform( -1 , .5 )", Uniform(-1.0, 0.5)),
        ("int(1,5)", Int(1, 5)),
        ("choice(hinge,non-saturating)", Choice(("hinge", "non-saturating"))),
        ("choice([0,0.9],[0.5,0.999])", Choice(([0, 0.9], [0.5, 0.999]))),
        ("choice(1e-4, 2E-4)", Choice((1e-4, 2e-4))),
        ("choice(true, null)", Choice((True, None))),
    ],
)
def test_what_is_written_is_what_is_drawn_from(text: str, expected: object) -> None:
    assert parse_distribution(text, "x") == expected
    assert parse_distribution(str(expected), "x") == expected


def test_draws_follow_their_distributions() -> None:
    """Kolmogorov-Smirnov against scipy's own distributions; chi-square where values are counted."""
    assert stats.kstest(draws("uniform(-1, 3)"), stats.uniform(-1, 4).cdf).pvalue > 0.01
    assert stats.kstest(draws("log(1e-5, 1e-2)"), stats.loguniform(1e-5, 1e-2).cdf).pvalue > 0.01
    counts = np.unique(draws("int(1, 5)"), return_counts=True)
    assert counts[0].tolist() == [1, 2, 3, 4, 5]
    assert stats.chisquare(counts[1]).pvalue > 0.01
    words = draws("choice(a, b, c)")
    assert stats.chisquare([words.count(word) for word in "abc"]).pvalue > 0.01


def test_what_a_uniform_draw_is_not() -> None:
    """The same test does tell a wrong distribution from a right one."""
    assert stats.kstest(draws("uniform(1e-5, 1e-2)"), stats.loguniform(1e-5, 1e-2).cdf).pvalue < 1e-6


def test_a_star_is_one_draw_for_all_that_it_names() -> None:
    space = Space.parse(DIGITS, {"optim.*.betas": "choice([0,0.9],[0.5,0.999])", "optim.*.lr": "log(1e-5,1e-2)"})
    values = space.draw(space.random(np.random.default_rng(0)))
    assert set(values) == {"optim.*.betas", "optim.*.lr"}
    recipe = space.apply(values)
    assert recipe.optim.generator.lr == recipe.optim.discriminator.lr == values["optim.*.lr"]
    assert list(recipe.optim.generator.betas) == list(recipe.optim.discriminator.betas) == values["optim.*.betas"]
    assert fields_of(DIGITS, "optim.*.lr") == ["optim.generator.lr", "optim.discriminator.lr"]


def test_what_a_kind_has_not_is_not_drawn() -> None:
    space = Space.parse(DIGITS, CONDITIONAL)
    seen = set()
    for seed in range(40):
        values = space.draw(space.random(np.random.default_rng(seed)))
        kind = values["method.penalty.kind"]
        seen.add(kind)
        assert ("method.penalty.gamma" in values) == (kind == "r1")
        penalty = space.apply(values).method.penalty
        assert penalty.kind == kind
        if kind == "r1":
            assert penalty.gamma == values["method.penalty.gamma"]
        assert DIGITS.with_overrides(*space.overrides(values)) == space.apply(values)
        assert space.holds(values)
    assert seen == {"none", "r1", "gradient-penalty"}
    assert not space.holds({"method.penalty.kind": "none", "method.penalty.gamma": 1.0, "optim.*.lr": 1e-4})
    assert not space.holds({"method.penalty.kind": "none", "optim.*.lr": 1.0})


def test_optimizers_are_searched_and_keep_the_rate_that_is_not_drawn() -> None:
    rate = DIGITS.optim.generator.lr
    space = Space.parse(DIGITS, {"optim.generator.kind": "choice(adam, rmsprop, sgd)"})
    drawn = [space.draw(space.random(np.random.default_rng(seed))) for seed in range(20)]
    assert {values["optim.generator.kind"] for values in drawn} == {"adam", "rmsprop", "sgd"}
    assert {space.apply(values).optim.generator.lr for values in drawn} == {rate}
    both = {
        "optim.*.kind": "choice(adam, rmsprop)",
        "optim.*.lr": "log(1e-4, 1e-2)",
        "optim.*.betas": "choice([0, 0.9])",
    }
    space = Space.parse(DIGITS, both)
    for seed in range(20):
        values = space.draw(space.random(np.random.default_rng(seed)))
        recipe = space.apply(values)
        assert recipe.optim.generator.lr == recipe.optim.discriminator.lr == values["optim.*.lr"] != rate
        assert ("optim.*.betas" in values) == (values["optim.*.kind"] == "adam")
        assert space.holds(values)
        assert DIGITS.with_overrides(*space.overrides(values)) == recipe


def test_kinds_that_go_together_with_another_draw_alone() -> None:
    """Clipping is for Wasserstein critics: alone it is no recipe, beside a drawn objective it may be one."""
    both = {"method.penalty.kind": "choice(none, clip)", "method.objective": "choice(hinge, wasserstein)"}
    space = Space.parse(DIGITS, both)
    clip = {"method.penalty.kind": "clip", "method.objective": "wasserstein"}
    assert space.apply(clip).method.penalty.kind == "clip"
    with pytest.raises(InvalidDrawError, match="clip"):
        space.apply(clip | {"method.objective": "hinge"})
    valid = 0
    for seed in range(60):
        with suppress(InvalidDrawError):
            space.draw(space.random(np.random.default_rng(seed)))
            valid += 1
    assert stats.binomtest(valid, 60, 0.75).pvalue > 0.01  # three in four combinations are recipes
    with pytest.raises(UserError, match="clip"):
        Space.parse(DIGITS, {"method.penalty.kind": "choice(none, clip)"})


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("optim.generator.lrr", "log(1e-5,1e-2)", "did you mean optim.generator.lr"),
        ("optim.generator.lr", "log(0,1)", "the logarithm of 0"),
        ("optim.generator.lr", "log(-1,1)", "the logarithm of -1"),
        ("optim.generator.lr", "log(1,1)", "empty"),
        ("optim.generator.lr", "uniform(2,1)", "empty"),
        ("optim.generator.lr", "log(1e-5)", "two numbers"),
        ("optim.generator.lr", "log(a,b)", "two numbers"),
        ("optim.generator.lr", "log(1e-5,.inf)", "finite"),
        ("optim.generator.lr", "uniform(0,1)", "greater than 0"),
        ("optim.generator.lr", "choice(a,b)", "valid number"),
        ("optim.generator.lr", "lgo(1,2)", "did you mean log"),
        ("optim.generator.lr", "1e-4", "a range is written"),
        ("optim.generator.lr", "choice()", "empty"),
        ("optim.generator.lr", "choice(1e-4,1e-4)", "twice"),
        ("optim.generator.lr", "choice([1, 2)", "not a list"),
        ("train.steps.discriminator", "int(0,5)", "greater than or equal to 1"),
        ("train.steps.discriminator", "int(5,1)", "empty"),
        ("train.steps.discriminator", "int(1.5,3)", "whole"),
        ("method.objective", "choice(hinge,wassertein)", "wassertein"),
        ("method.penalty.weight", "log(1,10)", "below method.penalty it has"),
        ("method.penalty.kind", "choice(none,r3)", "no method.penalty of kind 'r3'"),
        ("method.penalty.kind", "int(1,3)", "drawn by choice"),
        ("optim.generator.betas", "choice([0,0.9],[0.5])", "betas"),
        ("train.batch", "choice(32,64.5)", "valid integer"),
        ("train.batch", "uniform(32,64)", "valid integer"),
        ("train.steps.discriminator", "log(1,5)", "valid integer"),
        ("nothing.at.all", "int(1,2)", "has no field nothing.at.all"),
    ],
)
def test_a_mistake_is_one_line(path: str, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said.replace("(", r"\(")) as raised:
        Space.parse(DIGITS, {path: text})
    assert "\n" not in str(raised.value)
    assert path.split(".")[-1] in str(raised.value)


def test_a_field_is_drawn_once() -> None:
    with pytest.raises(UserError, match=r"both draw optim\.generator\.lr"):
        Space.parse(DIGITS, {"optim.*.lr": "log(1e-5,1e-2)", "optim.generator.lr": "log(1e-5,1e-2)"})
    with pytest.raises(UserError, match="empty"):
        Space.parse(DIGITS, {})


def test_every_shipped_recipe_has_a_space_of_its_own_that_holds_it() -> None:
    for name in shipped_recipes():
        recipe = find_recipe(name)
        space = Space.parse(recipe, own_space(recipe))
        assert {"optim.generator.lr", "optim.discriminator.lr", "train.steps.discriminator"} <= set(space.texts)
        point = space.point(recipe)
        if recipe.optim.generator.kind != "adam" or recipe.optim.generator.betas == recipe.optim.discriminator.betas:
            assert point is not None, name
            assert space.apply(point) == recipe, name


def test_a_decade_either_way() -> None:
    space = own_space(DIGITS)
    assert space["optim.generator.lr"] == "log(0.0001, 0.01)"
    assert space["method.penalty.gamma"] == "log(0.05, 5)"
    assert space["train.steps.discriminator"] == "int(1, 5)"


def test_perturbations_stay_near_and_within() -> None:
    space = Space.parse(DIGITS, {"optim.generator.lr": "log(1e-4, 1e-2)", "train.steps.discriminator": "int(1,5)"})
    values = {"optim.generator.lr": 9e-3, "train.steps.discriminator": 1}
    chance = np.random.default_rng(3)
    near = [space.perturbed(values, chance) for _ in range(400)]
    rates = [one["optim.generator.lr"] for one in near]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    # A quarter are fresh draws; of the rest half go up a quarter, to the range's end here, half down.
    down = sum(math.isclose(rate, 9e-3 / 1.25) for rate in rates)
    up = sum(math.isclose(rate, 1e-2) for rate in rates)
    assert stats.binomtest(down, 400, 0.375).pvalue > 0.01
    assert stats.binomtest(up, 400, 0.375).pvalue > 0.01
    steps = {one["train.steps.discriminator"] for one in near}
    assert {1, 2} <= steps <= {1, 2, 3, 4, 5}


def test_a_space_from_yaml(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("optim.generator.lr: log(1e-5, 1e-2)\noptim.*.betas: choice([0, 0.9], [0.5, 0.999])\n")
    texts = read_space(file)
    assert texts == {"optim.generator.lr": "log(1e-5, 1e-2)", "optim.*.betas": "choice([0, 0.9], [0.5, 0.999])"}
    Space.parse(DIGITS, texts)
    for content in ("[1, 2]", "optim.generator.lr: 3", "a: [b", "!!python/object/apply:os.system ['true']"):
        file.write_text(content)
        with pytest.raises(UserError, match="space"):
            read_space(file)
    with pytest.raises(UserError, match="cannot be read"):
        read_space(tmp_path / "none.yaml")
