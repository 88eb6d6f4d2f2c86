"""A driver to be killed: python -m tests.cluster.study_driver FOLDER SCHEDULER PAUSE [SEARCH [AT_ONCE]]"""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.cluster import connect
from tests.tuning.analytic import Analytic, make_ledger
from tuning.study import Resources, run_study


def main(folder: str, scheduler: str, pause: str, search: str = "tpe", at_once: str = "1") -> None:
    connect(2)
    ledger = make_ledger(Path(folder), scheduler, trials=6, search=search)
    resources = Resources(at_once=int(at_once))
    run_study(ledger, Analytic(float(pause), diverges=0.05), resources, finalists_wanted=1, seeds=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
