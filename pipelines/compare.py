"""Runs beside each other: what differs in their recipes, what each reached, and MLflow's page for exactly these."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ganlib.errors import UserError
from pipelines.run_store import StoredRun, open_store
from pipelines.runs import nearest
from pipelines.tracking import HEALTH_TAG, IMAGES_TAG


@dataclass(frozen=True)
class Comparison:
    """Rows of (name, one value a run), as text, empty where a run has no such value; `same` counts equal fields."""

    runs: list[StoredRun]
    recipe: list[list[str]]
    metrics: list[list[str]]
    same: int

    def page(self, server: str) -> str:
        """The address of MLflow's compare page for these runs and no others."""
        runs = json.dumps([run.run_id for run in self.runs], separators=(",", ":"))
        experiments = json.dumps(list(dict.fromkeys(run.experiment_id for run in self.runs)), separators=(",", ":"))
        return f"{server.rstrip('/')}/#/compare-runs?runs={quote(runs)}&experiments={quote(experiments)}"


def compare(tracking_uri: str, names: Sequence[str]) -> Comparison:
    """Compares the runs by their recipes' fields, and every metric that one of them has, by its latest value.

    names: each a run's name, its folder, or the beginning of its id in MLflow (of eight digits and more).
    Raises UserError where there is no such run, where several are meant, and where one is named twice.
    """
    store = open_store(tracking_uri)
    everything = store.runs(list(store.experiments().values()))
    runs = [_find(everything, name) for name in names]
    if len({run.run_id for run in runs}) < len(runs):
        raise UserError(f"a run is named twice among {', '.join(names)}; compare it with another")
    fields = sorted({field for run in runs for field in run.params})
    facts = [("dataset", [", ".join(run.datasets) for run in runs])]
    facts += [(tag, [run.tags.get(tag, "") for run in runs]) for tag in (IMAGES_TAG, HEALTH_TAG)]
    recipe = [(field, [run.params.get(field, "") for run in runs]) for field in fields]
    rows = [[name, *values] for name, values in [*facts, *recipe] if len(set(values)) > 1]
    metrics = sorted({metric for run in runs for metric in run.metrics})
    measured = [
        [metric, *(f"{run.metrics[metric]:.5g}" if metric in run.metrics else "" for run in runs)] for metric in metrics
    ]
    return Comparison(runs, rows, measured, sum(len(set(values)) == 1 for _, values in recipe))


def _find(runs: Sequence[StoredRun], name: str) -> StoredRun:
    called = Path(name).name
    found = [run for run in runs if called and run.name == called]
    if not found and len(name) >= 8:
        found = [run for run in runs if run.run_id.startswith(name)]
    if not found:
        raise UserError(f"MLflow has no run {name!r}; {nearest(name, [run.name for run in runs])}")
    if len(found) > 1:
        ids = ", ".join(run.run_id for run in found[:5])
        raise UserError(f"{len(found)} runs are named {name!r}; name the one that is meant by its id: {ids}")
    return found[0]
