"""`gan submit` and `gan jobs`: any command as a job of a cluster; what jobs there are, what they say."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganlib.errors import UserError
from pipelines.cli.options import DEFAULT_HOME, HomeOption

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

    from pipelines.jobs import Cluster

AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="RAY_API_SERVER_ADDRESS",
        help="The dashboard of a cluster (http://HOST:8265); that of `gan up` if none is given.",
    ),
]
JobArgument = Annotated[str, typer.Argument(help="A job's id.")]

app = typer.Typer(help="Jobs: list, status, logs, stop.", no_args_is_help=True, rich_markup_mode=None)


def submit(
    words: Annotated[list[str], typer.Argument(help="The command, after `--`: train mnist workers=4")],
    address: AddressOption = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Show what the job says until it ends; its failure is ours.")
    ] = False,
    wheel: Annotated[
        Path | None, typer.Option("--wheel", help="Code from this wheel of the product; the working tree otherwise.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="Paths of the tree to leave out (tests/*); may be repeated.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", help="A variable of this environment for the job; may be repeated.")
    ] = None,
    credentials: Annotated[
        bool, typer.Option(help="Give the job the credentials for MLflow and AWS that are set here; sealed.")
    ] = True,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Paths and URLs are as the nodes see them; no look from here.")
    ] = False,
    tracking: Annotated[
        str | None,
        typer.Option(
            "--tracking",
            envvar="MLFLOW_TRACKING_URI",
            help="MLflow's address as the nodes see it; else that of `gan up`, or what the nodes have.",
        ),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Run a `gan` command as a job on a cluster, with the code and the recipe as they stand here."""
    import tempfile

    from pipelines.cli.submitted import checked
    from pipelines.credentials import without_password
    from pipelines.job_package import pack
    from pipelines.jobs import Job, find_cluster
    from pipelines.jobs import submit as hand_over
    from pipelines.run_folder import Home
    from pipelines.tracking import home_database

    opened = Home(home).create()  # not entered: the cluster that is meant may be another, which has another token
    cluster = find_cluster(opened.path, address)
    asked = checked(words, opened, local=cluster.local is not None, unchecked=unchecked)
    if cluster.local is not None:
        own = (None, home_database(opened.path))
        if tracking not in own and not str(tracking).startswith("http"):
            raise UserError(f"jobs of this cluster record in {cluster.local.mlflow}; leave out --tracking {tracking}")
        tracking = cluster.local.mlflow if tracking in own else tracking
    elif tracking is not None and not tracking.startswith("http"):
        raise UserError(f"{tracking.partition(':')[0]} is a database of this machine; give --tracking http://HOST:PORT")
    folder = Path.cwd() if cluster.local is not None else None
    with tempfile.TemporaryDirectory() as code:
        said = pack(Path(code), wheel, exclude or (), asked.files)
        job = Job(asked.words, Path(code), folder, tracking, env or (), credentials)
        name = hand_over(cluster, job)
    typer.echo(f"job        {name}")
    typer.echo(f"code       {said}")
    typer.echo(f"dashboard  {cluster.link(name)}")
    if tracking is not None:
        typer.echo(f"MLflow     {without_password(tracking, {})}")
    if not wait:
        typer.echo(f"`gan jobs logs -f {name}` shows what it says; `gan jobs stop {name}` ends it")
        return
    _follow(cluster.client(), name)
    ended = _ended(cluster.client(), name)
    typer.echo(f"{name} {ended.status.value.lower()}", err=True)
    if ended.status.value != "SUCCEEDED":
        raise typer.Exit(ended.driver_exit_code or 1)


@app.command("list")
def list_jobs(address: AddressOption = None, home: HomeOption = DEFAULT_HOME) -> None:
    """The jobs of a cluster, oldest first: id, status, when, how long, and the command."""
    from pipelines.jobs import all_jobs

    jobs = all_jobs(_cluster(home, address).client())
    rows = [("job", "status", "started", "took", "command"), *(_row(job) for job in jobs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command()
def status(job: JobArgument, address: AddressOption = None, home: HomeOption = DEFAULT_HOME) -> None:
    """What a job is doing, and where its logs and its MLflow run are."""
    from pipelines.job_link import RUN_LINK
    from pipelines.jobs import details

    cluster = _cluster(home, address)
    found = details(cluster.client(), job)
    _, state, started, took, command = _row(found)
    typer.echo(f"job        {job}")
    typer.echo(f"status     {state}: {' '.join((found.message or '').split())}")
    typer.echo(f"command    {command}")
    typer.echo(f"started    {started}, took {took}" if found.end_time else f"started    {started}, {took} ago")
    typer.echo(f"dashboard  {cluster.link(job)}")
    if link := (found.metadata or {}).get(RUN_LINK):
        typer.echo(f"run        {link}")


@app.command()
def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job ends.")] = False,
    address: AddressOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """What a job has said."""
    from pipelines.jobs import details
    from pipelines.jobs import logs as said

    client = _cluster(home, address).client()
    if follow:
        details(client, job)
        _follow(client, job)
    else:
        typer.echo(said(client, job), nl=False)


@app.command()
def stop(job: JobArgument, address: AddressOption = None, home: HomeOption = DEFAULT_HOME) -> None:
    """End a job: it is asked to, and killed a minute later."""
    from pipelines.jobs import details
    from pipelines.jobs import stop as end

    client = _cluster(home, address).client()
    if end(client, job):
        typer.echo(f"{job} is asked to end")
    else:
        typer.echo(f"{job} has ended already: {details(client, job).status.value.lower()}")


def _cluster(home: Path, address: str | None) -> Cluster:
    from pipelines.jobs import find_cluster

    return find_cluster(home, address)


def _follow(client: JobSubmissionClient, job: str) -> None:
    from pipelines.jobs import follow

    try:
        for piece in follow(client, job):
            typer.echo(piece, nl=False)
    except KeyboardInterrupt:
        typer.echo(f"\n{job} goes on; `gan jobs stop {job}` ends it", err=True)
        raise typer.Exit(130) from None


def _ended(client: JobSubmissionClient, job: str) -> JobDetails:
    """The job at its end: its log ends a moment before its status says so."""
    from pipelines.jobs import details

    while not (found := details(client, job)).status.is_terminal():
        time.sleep(0.5)
    return found


def _row(job: JobDetails) -> tuple[str, ...]:
    begun = (job.start_time or 0) / 1000
    until = job.end_time / 1000 if job.end_time else time.time()
    command = (job.metadata or {}).get("command", job.entrypoint)
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(begun))
    return job.submission_id or "", job.status.value.lower(), started, f"{until - begun:.0f} s", command
