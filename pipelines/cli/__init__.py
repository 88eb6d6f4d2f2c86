"""The command `gan`. Heavy imports stand in the commands, so that `gan --help` answers at once."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganlib.errors import UserError
from pipelines.cli import cluster, compare, data, health, jobs, judging, plan, report, samples, theory, tune
from pipelines.cli.options import (
    DEFAULT_HOME,
    HomeOption,
    KindOption,
    OverridesArgument,
    RecipeArgument,
    SourceOption,
    StoreOption,
    TrackingOption,
    mlflow_pages,
    open_home,
    open_tracking,
    overrides_of,
    tracking_address,
)

if TYPE_CHECKING:
    from pipelines.run_folder import Home
    from pipelines.workflow import Outcome

app = typer.Typer(
    help="Train, evaluate, publish and compare GANs: on this machine or a Ray cluster, every run in MLflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich takes half of the time that `gan --help` has
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(data.app, name="data")
app.command("prepare")(data.prepare)
app.command("theory")(theory.theory)
app.command("plan")(plan.plan)
app.add_typer(jobs.app, name="jobs")
app.command("submit")(jobs.submit)
app.command("compare")(compare.compare)
app.command("up")(cluster.up)
app.command("down")(cluster.down)


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """Options before the command."""


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A shipped recipe (see `gan recipes`) or a YAML file; not with --run.")
    ] = None,
    overrides: OverridesArgument = None,
    source: SourceOption = None,
    kind: KindOption = None,
    store: StoreOption = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the newest run of this recipe; on this data, where a source is named."
        ),
    ] = False,
    run: Annotated[str | None, typer.Option("--run", help="Go on with this run (its name or folder).")] = None,
    like: Annotated[
        str | None, typer.Option("--from", help="A new run with this run's recipe and data, and what overrides say.")
    ] = None,
    apply_advice: Annotated[
        bool, typer.Option("--apply-advice", help="With --from: and with what `gan health` advises.")
    ] = False,
    add_epochs: Annotated[
        float, typer.Option("--add-epochs", min=0, help="With --resume or --run: so many epochs more than it had.")
    ] = 0,
    home: HomeOption = DEFAULT_HOME,
    tracking: TrackingOption = None,
) -> None:
    """Train a recipe, with checkpoints, evaluation beside the training, and a record in MLflow."""
    if apply_advice and like is None:
        raise UserError("--apply-advice changes the recipe of a run; name it with --from")
    if like is not None and (run or resume or source or kind):
        raise UserError("--from takes recipe and data from a run; leave out --run, --resume, --source and --kind")
    if run is None and recipe is None and like is None:
        raise UserError("name a recipe (`gan recipes` lists them), or a run to go on with (--run)")
    if run is not None and (recipe or source or kind or resume):
        given = {"RECIPE": recipe, "--source": source, "--kind": kind, "--resume": resume}
        too_many = ", ".join(name for name, value in given.items() if value)
        raise UserError(f"run {run} keeps its recipe and data; leave out {too_many}, or start a new run")
    if add_epochs and run is None and not resume:
        raise UserError("--add-epochs lengthens a run that is there; name it with --run, or say --resume")
    from pipelines.shipped import find_recipe

    found = None if recipe is None or like is not None else find_recipe(recipe, overrides_of(overrides, kind))
    # Not before a mistake in the recipe has been said: Ray and MLflow take seconds to import.
    from ganlib.data import Dataset
    from ganlib.data.unpaired import epoch_images
    from pipelines.kept import begun, note_begun
    from pipelines.prepare import DatasetRequest
    from pipelines.run_folder import find_run, new_run_name, newest_run
    from pipelines.train import create_run
    from pipelines.train import train as stage

    opened = open_home(home)
    uri = open_tracking(opened, tracking)
    if (own := begun(opened.path)) is not None:
        folder, add_epochs = find_run(opened, str(own)), 0
    elif like is not None:
        changes = [*([] if recipe is None else [recipe]), *(overrides or [])]
        folder = health.begun_like(opened, find_run(opened, like), changes, apply_advice)
    else:
        if run is not None:
            folder = find_run(opened, run)
        else:
            assert found is not None
            newest = newest_run(opened, found.name) if resume else None  # before minutes go into a dataset of no run
            if newest is not None and source is None and found.data.source is None:
                folder = newest
            else:
                judge = found.evaluate.extractor
                dataset = DatasetRequest(found.data, opened, source, store=store, extractor=judge).prepare()
                if resume:
                    folder = newest_run(opened, found.name, dataset.digest)
                else:
                    folder = create_run(found, dataset, opened, new_run_name(found.name))
        if found is not None and (overrides or kind) and found != folder.first_recipe():
            raise UserError(f"run {folder.name} keeps its recipe; leave out the overrides, or start a new run")
    if add_epochs:
        epoch = epoch_images(Dataset.open(folder.facts().dataset_path), folder.recipe().method.pairing)
        with folder.locked():  # not that of a training that goes on
            folder.lengthen(folder.recipe().train.length(epoch) + round(add_epochs * epoch))
    note_begun(opened.path, folder.path)
    typer.echo(f"run {folder.path}")
    stage(folder, uri)
    report_run(folder.path)


app.command("evaluate")(judging.evaluate)
app.command("sample")(samples.sample)
app.command("health")(health.health)
app.command("report")(report.report)
app.command("tune")(tune.tune)


@app.command()
def run(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    source: SourceOption = None,
    kind: KindOption = None,
    store: StoreOption = None,
    home: HomeOption = DEFAULT_HOME,
    tracking: TrackingOption = None,
) -> None:
    """The whole chain: prepare, train, evaluate, publish. What was done before with the same inputs is skipped."""
    from pipelines.prepare import DatasetRequest
    from pipelines.shipped import find_recipe
    from pipelines.workflow import run_chain

    opened = open_home(home)
    found = find_recipe(recipe, overrides_of(overrides, kind))
    uri = open_tracking(opened, tracking)
    request = DatasetRequest(found.data, opened, source, store=store, extractor=found.evaluate.extractor)
    outcome = run_chain(found, request, uri, typer.echo)
    report_chain(outcome, opened, uri)


@app.command()
def ui(
    home: HomeOption = DEFAULT_HOME,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    tracking: TrackingOption = None,
) -> None:
    """Open MLflow's UI on this machine's loopback address."""
    from pipelines.cluster_state import running
    from pipelines.tracking import check_tracking

    opened = open_home(home)
    uri = tracking_address(opened.path, tracking)
    cluster = None if tracking else running(opened.path)
    serves_it = cluster is not None and cluster.tracking is None  # else its jobs write to another's
    if serves_it or uri.startswith("http"):
        address = cluster.mlflow if cluster is not None and serves_it else uri
        check_tracking(address)
        typer.echo(f"MLflow is at {address}")
        return
    check_tracking(uri)
    artifacts = (opened.path / "mlflow" / "artifacts").as_uri()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    os.execv(sys.executable, [*command, "--backend-store-uri", uri, "--default-artifact-root", artifacts])


@app.command()
def runs(
    experiment: Annotated[str | None, typer.Argument(help="A recipe's name; all by default.")] = None,
    sort: Annotated[
        str | None, typer.Option(help="A metric, parameter or fact, lowest first; '-name' for highest.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Metrics, parameters and facts to show, separated by commas.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    home: HomeOption = DEFAULT_HOME,
    tracking: TrackingOption = None,
) -> None:
    """Compare runs in a table, by any metric or parameter."""
    from pipelines.runs import runs_table

    uri = tracking_address(home, tracking)
    table = runs_table(uri, experiment, sort, [c for c in (columns or "").split(",") if c], limit)
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(table.rich())
    else:
        typer.echo(table.plain())


@app.command()
def recipes(show: Annotated[str | None, typer.Argument(help="A recipe to print whole, as YAML.")] = None) -> None:
    """The recipes that come with the product."""
    from pipelines.shipped import find_recipe, shipped_recipes

    if show is not None:
        typer.echo(find_recipe(show).dump(), nl=False)
        return
    import yaml

    for name, path in shipped_recipes().items():
        typer.echo(f"{name:14s} {yaml.safe_load(path.read_text())['about']}")


def report_run(folder: Path) -> None:
    """What a finished training leaves, by path."""
    from pipelines.run_folder import RunFolder

    finished = RunFolder(folder)
    checkpoint = finished.last_checkpoint()
    judging.print_metrics(finished.evaluation(checkpoint.name) or {})
    typer.echo(f"checkpoint {checkpoint}")
    typer.echo(f"grid       {sorted(finished.pictures.glob('samples-*.png'))[-1]}")
    typer.echo(f"animation  {finished.pictures / 'animation.gif'}")


def report_chain(outcome: Outcome, home: Home, uri: str) -> None:
    """The end of `gan run`: metrics, pictures, the model, and how to open MLflow."""
    typer.echo("")
    report_run(outcome.run.path)
    if outcome.published is not None:
        champion = ", champion" if outcome.published.champion else ""
        typer.echo(f"model      {outcome.published.model_uri}{champion}")
    typer.echo(f"MLflow     {mlflow_pages(home.path, uri)}")


def _wait_briefly() -> None:
    """Lets torch's threads, of this process and of those that it starts, give up a core that they only wait on.

    By itself GCC's OpenMP, which torch has on Linux, spins 300,000 times before it sleeps, and a thread that waits for
    one which another program keeps from its core does nothing else: recipe `digits` makes 109 images/s beside a busy
    program on each of two cores, and 354 with a tenth of that. Alone it is 1 to 7 percent slower. A policy that the
    environment states is left as it is.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "30000")


def main() -> None:
    """Runs `gan`. A person's mistake, and an MLflow that went away, is one line on stderr and exit status 2."""
    # torch, Ray and MLflow make half a million objects as they are imported, all of which stay; by Python's own
    # threshold they are looked through a hundred times, which is a fifth of the seconds that it takes.
    gc.set_threshold(10_000)
    _wait_briefly()
    try:
        app()
    except Exception as error:
        from_mlflow = type(error).__module__.startswith("mlflow.")
        if "--debug" in sys.argv or not (from_mlflow or isinstance(error, UserError)):
            raise
        advice = "; the same command goes on where it stopped" if from_mlflow else ""
        typer.echo(f"gan: {' '.join(str(error).split())}{advice}", err=True)
        sys.exit(error.exit_status if isinstance(error, UserError) else 2)
