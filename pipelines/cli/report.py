"""`gan report`: a run, or several side by side, on one page."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import DEFAULT_HOME, HomeOption, TrackingOption, open_home, open_tracking


def report(
    runs: Annotated[list[str], typer.Argument(help="Runs by name or folder; the page lies with the first of them.")],
    home: HomeOption = DEFAULT_HOME,
    tracking: TrackingOption = None,
) -> None:
    """Write one self-contained HTML page: curves, pictures over time, nearest images, health, what differs."""
    from pipelines.report import write_report
    from pipelines.run_folder import find_run
    from pipelines.train import sender_of, ship

    opened = open_home(home)
    folders = [find_run(opened, run) for run in runs]
    uri = open_tracking(opened, tracking)
    page = write_report(folders)
    for folder in folders:
        ship(sender_of(folder, uri), folder)
    typer.echo(page)
