"""The report: one HTML page of a run, or of several side by side, that needs nothing else, and its pictures as PNGs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ganlib.errors import UserError
from ganlib.files import write_atomically
from ganlib.page import render
from pipelines.journal import Journal
from pipelines.report.chart import chart
from pipelines.report.contents import RunContents, contents_of, differences, evaluation_table, panels
from pipelines.run_folder import RunFolder

MOST_RUNS = 8
"""As many as there are colours that can be told apart."""


def write_report(runs: Sequence[RunFolder]) -> Path:
    """Writes the report of `runs` into the first one's folder, says so in its journal, and returns the page's path.

    `RUN/report/report.html`, or `comparison.html` of several; each run has the PNGs of its own beside it, and in its
    journal. Raises UserError for one run twice, too many, a run whose dataset is gone, and a folder that cannot be
    written.
    """
    if len({run.path for run in runs}) < len(runs) or len(runs) > MOST_RUNS:
        names = ", ".join(run.name for run in runs)
        raise UserError(f"a report is of one to {MOST_RUNS} runs, each named once; these are {names}")
    folder = runs[0].path / "report"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"the report's folder {folder} cannot be written ({error.strerror})") from error
    several = len(runs) > 1
    # Pictures lie in the folder of the run that they are of.
    every = [contents_of(run, run.path / "report") for run in runs]
    page = folder / ("comparison.html" if several else "report.html")
    write_atomically(page, rendered(every))
    for run, contents in zip(runs, every, strict=True):
        with Journal(run.path, "report") as journal:
            if run is runs[0]:  # in whose folder the page lies
                journal.artifact(page, "report")
            for picture in contents.pictures:
                journal.artifact(picture.path, "report")
    return page


def rendered(every: Sequence[RunContents]) -> str:
    """The page as HTML, without a reference to anything outside it."""
    return render(
        "pipelines.report",
        "report.html.jinja",
        runs=every,
        charts=[(title, chart(lines)) for title, lines in panels(every)],
        differences=differences([one.recipe for one in every]),
        evaluation=evaluation_table(every),
    )
