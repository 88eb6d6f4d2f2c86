"""Variance decompositions that are known in closed form, and the order of trials, counted by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tuning.importance import UnknownImportanceError, importances, places
from tuning.record import Mutation, Reading, Study, Trial, TrialStatus
from tuning.sensitivity import Floats, variance_shares

RATES = {"optim.generator.lr": "log(1e-5, 1e-1)", "optim.discriminator.lr": "log(1e-5, 1e-1)"}


def study_of(trials: Sequence[Trial], space: dict[str, str] | None = None) -> Study:
    return Study(
        name="made", recipe={}, dataset="none", space=space or RATES, search="random", scheduler="asha", metric="loss",
        seed=0, trials_wanted=len(trials), began=0, trials=list(trials),
    )  # fmt: skip


def trial(number: int, values: dict[str, Any], *losses: float, status: TrialStatus = "finished", **rest: Any) -> Trial:
    readings = [Reading(images=1_000 * (place + 1), seconds=1, value=loss) for place, loss in enumerate(losses)]
    return Trial(number=number, values=values, seed=0, began=0, ended=1, status=status, readings=readings, **rest)


def seen(function: Callable[[Floats], Floats], count: int, dimensions: int, noise: float = 0) -> tuple[Floats, Floats]:
    chance = np.random.default_rng(count)
    rows = chance.random((count, dimensions))
    return rows, function(rows) + noise * chance.standard_normal(count)


def test_a_sum_divides_by_the_squares_of_its_weights() -> None:
    """y = 2a + b of uniform a, b: variances 4/12 and 1/12; a third argument does nothing."""
    found = variance_shares(*seen(lambda x: 2 * x[:, 0] + x[:, 1], 20, 3))
    assert found.total.mean(0) == pytest.approx([0.8, 0.2, 0], abs=0.02)
    assert found.alone.mean(0) == pytest.approx([0.8, 0.2, 0], abs=0.02)
    assert found.explained > 0.99


def test_the_interval_of_a_noisy_sum_has_the_truth_in_it() -> None:
    """Noise of 0.3 is 18 percent of the variance; what can be foretold is the rest at most."""
    found = variance_shares(*seen(lambda x: 2 * x[:, 0] + x[:, 1], 50, 4, noise=0.3))
    low, high = np.percentile(found.total, (5, 95), axis=0)
    assert low[0] < 0.8 < high[0]
    assert low[1] < 0.2 < high[1]
    assert high[1] - low[1] > 0.05
    assert high[2:].max() < 0.1
    assert 0.6 < found.explained < 0.95


def test_a_product_is_all_in_the_two_together() -> None:
    """(a - 1/2)(b - 1/2): neither does anything alone, and without either nothing is left."""
    found = variance_shares(*seen(lambda x: (x[:, 0] - 0.5) * (x[:, 1] - 0.5), 50, 2))
    assert found.total.mean(0) == pytest.approx([1, 1], abs=0.06)
    assert found.alone.mean(0) == pytest.approx([0, 0], abs=0.1)


@pytest.mark.slow
def test_ishigami() -> None:
    """sin a + 7 sin^2 b + 0.1 c^4 sin a over [-pi, pi]^3 (Ishigami & Homma 1990): first-order 0.314, 0.442, 0; total
    0.558, 0.442, 0.244."""

    def ishigami(x: Floats) -> Floats:
        a, b, c = (np.pi * (2 * x - 1)).T
        return np.sin(a) + 7 * np.sin(b) ** 2 + 0.1 * c**4 * np.sin(a)

    found = variance_shares(*seen(ishigami, 150, 3))
    assert found.total.mean(0) == pytest.approx([0.558, 0.442, 0.244], abs=0.08)
    assert found.alone.mean(0) == pytest.approx([0.314, 0.442, 0], abs=0.08)


def test_places_are_by_rung_then_by_value_and_bad_trials_are_last() -> None:
    trials = [
        trial(0, {}, 9.0, status="stopped"),
        trial(1, {}, 9.5, 4.0),
        trial(2, {}, 8.0, 5.0),
        trial(3, {}, 1.0, status="unhealthy"),
        trial(4, {}, status="failed"),
        trial(5, {}, 3.0, status="running"),
        trial(6, {}, 2.0, repeats=1),
    ]
    found = {one.number: place for one, place in places(study_of(trials))}
    assert found == {1: 0, 2: 0.25, 0: 0.5, 3: 0.875, 4: 0.875}
    greatest = study_of(trials).model_copy(update={"mode": "max"})
    assert {one.number: place for one, place in places(greatest)} == {2: 0, 1: 0.25, 0: 0.5, 3: 0.875, 4: 0.875}


def test_what_a_population_took_over_does_not_count() -> None:
    """Before the first change the first trial was the worse of the two, and later had the other's weights."""
    change = Mutation(images=1_000, values={}, weights_of=1)
    trials = [trial(0, {}, 9.0, 1.0, mutations=[change]), trial(1, {}, 8.0, 2.0)]
    trials[1].readings.pop()
    assert [place for _, place in places(study_of(trials))] == [1, 0]


