"""Proposals: the same study has the same, from its record alone."""

from __future__ import annotations

import math
import time

import pytest

from ganlib.errors import UserError
from pipelines.shipped import find_recipe
from tests.tuning.analytic import SPACE, loss
from tuning.record import Reading, Study, Trial
from tuning.search import propose, starting_points
from tuning.space import Space

DIGITS = find_recipe("digits")
CONDITIONAL = SPACE | {"method.penalty.kind": "choice(none, r1)", "method.penalty.gamma": "log(0.1, 10)"}


def fresh(space: Space, search: str, seed: int = 3) -> Study:
    return Study(
        name="x", recipe={}, dataset="d", space=space.texts, search=search, scheduler="none", metric="m", seed=seed,
        trials_wanted=30, began=0,
    )  # fmt: skip


def run(space: Space, search: str, count: int, seed: int = 3) -> Study:
    """A study whose trials end at once, every fourth stopped and every seventh bad."""
    study = fresh(space, search, seed)
    for number in range(count):
        values = propose(space, study, number)
        value = loss((values["optim.generator.lr"], values["optim.discriminator.lr"]), 1000)
        value += 0.5 * (values.get("method.penalty.kind") == "none")
        status = "unhealthy" if number % 7 == 6 else "stopped" if number % 4 == 3 else "finished"
        reading = Reading(images=100, seconds=1 + number, value=value)
        trial = Trial(number=number, values=values, seed=0, began=0, status=status, readings=[reading])
        study.trials.append(trial)
    return study


@pytest.mark.parametrize("search", ["random", "tpe", "tpe-cost"])
def test_the_same_seed_proposes_the_same(search: str) -> None:
    space = Space.parse(DIGITS, CONDITIONAL)
    count = 14
    study, again, other = run(space, search, count), run(space, search, count), run(space, search, count, seed=4)
    assert study == again
    assert [t.values for t in study.trials] != [t.values for t in other.trials]
    # From the record, as a killed study has it, the next is the one that it would have had.
    record = Study.model_validate_json(study.model_dump_json())
    assert propose(space, record, count) == propose(space, study, count)
    for trial in study.trials:
        assert space.holds(trial.values)


def test_random_proposals_do_not_depend_on_what_happened() -> None:
    space = Space.parse(DIGITS, SPACE)
    assert propose(space, run(space, "random", 5), 5) == propose(space, fresh(space, "random"), 5)


def test_tpe_learns_where_the_best_is() -> None:
    """Of the last ten of thirty proposals the median is nearer to the best than of the first ten, drawn by chance."""
    space = Space.parse(DIGITS, SPACE)
    better = 0
    for seed in range(3):
        values = [trial.readings[0].value for trial in run(space, "tpe", 30, seed).trials]
        better += sorted(values[20:])[5] < sorted(values[:10])[5]
    assert better == 3


def test_of_equals_tpe_cost_prefers_the_cheap() -> None:
    """Every trial comes to the same, in as many tens of seconds as the discriminator has steps: after the first ten,
    by chance, two in five would have one step or two."""
    space = Space.parse(DIGITS, SPACE | {"train.steps.discriminator": "int(1, 5)"})
    cheap = {}
    for search in ("tpe", "tpe-cost"):
        drawn = []
        for seed in range(3):
            study = fresh(space, search, seed)
            for number in range(30):
                values = propose(space, study, number)
                reading = Reading(images=100, seconds=10 * values["train.steps.discriminator"], value=1.0)
                trial = Trial(number=number, values=values, seed=0, began=0, status="finished", readings=[reading])
                study.trials.append(trial)
            drawn += [trial.values["train.steps.discriminator"] for trial in study.trials[10:]]
        cheap[search] = sum(steps <= 2 for steps in drawn) / len(drawn)
    assert cheap["tpe-cost"] > 0.7 > cheap["tpe"] + 0.1, cheap


def test_a_bad_trial_is_the_worst_and_not_missing() -> None:
    """Ten trials at one end go bad, ten at the other do not: TPE keeps to the other, though it was never told a value
    that is worse."""
    space = Space.parse(DIGITS, {"optim.generator.lr": "log(1e-5, 1e-1)"})
    study = fresh(space, "tpe")
    for number in range(20):
        bad = number % 2 == 0
        rate = 10 ** (-1.2 - 0.05 * number) if bad else 10 ** (-3.8 - 0.05 * number)
        reading = [] if bad else [Reading(images=100, seconds=1, value=1.0)]
        status = "failed" if bad else "finished"
        study.trials.append(
            Trial(number=number, values={"optim.generator.lr": rate}, seed=0, began=0, status=status, readings=reading)
        )
    proposals = []
    for number in range(20, 30):
        values = propose(space, study, number)
        proposals.append(math.log10(values["optim.generator.lr"]))
    assert sum(rate < -2.5 for rate in proposals) >= 8


def test_a_running_trial_is_kept_away_from() -> None:
    """Two at once are not proposed the same."""
    space = Space.parse(DIGITS, SPACE)
    study = run(space, "tpe", 20)
    first = propose(space, study, 20)
    study.trials.append(Trial(number=20, values=first, seed=0, began=time.time()))
    assert propose(space, study, 21) != first


def test_points_to_start_from() -> None:
    space = Space.parse(DIGITS, SPACE)
    own = {"optim.generator.lr": 0.001, "optim.discriminator.lr": 0.001}
    known = {"optim.generator.lr": 0.002, "optim.discriminator.lr": 0.003}
    outside, elsewhere = {"optim.generator.lr": 5.0, "optim.discriminator.lr": 0.003}, {"optim.generator.lr": 0.01}
    points = starting_points(space, [known, outside, own, elsewhere])
    assert points == [own, known]
    study = fresh(space, "random")
    assert [propose(space, study, number, points) for number in (0, 1)] == points
    assert propose(space, study, 2, points) == propose(space, study, 2)
    narrow = Space.parse(DIGITS, {"optim.generator.lr": "log(1e-5, 1e-4)"})
    assert starting_points(narrow) == []


@pytest.mark.parametrize("search", ["random", "tpe", "tpe-cost"])
def test_a_recipe_of_1_0_starts_where_a_list_says_1(search: str) -> None:
    space = Space.parse(find_recipe("wgan-gp"), {"optim.*.betas": "choice([0, 0.9], [0.5, 0.999])"})
    (point,) = starting_points(space)
    assert point == {"optim.*.betas": [0.0, 0.9]}
    study = fresh(space, search)
    reading = Reading(images=100, seconds=1, value=2.0)
    study.trials.append(Trial(number=0, values=point, seed=0, began=0, status="finished", readings=[reading]))
    study.trials.append(Trial(number=1, values=point, seed=0, began=0))
    assert propose(space, study, 2)["optim.*.betas"] in ([0, 0.9], [0.5, 0.999])


def test_draws_that_are_never_a_recipe_are_said_so() -> None:
    """A batch of at most eight among forty workers."""
    recipe = DIGITS.with_overrides("workers=40")
    space = Space(recipe, Space.parse(DIGITS, {"train.batch": "int(2, 8)"}).distributions)
    with pytest.raises(UserError, match=r"draws of the search space are no recipes.*workers \(40\)"):
        propose(space, fresh(space, "random"), 0)
