"""Which trial is called the best."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.tuning.analytic import Analytic, make_ledger
from tuning.finals import finalists, finals, winner
from tuning.ledger import Ledger
from tuning.record import Reading
from tuning.study import Resources, run_study


def study(
    folder: Path, searched: list[tuple[str, list[float]]], repeats: dict[int, list[tuple]] | None = None
) -> Ledger:
    """searched: status and values at the rungs. repeats: of a trial, (value or None for a bad one, error, seconds)."""
    ledger = make_ledger(folder, "asha")
    rungs = ledger.study.rungs
    for number, (status, values) in enumerate(searched):
        ledger.begin({"optim.generator.lr": 1e-3}, 0)
        for place, value in enumerate(values):
            ledger.read(number, place, Reading(images=rungs[place], seconds=1, value=value))
        ledger.end(number, status)  # type: ignore[arg-type]
    for origin, runs in (repeats or {}).items():
        for value, error, seconds in runs:
            trial = ledger.begin({}, 1, repeats=origin)
            if value is None:
                ledger.end(trial.number, "unhealthy")
                continue
            reading = Reading(images=rungs[-1], seconds=seconds, value=value, error=error)
            ledger.read(trial.number, 0, reading, "finished")
    return ledger


def test_finalists_came_furthest_and_are_best_there(tmp_path: Path) -> None:
    searched = [
        ("finished", [9, 8, 7, 5.0]), ("stopped", [9, 0.1]), ("finished", [9, 8, 7, 4.0]), ("unhealthy", [1, 1, 1]),
        ("stopped", [9, 8, 3.0]), ("failed", []), ("finished", [9, 8, 7, math.inf]),
    ]  # fmt: skip
    chosen = finalists(study(tmp_path, searched).study, 4)
    assert [trial.number for trial in chosen] == [2, 0, 4, 1]


def test_fresh_seeds_decide_not_the_search(tmp_path: Path) -> None:
    """Trial 0 was lucky: its repeats have mean 6, those of trial 1 mean 4, errors 0.5 by hand from two each."""
    searched = [("finished", [9, 9, 9, 1.0]), ("finished", [9, 9, 9, 3.0])]
    ledger = study(tmp_path, searched, {0: [(5.5, 0.1, 10), (6.5, 0.1, 10)], 1: [(3.5, 0.1, 10), (4.5, 0.1, 10)]})
    judged = finals(ledger.study)
    assert [(final.number, final.mean) for final in judged] == [(1, 4.0), (0, 6.0)]
    # Spread of 3.5 and 4.5: deviation sqrt(0.5), of the mean sqrt(0.5) / sqrt(2) = 0.5.
    assert judged[0].error == pytest.approx(0.5)
    assert winner(ledger.study) == 1


def test_a_tie_goes_to_the_cheaper(tmp_path: Path) -> None:
    """4.0 and 4.5, each known to 0.5: their difference is within its error of 0.71, so the one of fewer seconds."""
    searched = [("finished", [9, 9, 9, 1.0]), ("finished", [9, 9, 9, 3.0])]
    repeats = {0: [(3.5, 0.1, 30), (4.5, 0.1, 30)], 1: [(4.0, 0.1, 10), (5.0, 0.1, 10)]}
    assert winner(study(tmp_path / "tie", searched, repeats).study) == 1
    repeats[1] = [(5.0, 0.1, 10), (6.0, 0.1, 10)]  # 1.5 apart
    assert winner(study(tmp_path / "apart", searched, repeats).study) == 0


def test_with_one_seed_the_metrics_own_error_is_what_is_known(tmp_path: Path) -> None:
    searched = [("finished", [9, 9, 9, 1.0]), ("finished", [9, 9, 9, 3.0])]
    judged = finals(study(tmp_path, searched, {0: [(4.0, 0.3, 9)], 1: [(4.2, 0.4, 8)]}).study)
    assert [final.error for final in judged] == [pytest.approx(0.3), pytest.approx(0.4)]


def test_a_repeat_that_goes_bad_counts_as_bad(tmp_path: Path) -> None:
    searched = [("finished", [9, 9, 9, 1.0]), ("finished", [9, 9, 9, 3.0])]
    ledger = study(tmp_path, searched, {0: [(1.0, 0.1, 9), (None, 0, 0)], 1: [(8.0, 0.1, 9), (8.1, 0.1, 9)]})
    assert winner(ledger.study) == 1


def test_where_all_finalists_went_bad_none_of_them_is_the_best(tmp_path: Path) -> None:
    searched = [("finished", [9, 9, 9, 1.0]), ("finished", [9, 9, 9, 3.0]), ("finished", [9, 9, 9, 5.0])]
    bad = {0: [(1.0, 0.1, 9), (None, 0, 0)], 1: [(None, 0, 0), (None, 0, 0)]}
    assert winner(study(tmp_path / "third", searched, bad).study) == 2
    assert winner(study(tmp_path / "none", searched[:2], bad).study) is None


def test_finals_that_were_killed_as_every_finalist_had_a_run_to_end_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = study(tmp_path, [("finished", [9, 9, 9, 2.0]), ("finished", [9, 9, 9, 1.0])])
    ledger.study.trials_wanted = 2
    running = [ledger.begin({}, 1, repeats=origin) for origin in (0, 1)]

    def finish(ledger: Ledger, *told: object) -> None:
        for trial, value in zip(running, (3.0, 4.0), strict=True):
            ledger.read(trial.number, 0, Reading(images=1, seconds=1, value=value), "finished")

    monkeypatch.setattr(Resources, "places", lambda resources: 1)
    monkeypatch.setattr("tuning.study._finals", finish)
    assert run_study(ledger, Analytic(), Resources(), finalists_wanted=2, seeds=1).best == 0


def test_no_good_trial_no_best(tmp_path: Path) -> None:
    assert winner(study(tmp_path, [("failed", []), ("unhealthy", [math.inf])]).study) is None


def test_without_finals_the_search_decides(tmp_path: Path) -> None:
    assert winner(study(tmp_path, [("finished", [9, 9, 9, 2.0]), ("finished", [9, 9, 9, 1.0])]).study) == 1


def test_without_finals_a_search_for_both_decides_by_cost_among_equals(tmp_path: Path) -> None:
    """3.0 and 3.1 are equal, each known to 0.1; 3.5 is not, and what was stopped came less far."""
    searched = [
        ("finished", [9, 9, 9, 3.0]),
        ("finished", [9, 9, 9, 3.1]),
        ("finished", [9, 9, 9, 3.5]),
        ("stopped", [3]),
    ]
    ledger = study(tmp_path, searched)
    for trial, seconds in zip(ledger.study.trials, (30, 20, 10, 1), strict=True):
        trial.readings[-1].seconds, trial.readings[-1].error = seconds, 0.1
    assert winner(ledger.study) == 0
    ledger.study.search = "tpe-cost"
    assert winner(ledger.study) == 1