def random_rates(count: int) -> list[tuple[float, float]]:
    exponents = -5 + 4 * np.random.default_rng(3).random((count, 2))
    return [(float(a), float(b)) for a, b in 10.0**exponents]


def test_rates_are_taken_by_their_logarithms() -> None:
    """The loss is of the generator's rate alone: nearly all that there is, and linear in its logarithm."""
    trials = [
        trial(i, {"optim.generator.lr": a, "optim.discriminator.lr": b}, np.log10(a))
        for i, (a, b) in enumerate(random_rates(20))
    ]
    found = importances(study_of(trials))
    assert [one.path for one in found.parameters] == ["optim.generator.lr", "optim.discriminator.lr"]
    assert found.parameters[0].total == pytest.approx(1, abs=0.02)
    assert found.parameters[1].total < 0.02
    assert found.explained > 0.95
    assert found.trials == 20
    assert importances(study_of(trials)) == found


def test_a_kind_s_own_parameter_counts_where_there_is_one() -> None:
    """Without a penalty the loss is 0, with one 1 + g, g uniform in [0, 1]; either is as likely.

    So half of the places tie in the middle of [0, 1/2], the others are even over [1/2, 1]. Variances: 1/16 of the kind
    alone, and of g 1/2 * (1/2)^2 / 12 = 1/96, of 7/96 in all.
    """
    chance = np.random.default_rng(0)
    trials = []
    for number in range(40):
        weight = float(chance.random())
        none = number % 2 == 0
        values = (
            {"method.penalty.kind": "none"} if none else {"method.penalty.kind": "r1", "method.penalty.gamma": weight}
        )
        trials.append(trial(number, values, 0.0 if none else 1 + weight))
    space = {
        "method.penalty.kind": "choice(none, r1)",
        "method.penalty.gamma": "uniform(0, 1)",
        "train.batch": "int(8, 8)",
    }
    kind, gamma = importances(study_of(trials, space)).parameters
    assert (kind.path, gamma.path) == ("method.penalty.kind", "method.penalty.gamma")
    assert kind.alone == pytest.approx(6 / 7, abs=0.03)
    assert gamma.total == pytest.approx(1 / 7, abs=0.03)


def test_it_is_said_why_nothing_can_be_told() -> None:
    rates = random_rates(30)
    values = [{"optim.generator.lr": a, "optim.discriminator.lr": b} for a, b in rates]
    with pytest.raises(UnknownImportanceError, match="3 trials have ended"):
        importances(study_of([trial(i, values[i], 1.0 + i) for i in range(3)]))
    with pytest.raises(UnknownImportanceError, match="the same"):
        importances(study_of([trial(i, values[i], 1.0, status="failed") for i in range(12)]))
    noise = np.random.default_rng(1).random(30)
    with pytest.raises(UnknownImportanceError, match="chance"):
        importances(study_of([trial(i, values[i], float(noise[i])) for i in range(30)]))
