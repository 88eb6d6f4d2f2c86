"""Options and arguments that several commands share, and what they stand for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines import cluster

if TYPE_CHECKING:
    from pipelines.run_folder import Home

HomeOption = Annotated[
    Path, typer.Option("--home", envvar="GAN_HOME", help="Folder of datasets, runs and the local MLflow.")
]
TrackingOption = Annotated[
    str | None,
    typer.Option("--tracking", envvar="MLFLOW_TRACKING_URI", help="MLflow's address; HOME/mlflow where none is given."),
]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source",
        help="Folder, zip, tar, table or Parquet of images (a path or s3://...), a data set's name, or one prepared.",
    ),
]
KindOption = Annotated[str | None, typer.Option("--kind", help="What the source is, where two kinds are possible.")]
StoreOption = Annotated[
    str | None,
    typer.Option("--store", envvar="GAN_STORE", help="Where datasets lie: a folder or s3://...; else HOME/datasets."),
]
RecipeArgument = Annotated[str, typer.Argument(help="A shipped recipe (see `gan recipes`) or a YAML file.")]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(help="Fields to change, by dotted path: optim.generator.lr=1e-4 workers=2")
]
DEFAULT_HOME = Path("work")


def overrides_of(given: list[str] | None, kind: str | None) -> list[str]:
    """The fields to change, `--kind` among them."""
    return [*(given or ()), *([] if kind is None else [f"data.read.kind={kind}"])]


def open_home(path: Path) -> Home:
    """The home folder, made where it is missing. Raises UserError."""
    from pipelines.run_folder import Home

    home = Home(path).create()
    cluster.enter(home.path)
    return home


def tracking_address(home: Path, given: str | None) -> str:
    """MLflow's address, fit to be printed and kept: a password in it goes into the environment, to be found there."""
    from pipelines.credentials import without_password
    from pipelines.tracking import default_tracking_uri

    return without_password(given or default_tracking_uri(home), os.environ)


def mlflow_pages(home: Path, uri: str) -> str:
    """How a person comes to MLflow's pages: the address of a server itself, or the command that shows a database's."""
    from pipelines.tracking import home_database

    if uri.startswith("http"):
        return uri
    return f"gan ui --home {home}" if uri == home_database(home) else f"gan ui --tracking {uri}"


def open_tracking(home: Home, given: str | None) -> str:
    """The address of an MLflow that answers. Raises UserError."""
    from pipelines.console import Progress
    from pipelines.tracking import check_tracking

    uri = tracking_address(home.path, given)
    # Parts of MLflow ask the environment, whatever address its caller names.
    os.environ["MLFLOW_TRACKING_URI"] = uri
    with Progress("MLflow"):
        check_tracking(uri)
    return uri
