"""`gan up` and `gan down`: a cluster on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import DEFAULT_HOME, HomeOption, open_home, tracking_address

PortOption = Annotated[int | None, typer.Option(min=1024, max=65535, help="A free one is chosen if none is given.")]


def up(
    nodes: Annotated[int, typer.Option("--nodes", min=1, max=64, help="Ray nodes, each with CPUs of its own.")] = 1,
    cpus: Annotated[
        int | None, typer.Option("--cpus", min=1, help="CPUs of each node; the machine's, shared out, if not given.")
    ] = None,
    ray_port: PortOption = None,
    dashboard_port: PortOption = None,
    mlflow_port: PortOption = None,
    tracking: Annotated[
        str | None, typer.Option("--tracking", help="An MLflow that is there already; else one is started.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Start a cluster on this machine, in the background: Ray with its Jobs API, and MLflow. All of it on loopback."""
    from pipelines.local_cluster import Wanted
    from pipelines.local_cluster import up as start
    from pipelines.tracking import check_tracking

    opened = open_home(home)
    if tracking is not None:
        # The cluster's processes have the password from this environment; its note, cluster.json, has none.
        tracking = tracking_address(opened.path, tracking)
        check_tracking(tracking)
    wanted = Wanted(nodes, cpus, ray_port, dashboard_port, mlflow_port, tracking)
    state = start(opened.path, wanted, lambda line: typer.echo(line, err=True))
    typer.echo(f"Ray        {state.address}   {state.nodes} {'node' if state.nodes == 1 else 'nodes'}")
    typer.echo(f"dashboard  {state.dashboard}   asks for the token in {state.token_file}")
    typer.echo(f"MLflow     {state.mlflow}")
    typer.echo(f"state      {state.folder}   Ray's logs: {state.temporary}/session_latest/logs")
    where = f" --home {home}" if home != DEFAULT_HOME else ""
    typer.echo(f"`gan submit{where} -- train digits workers=2` runs a job on it; `gan down{where}` ends it")


def down(home: HomeOption = DEFAULT_HOME) -> None:
    """End the cluster that `gan up` started in this home, and nothing else."""
    from pipelines.local_cluster import down as stop

    ended = stop(home)
    typer.echo(f"ended {ended} processes" if ended else f"no cluster is up in {home}")
