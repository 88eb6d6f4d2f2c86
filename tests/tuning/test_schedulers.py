"""Which trials go on, against tables worked out by hand; the same from a record as from the beginning."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ganlib.errors import UserError
from pipelines.shipped import find_recipe
from tests.tuning.analytic import make_ledger
from tuning.ledger import Ledger
from tuning.record import Reading, Study
from tuning.rungs import rungs_for, with_rungs
from tuning.schedulers import Stopping

DIGITS = find_recipe("digits")
GO, STOP = "CONTINUE", "STOP"


class Told:
    """Reports readings as Tune does: the scheduler decides, then the record has it."""

    def __init__(self, ledger: Ledger, name: str):
        self.ledger = ledger
        self.scheduler = Stopping(ledger, name)  # type: ignore[arg-type]
        self.decisions: list[str] = []

    def begin(self, count: int) -> None:
        for number in range(count):
            self.ledger.begin({"optim.generator.lr": 1e-3, "optim.discriminator.lr": 1e-4 * (number + 1)}, 0)

    def read(self, number: int, place: int, value: float) -> str:
        images = self.ledger.study.rungs[place]
        decision = self.scheduler.on_trial_result(None, None, {"number": number, "place": place, "value": value})
        status = "stopped" if decision == STOP else "running"
        self.ledger.read(number, place, Reading(images=images, seconds=1, value=value), status)
        self.decisions.append(decision)
        return decision


def test_rungs_are_images() -> None:
    assert rungs_for("asha", DIGITS.with_overrides("train.batch=16"), 27_000) == [1_000, 3_000, 9_000, 27_000]
    assert rungs_for("asha", DIGITS, 27_000) == [9_000, 27_000]  # 3,000 images are 46 batches of 64: too few
    assert rungs_for("asha", DIGITS, 30_000) == [3_333, 9_999, 30_000]
    assert rungs_for("asha", DIGITS, 1_000) == [333, 1_000]  # halved once, however few
    assert rungs_for("asha", DIGITS, 110_000) == [4_074, 12_222, 36_666, 110_000]
    assert rungs_for("pbt", DIGITS, 80_000) == [10_000 * place for place in range(1, 9)]
    assert rungs_for("none", DIGITS, 1_000) == [333, 666, 1_000]  # of four batches of 64 at the least
    with pytest.raises(UserError, match="too short for asha"):
        rungs_for("asha", DIGITS, 500)
    for scheduler in ("asha", "median", "none"):
        for total in (27_000, 110_000, 123_457):
            rungs = rungs_for(scheduler, DIGITS, total)
            recipe = with_rungs(DIGITS, rungs)
            assert recipe.train.images == rungs[-1] == total
            assert all(rung % recipe.train.tick == 0 for rung in rungs[:-1])
            assert min(rungs[0], DIGITS.train.tick) / 2 < recipe.train.tick <= DIGITS.train.tick


def test_asha_promotes_as_a_table_worked_out_by_hand(tmp_path: Path) -> None:
    """A trial goes on unless it is worse than the best third of those that were at its rung before it.

    Tune's third is numpy's percentile 200/3 of the scores before, interpolated between two of them. By hand, scores
    being x / (1 + x) and smaller better:

        rung 0   before: (none)                     5   goes on
                 before: 5                          3   goes on (better)
                 before: 3 5    cutoff 3 + 2/3 of the way to 5 from the good end: worse than it: 4.9 stops
                 before: 3 4.9 5                    2   goes on
                 before: 2 3 4.9 5   two of four are the best third or better, cut at 3: 3.5 stops, 2.9 goes on
        rung 1   before: (none)                     9   goes on, and then 1 goes on, 8 stops
    """
    told = Told(make_ledger(tmp_path, "asha", trials=8), "asha")
    told.begin(8)
    values = [5.0, 3.0, 4.9, 2.0, 3.5, 2.9]
    assert [told.read(number, 0, value) for number, value in enumerate(values)] == [GO, GO, STOP, GO, STOP, GO]
    assert [told.read(0, 1, 9.0), told.read(1, 1, 1.0), told.read(3, 1, 8.0)] == [GO, GO, STOP]


def test_a_bad_trial_counts_at_the_rung_that_it_did_not_reach(tmp_path: Path) -> None:
    """Of 4 and 5 the second stops; with three that went bad between them 5 is among the best third, and goes on."""
    told = Told(make_ledger(tmp_path / "a", "asha"), "asha")
    told.begin(6)
    assert [told.read(0, 0, 4.0), told.read(1, 0, 5.0)] == [GO, STOP]
    told = Told(make_ledger(tmp_path / "b", "asha"), "asha")
    told.begin(6)
    told.read(0, 0, 4.0)
    for number, status in ((2, "unhealthy"), (3, "failed"), (4, "unhealthy")):
        told.ledger.end(number, status)  # type: ignore[arg-type]
    assert told.read(1, 0, 5.0) == GO
    assert told.read(5, 0, math.inf) == STOP


def test_the_median_rule_by_hand(tmp_path: Path) -> None:
    """A trial stops where its best is worse than the median of the others' running means, of three at the least.

    At rung 1 the means are 5, 4, 3 (of 6 and 4, 5 and 3, 4 and 2); their median is 4. Trial 3's best, 4.5, is worse.
    """
    told = Told(make_ledger(tmp_path, "median"), "median")
    told.begin(5)
    for number, values in enumerate([(6.0, 4.0), (5.0, 3.0), (4.0, 2.0)]):
        for place, value in enumerate(values):
            assert told.read(number, place, value) == GO
    assert told.read(3, 0, 4.9) == GO  # the first readings' median is 5
    assert told.read(3, 1, 4.5) == STOP
    assert told.read(4, 0, 5.1) == STOP


def test_trials_that_went_bad_before_all_others_are_the_worst_of_the_median(tmp_path: Path) -> None:
    """Three that have no reading: whatever comes first is better than these, and so is what is better than that."""
    told = Told(make_ledger(tmp_path, "median"), "median")
    told.begin(7)
    for number in range(3):
        told.ledger.end(number, "unhealthy")
    assert [told.read(number, 0, value) for number, value in ((3, 5.0), (4, 4.0), (5, 3.0), (6, 2.0))] == [GO] * 4


@pytest.mark.parametrize("name", ["asha", "median"])
def test_a_scheduler_from_a_record_decides_as_one_that_was_there(name: str, tmp_path: Path) -> None:
    """At every point of a study, what is decided next does not depend on whether the driver was killed there."""
    firsts = [4.0, 6.0, 3.0, 5.0, 2.0, 7.0, 6.5]
    values = [[first - 0.3 * place for place in range(3)] for first in firsts]
    order = [(number, place) for place in range(3) for number in (3, 0, 6, 1, 5, 2, 4)]
    whole = Told(make_ledger(tmp_path / "whole", name, trials=7), name)
    broken = Told(make_ledger(tmp_path / "broken", name, trials=7), name)
    whole.begin(7)
    broken.begin(7)
    for step, (number, place) in enumerate(order):
        if whole.ledger.trial(number).status != "running":
            continue
        if step == 4:
            whole.ledger.end(4, "unhealthy")
            broken.ledger.end(4, "unhealthy")
        record = Study.read(broken.ledger.path)
        broken = Told(Ledger(record, broken.ledger.space, broken.ledger.path), name)
        value = values[number][place]
        assert broken.read(number, place, value) == whole.read(number, place, value), (number, place)
    assert {trial.status for trial in whole.ledger.study.trials} >= {"running", "stopped", "unhealthy"}


def test_a_reading_that_was_reported_twice_counts_once(tmp_path: Path) -> None:
    told = Told(make_ledger(tmp_path, "asha"), "asha")
    told.begin(3)
    told.read(0, 0, 1.0)
    assert told.read(0, 0, 99.0) == GO  # of a process that took the trial up again
    assert told.ledger.trial(0).readings[0].value == 1.0
    assert len(told.ledger.trial(0).readings) == 1


def test_finalists_repeats_are_let_run(tmp_path: Path) -> None:
    told = Told(make_ledger(tmp_path, "asha"), "asha")
    told.begin(1)
    told.read(0, 0, 1.0)
    told.ledger.begin({}, 1, repeats=0)
    assert told.read(1, 0, 50.0) == GO
