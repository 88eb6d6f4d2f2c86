"""`gan compare`: runs beside each other, here and in MLflow."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ganlib.errors import UserError
from pipelines.cli.options import DEFAULT_HOME, HomeOption, TrackingOption, mlflow_pages, tracking_address

if TYPE_CHECKING:
    from pipelines.compare import Comparison


def compare(
    runs: Annotated[list[str], typer.Argument(help="Two runs or more: by name, folder, or id in MLflow.")],
    home: HomeOption = DEFAULT_HOME,
    tracking: TrackingOption = None,
) -> None:
    """What differs in the recipes of runs, what each of them reached, and MLflow's page that compares exactly these."""
    from pipelines.cluster_state import running
    from pipelines.compare import compare as side_by_side
    from pipelines.tracking import home_database

    if len(runs) < 2:
        raise UserError("name two runs or more to compare; `gan runs` lists what there is")
    uri = tracking_address(home, tracking)
    found = side_by_side(uri, runs)
    if sys.stdout.isatty():
        _draw(found)
    else:
        heads = ["", *(run.name for run in found.runs)]
        typer.echo("\n".join("\t".join(row) for row in (heads, *found.recipe, *found.metrics)))
    typer.echo(f"{found.same} fields of the recipes are the same", err=True)
    if uri.startswith("http"):
        typer.echo(found.page(uri))
    elif uri == home_database(home) and (cluster := running(home)) and cluster.tracking is None:
        typer.echo(found.page(cluster.mlflow))
    else:
        typer.echo(f"{found.page('http://127.0.0.1:5000')}   once `{mlflow_pages(home, uri)}` runs")


def _draw(found: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table

    for title, rows in (("recipe", found.recipe), ("metrics", found.metrics)):
        table = Table(title, *(run.name for run in found.runs), box=None, header_style="bold", pad_edge=False)
        for row in rows:
            table.add_row(*row)
        Console().print(table)
