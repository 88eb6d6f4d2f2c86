"""The stage that tunes: a study over a recipe on a dataset, every trial a run, the best recipe as a file.

HOME/studies/<study>/study.json     the record (`tuning.record`)
                     settings.json  what else the study was begun with
                     trials/0007/   a run folder a trial
                     best.yaml      what `gan train` takes
                     report/        the study's page and pictures
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ganlib.data import Dataset
from ganlib.data.unpaired import epoch_images
from ganlib.errors import UserError
from ganlib.evaluation.directions import direction
from ganlib.evaluation.names import meant, plain
from ganlib.files import write_atomically
from ganlib.recipe import CHANGEABLE, Recipe
from ganlib.sampling import load_sampler
from ganlib.training.checkpoint import checkpoint_name
from ganlib.training.trainer import Trainer
from pipelines.cluster import connect, has_gpus
from pipelines.evaluate import judge
from pipelines.run_folder import Home, RunFolder
from pipelines.rungs import Share
from pipelines.study_runs import StudyRuns, earlier_bests
from pipelines.trial import TrainTrial
from pipelines.workflow import RANKING
from tuning.finals import Final, finals
from tuning.ledger import Ledger
from tuning.record import Study
from tuning.report import write_report
from tuning.rungs import rungs_for, with_rungs
from tuning.search import Search, starting_points
from tuning.space import Space, own_space
from tuning.study import Resources, run_study

SAME_FOR_ALL = (
    "name", "about", "source", "workers", "evaluate.*", "train.seed", "train.images", "train.epochs", "train.tick",
    "train.schedule", "train.keep_checkpoints", "data.*",
)  # fmt: skip
"""What no space may draw: it decides the data, the judge or the length, by which trials are compared."""
BUT = ("data.augment.*", "data.loading")

FEW = 256
"""Samples of an untrained generator by which the names of metrics are found out."""


class Settings(BaseModel):
    """What a study was begun with, besides its record: enough to go on with it.

    gpus: 1 where the cluster has any, if None. at_once: as many as the cluster holds, if None.
    """

    model_config = ConfigDict(extra="forbid")

    dataset_path: str
    points: list[dict[str, Any]] = []
    finalists: int
    seeds: int
    cpus: float = 1
    gpus: float | None = None
    at_once: int | None = None
    minutes: float | None = None
    prune: bool = True

    @classmethod
    def read(cls, path: Path) -> Settings:
        """Raises UserError."""
        try:
            return cls.model_validate_json(path.read_text())
        except (OSError, ValidationError) as error:
            raise UserError(f"{path.parent} is not the folder of a study (it has no whole {path.name})") from error


@dataclass(frozen=True)
class Asked:
    """What a person asks of a new study. space: path -> distribution; the recipe's own where it is empty."""

    recipe: Recipe
    space: Mapping[str, str]
    trials: int
    search: Search = "tpe"
    scheduler: str = "asha"
    metric: str = "fid"
    seed: int = 0
    warm: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a study ends with. best: the recipe's file, None where no trial was good."""

    study: Study
    folder: Path
    best: Path | None
    finals: list[Final]
    report: list[Path]
    run_id: str


def studies_of(home: Home) -> Path:
    return home.path / "studies"


def create_study(asked: Asked, dataset: Dataset, home: Home, name: str, settings: Settings, tracking_uri: str) -> Path:
    """The folder of a new study, its record begun. Raises UserError for what cannot be searched or measured."""
    texts = dict(asked.space) or own_space(asked.recipe)
    space = Space.parse(asked.recipe, texts)
    require_searchable(space, asked.scheduler)
    total = asked.recipe.train.length(epoch_images(dataset, asked.recipe.method.pairing))
    rungs = rungs_for(asked.scheduler, asked.recipe, total)
    recipe = with_rungs(asked.recipe, rungs)
    metric = metric_named(asked.metric, asked.recipe, dataset)
    known = earlier_bests(tracking_uri, recipe.name, dataset.digest) if asked.warm else []
    study = Study(
        name=name,
        recipe=recipe.model_dump(mode="json"),
        dataset=dataset.digest,
        space=space.texts,
        search=asked.search,
        scheduler=asked.scheduler,
        metric=metric,
        mode=direction(metric),
        seed=asked.seed,
        trials_wanted=asked.trials,
        rungs=rungs,
        began=time.time(),
    )
    points = starting_points(Space(recipe, space.distributions), known)
    folder = studies_of(home) / name
    write_atomically(folder / "settings.json", settings.model_copy(update={"points": points}).model_dump_json(indent=1))
    study.write(folder / "study.json")
    return folder


def find_study(home: Home, name: str) -> Path:
    """The folder of the study that `name`, a name or a folder, means. Raises UserError where there is none."""
    for path in (studies_of(home) / name, Path(name)):
        if (path / "study.json").is_file():
            return path.resolve()
    known = sorted(path.parent.name for path in studies_of(home).glob("*/study.json"))
    said = f"; there are {', '.join(known[-5:])}" if known else "; there are none yet"
    raise UserError(f"there is no study {name!r} in {studies_of(home)}{said}")


