"""Runs side by side, by any metric, parameter or tag."""

import difflib
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganlib.errors import UserError
from ganlib.evaluation.names import judge_of, meant
from pipelines.run_store import Store, StoredRun, open_store
from pipelines.tracking import HEALTH_TAG, IMAGES_TAG

if TYPE_CHECKING:
    from rich.table import Table

# What every run has; each comes before a metric, parameter or tag of the same name.
_FACTS = ("name", "recipe", "status", "images", "dataset", "age", "run")


@dataclass(frozen=True)
class RunsTable:
    """One row a run, one cell a column, as text; empty where a run has no such value."""

    columns: list[str]
    rows: list[list[str]]

    def plain(self) -> str:
        """Lines of cells between tabs, the columns' names first: for pipes and spreadsheets."""
        return "\n".join("\t".join(cells) for cells in (self.columns, *self.rows))

    def rich(self) -> "Table":
        """For a terminal."""
        from rich.table import Table

        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in self.columns:
            table.add_column(column, overflow="fold", justify="left" if column in _FACTS else "right")
        for row in self.rows:
            table.add_row(*row)
        return table


def runs_table(
    tracking_uri: str,
    experiment: str | None = None,
    sort_by: str | None = None,
    columns: Sequence[str] = (),
    limit: int = 50,
) -> RunsTable:
    """The runs of `experiment` (of all where None), at most `limit`, newest first or by `sort_by`.

    A column is a fact of the run (name, recipe, status, images, dataset, age, run), a metric (its latest value), a
    parameter or a tag; without `columns` they are the facts, every metric `fid/...` or `fid_patch/...`, and the tag
    `health` where a run has it. `sort_by` is any of these, lowest first, or highest first with a "-" before it. Numbers
    sort as numbers; runs without the value, or with NaN, come last.

    `fid/classifier` is a metric whatever its judge. Where the runs have but one of these, the column is headed by its
    whole name, `fid/classifier-1a2b3c4d`. Where they have several, as runs on different datasets do, each run has its
    own, with its judge behind it; sorted, the runs of one judge stand together: their numbers alone can be compared.

    Raises UserError for an experiment, a column or a `sort_by` that there is not, naming the nearest that there are,
    and where MLflow does not answer.
    """
    store = open_store(tracking_uri)
    experiments = _experiments(store, experiment)
    key, descending = (sort_by or "").removeprefix("-"), (sort_by or "").startswith("-")
    runs = _by(store.runs(experiments), key, descending, limit) if key else store.runs(experiments, limit)
    if not runs:
        return RunsTable(list(columns or _FACTS[:-1]), [])
    known = _names(runs)
    if not columns:
        fids = sorted({name for run in runs for name in run.metrics if name.startswith(("fid/", "fid_patch/"))})
        health = [HEALTH_TAG] if any(HEALTH_TAG in run.tags for run in runs) else []
        middle = dict.fromkeys([*(meant(key, known) if key and key not in _FACTS else []), *fids, *health])
        columns = ["name", "recipe", "status", "images", *middle, "dataset", "age"]
    named = {column: _require(column, known) for column in columns}
    heads = [names[0] if len(names) == 1 else f"{column}, {len(names)} judges" for column, names in named.items()]
    return RunsTable(heads, [[_cells(run, names) for names in named.values()] for run in runs])


def _experiments(store: Store, name: str | None) -> list[str]:
    """The ids of the experiment `name`, or of all."""
    experiments = store.experiments()
    if name is None:
        return list(experiments.values())
    if name not in experiments:
        raise UserError(f"no experiment is named {name!r}; {nearest(name, experiments)}")
    return [experiments[name]]


def _by(runs: list[StoredRun], key: str, descending: bool, limit: int) -> list[StoredRun]:
    names = _require(key, _names(runs)) if runs else []
    ranked: dict[str, tuple[str, str | float]] = {}
    for run in runs:
        values = ((name, _value(run, name)) for name in names)
        there = next(((name, value) for name, value in values if value is not None and value == value), None)
        if there is not None:
            ranked[run.run_id] = there
    last = [run for run in runs if run.run_id not in ranked]
    last.sort(key=lambda run: all(_value(run, name) is None for name in names))  # NaN, then nothing
    have = [run for run in runs if run.run_id in ranked]

    def value(run: StoredRun) -> tuple[bool, str | float]:
        """Numbers before words."""
        found = ranked[run.run_id][1]
        return isinstance(found, str), found

    have.sort(key=value, reverse=descending)
    have.sort(key=lambda run: ranked[run.run_id][0])  # stable: in the order of their values by one judge
    return (have + last)[:limit]


def _value(run: StoredRun, column: str) -> str | float | None:
    """What the run has in the column: a number where it is one, None where there is nothing."""
    facts: dict[str, str | float | None] = {
        "name": run.name,
        "recipe": run.tags.get("recipe"),
        "status": run.status,
        "images": _number(run.tags.get(IMAGES_TAG)),
        "dataset": run.datasets[0] if run.datasets else None,
        "age": time.time() - run.start / 1000,
        "run": run.run_id,
    }
    if column in facts:
        return facts[column]
    if column in run.metrics:
        return float(run.metrics[column])
    return _number(run.params.get(column, run.tags.get(column)))


def _number(text: str | None) -> str | float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return text


def _cells(run: StoredRun, names: Sequence[str]) -> str:
    """What the run has under each of the names that its column means, with the judge where there are several."""
    if len(names) == 1:
        return _cell(run, names[0])
    return ", ".join(f"{text} {judge_of(name)}".strip() for name in names if (text := _cell(run, name)))


def _cell(run: StoredRun, column: str) -> str:
    if column not in _FACTS and column not in run.metrics:  # as it is stored: a seed has more digits than a score
        return run.params.get(column, run.tags.get(column, ""))
    value = _value(run, column)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if column == "images":
        return f"{value:,.0f}"
    if column == "age":
        return _age(value)
    return f"{value:.5g}"


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def _names(runs: Iterable[StoredRun]) -> set[str]:
    return {*_FACTS, *(name for run in runs for name in (*run.metrics, *run.params, *run.tags))}


def _require(name: str, known: Collection[str]) -> list[str]:
    """The names that are meant by `name`."""
    found = meant(name, known)
    if not found:
        raise UserError(f"no run has a metric, parameter or tag {name!r}; {nearest(name, known)}")
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """The names that are spelled much like `name`, or that hold it."""
    known = sorted(known)
    near = [*difflib.get_close_matches(name, known, n=3), *(other for other in known if name.lower() in other.lower())]
    return "the nearest: " + ", ".join(list(dict.fromkeys(near))[:5]) if near else "there are: " + ", ".join(known[:20])
