"""The report of a study: one HTML page that needs nothing else, and beside it the pictures that are in it, as PNGs."""

from __future__ import annotations

from pathlib import Path

from ganlib.files import write_atomically
from ganlib.page import render
from tuning.importance import Importances, UnknownImportanceError, importances
from tuning.record import Study
from tuning.report.charts import best_so_far, cost, curves, fronts, importance_bars, pairs, schedules, slices
from tuning.report.contents import (
    against_base,
    costs,
    endings,
    facts,
    final_rows,
    importance_rows,
    recipe_text,
    settings,
    trial_table,
)

PAGE = "study.html"


def write_report(study: Study, folder: Path) -> list[Path]:
    """Writes the report of `study`, as far as it has come, into `folder`, and returns its files, the page first.

    The page is `study.html`. Pictures of an earlier report of it that this one has not stay. Raises UserError where the
    folder cannot be written.
    """
    weights: Importances | None = None
    unknown = ""
    try:
        weights = importances(study)
    except UnknownImportanceError as error:
        unknown = str(error)
    groups = {
        "progress": [*best_so_far(study), *curves(study)],
        "importance": [] if weights is None else [importance_bars(weights)],
        "slices": slices(study),
        "pairs": pairs(study),
        "schedules": schedules(study),
        "cost": [*fronts(study), *cost(study)],
    }
    page = render(
        "tuning.report",
        "study.html.jinja",
        study=study,
        groups=groups,
        facts=facts(study),
        against_base=against_base(study),
        finals=final_rows(study),
        endings=endings(study),
        weights=weights,
        weights_rows=[] if weights is None else importance_rows(weights),
        unknown=unknown,
        costs=costs(study),
        table=trial_table(study),
        settings=settings(study),
        recipe=recipe_text(study),
    )
    # The page last: where it stands, its pictures do.
    files = []
    for picture in (picture for group in groups.values() for picture in group):
        write_atomically(folder / f"{picture.stem}.png", picture.png)
        files.append(folder / f"{picture.stem}.png")
    write_atomically(folder / PAGE, page)
    return [folder / PAGE, *files]