def tune(folder: Path, tracking_uri: str, say: Callable[[str], None]) -> Outcome:
    """Runs the study in `folder` to its end, from where it is. Raises UserError where a person has to act, or another
    process runs it."""
    with RunFolder(folder).locked("study"):  # before its record is read: it changes while another goes on with it
        return _tune(folder, tracking_uri, say)


def _tune(folder: Path, tracking_uri: str, say: Callable[[str], None]) -> Outcome:
    settings = Settings.read(folder / "settings.json")
    study = Study.read(folder / "study.json")
    dataset = Dataset.open(settings.dataset_path)
    recipe = Recipe.parse(study.recipe, origin=f"the recipe of study {study.name}")
    share, resources = found_room(recipe, settings)  # before anything is recorded of a study that cannot run
    runs = StudyRuns(folder, study, dataset, tracking_uri, _shown(settings, recipe))
    ledger = Ledger(study, Space.parse(recipe, study.space), folder / "study.json", runs.told)
    runs.go_on(ledger)
    objective = TrainTrial(str(dataset.location), study.metric, share, settings.prune)
    made: list[Path] = []
    best: Path | None = None
    done = False
    try:
        run_study(
            ledger,
            objective,
            resources,
            settings.points,
            None if settings.minutes is None else 60 * settings.minutes,
            settings.finalists,
            settings.seeds,
            say,
        )
        best = write_best(ledger, folder)
        made = write_report(study, folder / "report")
        done = True
    finally:
        files = [folder / "study.json", *([] if best is None else [best]), *([folder / "report"] if made else [])]
        left = runs.end(ledger, files, "FINISHED" if done else "FAILED")
    if left:
        say(f"MLflow has not taken {left} records yet; `gan tune --study {study.name}` sends them")
    return Outcome(study, folder, best, finals(study), made, runs.run_id)


def found_room(recipe: Recipe, settings: Settings) -> tuple[Share, Resources]:
    """What a process of the study and what a trial take, of the cluster that this process connects to.

    Raises UserError where it has not enough for one trial.
    """
    workers = recipe.most_workers
    # No CPU to spare: trials are judged by their own processes, and a place is as many CPUs as a trial takes.
    connect(max(workers, 1) * (settings.at_once or 1), spare=0)
    share = share_of(settings)
    resources = Resources(share.cpus, share.gpus, workers, settings.at_once)
    resources.places()
    return share, resources


def share_of(settings: Settings) -> Share:
    """What each process of the study takes of the cluster that this process is connected to."""
    return Share(settings.cpus, float(has_gpus(1)) if settings.gpus is None else settings.gpus)


def write_best(ledger: Ledger, folder: Path) -> Path | None:
    """The recipe that won, as `gan train` takes it; None where no trial was good."""
    study = ledger.study
    if study.best is None:
        return None
    recipe, base = ledger.recipe(study.best), ledger.space.recipe
    about = f"{base.name} as study {study.name} tuned it ({plain(study.metric)})"
    recipe = recipe.model_copy(update={"name": f"{base.name[:57]}-tuned", "about": about})
    write_atomically(folder / "best.yaml", recipe.dump())
    return folder / "best.yaml"


def require_searchable(space: Space, scheduler: str) -> None:
    """Raises UserError for a field by which trials are compared, or that a population cannot change on the way."""
    for path in space.distributions:
        if any(fnmatchcase(path, fixed) for fixed in SAME_FOR_ALL) and not any(fnmatchcase(path, but) for but in BUT):
            raise UserError(f"{path} decides the data, the judge or the length of a trial, which is the same for all")
        if scheduler == "pbt" and (path.endswith(".kind") or not any(fnmatchcase(path, may) for may in CHANGEABLE)):
            raise UserError(
                f"{path} cannot change while a trial goes on, as pbt has it; there may: {', '.join(CHANGEABLE)}"
            )


def metric_named(asked: str, recipe: Recipe, dataset: Dataset) -> str:
    """The whole name of the metric that a person means, found by judging an untrained generator.

    That takes the statistics of the data too, which every trial then finds there. Raises UserError for a metric that
    there is not or that has no better, and for an extractor that the dataset cannot have.
    """
    few = recipe.with_overrides(f"evaluate.samples={min(FEW, recipe.evaluate.samples)}")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Trainer(few, dataset).snapshot().write(Path(folder) / checkpoint_name(0))
        names = sorted(judge(load_sampler(checkpoint), dataset))
    if asked == "fid":
        found = [name for prefix in RANKING for name in names if name.startswith(prefix)][:1]
    else:
        found = meant(asked, names)
    if len(found) > 1:
        raise UserError(f"metric {asked} may be {' or '.join(found)}; name the one that is meant")
    if not found:
        kinds = sorted(
            {plain(name) for name in names if not name.startswith(("mode_share/", "mode_share_se/", "fid_class/"))}
        )
        raise UserError(f"there is no metric {asked!r} for this recipe and dataset; there are: {', '.join(kinds)}")
    direction(found[0])
    return found[0]


def _shown(settings: Settings, recipe: Recipe) -> dict[str, Any]:
    """The settings that MLflow's parent run has as parameters."""
    shown = settings.model_dump(include={"finalists", "seeds", "cpus", "gpus", "at_once", "minutes"})
    judged = {f"evaluate.{name}": value for name, value in recipe.evaluate.model_dump().items()}
    return {**shown, **judged, "workers": recipe.workers}
