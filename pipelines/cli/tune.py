"""`gan tune`: search a recipe for better values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ganlib.errors import UserError
from pipelines.cli.options import (
    DEFAULT_HOME,
    HomeOption,
    KindOption,
    SourceOption,
    StoreOption,
    TrackingOption,
    mlflow_pages,
    open_home,
    open_tracking,
    overrides_of,
)

if TYPE_CHECKING:
    from pipelines.run_folder import Home
    from pipelines.tune import Outcome


def tune(
    context: typer.Context,
    recipe: Annotated[
        str | None, typer.Argument(help="A shipped recipe (see `gan recipes`) or a YAML file; not with --study.")
    ] = None,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="What is searched: 'optim.*.lr=log(1e-5,1e-2)', 'x=uniform(0,1)', 'x=int(1,5)', 'x=choice(a,b)'; the "
            "recipe's own space where nothing is. Fields to change, too: train.images=50000 is a trial's length."
        ),
    ] = None,
    source: SourceOption = None,
    kind: KindOption = None,
    store: StoreOption = None,
    study: Annotated[str | None, typer.Option("--study", help="Go on with this study (its name or folder).")] = None,
    space: Annotated[
        Path | None, typer.Option("--space", help="The search space as YAML: lines of path: distribution.")
    ] = None,
    trials: Annotated[int, typer.Option("--trials", min=1, max=10_000, help="Recipes to try.")] = 16,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.01, help="End the search after so long; finals are run whole.")
    ] = None,
    search: Annotated[
        Literal["random", "tpe", "tpe-cost"],
        typer.Option("--search", help="How to propose; tpe-cost searches for few seconds of training as well."),
    ] = "tpe",
    scheduler: Annotated[
        Literal["none", "asha", "median", "pbt"], typer.Option("--scheduler", help="Which trials go on.")
    ] = "asha",
    metric: Annotated[
        str, typer.Option("--metric", help="What is searched for: fid, kid, recall, fid/inception, ...")
    ] = "fid",
    at_once: Annotated[
        int | None, typer.Option("--at-once", min=1, help="Trials at once; as many as there is room for if not given.")
    ] = None,
    cpus: Annotated[float, typer.Option("--cpus", min=0.01, help="CPUs of a trial (of each of its workers).")] = 1,
    gpus: Annotated[
        float | None,
        typer.Option(
            "--gpus",
            min=0,
            help="GPUs of a trial (of each of its workers); 0.5: two share one. 1 where there are any, if not given.",
        ),
    ] = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune/--no-prune",
            help="End trials whose health has a severe and certain verdict, once they no longer get better.",
        ),
    ] = True,
    finalists: Annotated[
        int, typer.Option("--finalists", min=0, help="Trials that are run again on fresh seeds before one is best.")
    ] = 2,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Fresh seeds of each finalist.")] = 2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of what the search draws.")] = 0,
    warm: Annotated[
        bool, typer.Option("--warm-start", help="Try the best of earlier studies on this dataset first.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    tracking: TrackingOption = None,
) -> None:
    """Search a recipe for better values by trials on Ray Tune, each a run in MLflow; ends with a recipe as YAML."""
    from ganlib.evaluation.directions import direction
    from pipelines.kept import begun, note_begun
    from pipelines.prepare import DatasetRequest
    from pipelines.run_folder import new_run_name
    from pipelines.shipped import find_recipe
    from pipelines.tune import Asked, Settings, create_study, find_study, found_room, require_searchable
    from pipelines.tune import tune as stage
    from tuning.space import Space, own_space, read_space

    if (study is None) == (recipe is None):
        raise UserError(
            "name a recipe to tune (`gan recipes` lists them), or a study to go on with (--study), not both"
        )
    opened = open_home(home)
    if (own := begun(opened.path)) is not None:
        folder, uri = find_study(opened, str(own)), open_tracking(opened, tracking)
    elif study is not None:
        if asked_anew := _given(context):
            raise UserError(
                f"study {study} keeps what it was begun with; leave {', '.join(asked_anew)} out, or start a new one"
            )
        folder = find_study(opened, study)
        uri = open_tracking(opened, tracking)
    else:
        assert recipe is not None
        drawn = {word.partition("=")[0]: word.partition("=")[2] for word in words or () if draws(word)}
        changes = overrides_of([word for word in words or () if not draws(word)], kind)
        found = find_recipe(recipe, changes)
        texts = ({} if space is None else read_space(space)) | drawn
        # Like all that can be wrong, before minutes go into a dataset.
        require_searchable(Space.parse(found, texts or own_space(found)), scheduler)
        direction(metric)
        uri = open_tracking(opened, tracking)
        settings = Settings(
            dataset_path="",
            finalists=finalists,
            prune=prune,
            seeds=seeds,
            cpus=cpus,
            gpus=gpus,
            at_once=at_once,
            minutes=minutes,
        )
        found_room(found, settings)
        judge = found.evaluate.extractor
        dataset = DatasetRequest(found.data, opened, source, store=store, extractor=judge).prepare()
        settings = settings.model_copy(update={"dataset_path": str(dataset.location)})
        asked = Asked(found, texts, trials, search, scheduler, metric, seed, warm)
        folder = create_study(asked, dataset, opened, new_run_name(f"{found.name}-study"), settings, uri)
    note_begun(opened.path, folder)
    typer.echo(f"study {folder}")
    report_study(stage(folder, uri, typer.echo), opened, uri)


GOING_ON = {"study", "home", "tracking"}
"""What `gan tune` may be told of a study that goes on."""


def _given(context: typer.Context) -> list[str]:
    """What a person wrote on the line beyond that."""
    named = {name: context.get_parameter_source(name) for name in context.params if name not in GOING_ON}
    options = [name for name, source in named.items() if source is not None and source.name == "COMMANDLINE"]
    return ["the fields" if name == "words" else f"--{name.replace('_', '-')}" for name in options]


def report_study(outcome: Outcome, home: Home, uri: str) -> None:
    """The end of `gan tune`: the best values, how sure that is, and where everything lies."""
    from ganlib.evaluation.names import plain
    from tuning.distributions import as_yaml
    from tuning.ledger import values_of

    study = outcome.study
    counts = {status: sum(trial.status == status for trial in study.trials) for status in ("finished", "stopped",
              "unhealthy", "failed")}  # fmt: skip
    typer.echo(f"trials     {', '.join(f'{count} {status}' for status, count in counts.items() if count)}")
    for final in outcome.finals:
        said = f"{final.mean:.4g} +- {final.error:.2g}, {final.seconds:.0f} s of training"
        typer.echo(f"finalist   trial {final.number}: {plain(study.metric)} {said}")
    if study.best is None or outcome.best is None:
        raise UserError(
            f"no trial of {study.name} was good: {_why(outcome)}; give trials more images, or other values (with "
            f"--no-prune none ends for its health); the record is {outcome.folder / 'study.json'}"
        )
    best = study.trials[study.best]
    typer.echo(f"best       trial {best.number}: {plain(study.metric)} {best.readings[-1].value:.4g} in the search")
    for path, value in values_of(study, best.number).items():
        typer.echo(f"           {path}={as_yaml(value)}")
    if best.mutations:
        typer.echo(
            f"           after {len(best.mutations)} changes on the way, which the recipe makes again (train.schedule)"
        )
    typer.echo(f"recipe     {outcome.best}   (gan train {outcome.best} --source ...)")
    typer.echo(f"record     {outcome.folder / 'study.json'}")
    for page in [path for path in outcome.report if path.suffix == ".html"]:
        typer.echo(f"report     {page}")
    if outcome.run_id:
        typer.echo(f"MLflow     run {outcome.run_id}, {mlflow_pages(home.path, uri)}")


def _why(outcome: Outcome) -> str:
    said = [trial.says for trial in outcome.study.trials if trial.says]
    return said[0] if said else "none came to a rung"


def draws(word: str) -> bool:
    """Whether a word of the command line is part of the space."""
    from tuning.distributions import is_distribution

    return is_distribution(word.partition("=")[2])
