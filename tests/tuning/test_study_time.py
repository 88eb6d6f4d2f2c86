"""How long a search may take, by a clock that is turned by hand; no trial is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tuning.analytic import Analytic, make_ledger
from tuning.ledger import Ledger
from tuning.record import Reading, Study
from tuning.study import Resources, run_study


def test_drivers_of_a_study_share_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 seconds the first driver has 40 when it is killed, so the second has 60; then it is over for good."""
    now, given = [1_000.0], []

    def killed(ledger: Ledger, *told: Any, **more: Any) -> None:
        given.append(told[4])
        trial = ledger.begin({"optim.generator.lr": 1e-3, "optim.discriminator.lr": 1e-3}, 0)
        now[0] += 40
        ledger.read(trial.number, 0, Reading(images=6_750, seconds=40, value=2.0))
        now[0] += 7  # after the last that was written
        kept.append(ledger.path.read_text())
        raise KeyboardInterrupt

    def goes_on(ledger: Ledger, *told: Any, **more: Any) -> None:
        given.append(told[4])
        now[0] += 61

    kept: list[str] = []
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(Resources, "places", lambda resources: 1)
    monkeypatch.setattr("tuning.study._run", killed)
    first = make_ledger(tmp_path, trials=8)
    with pytest.raises(KeyboardInterrupt):
        run_study(first, Analytic(), Resources(), seconds=100)
    first.path.write_text(kept[0])  # as SIGKILL would have left it
    monkeypatch.setattr("tuning.study._run", goes_on)
    study = run_study(make_ledger(tmp_path), Analytic(), Resources(), seconds=100)
    assert given == [100, 60]
    assert [(trial.status, trial.says) for trial in study.trials] == [("stopped", "the study's time was over")]
    assert study.ended is not None
    assert Study.read(first.path).searched_seconds == 101
    run_study(make_ledger(tmp_path), Analytic(), Resources(), seconds=100)
    assert len(given) == 2
