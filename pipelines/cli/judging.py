"""`gan evaluate`: a run, a checkpoint or a folder of images, judged against a dataset or another folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganlib.errors import UserError
from pipelines.cli.options import DEFAULT_HOME, HomeOption, TrackingOption, open_home, open_tracking

if TYPE_CHECKING:
    from ganlib.data import Dataset
    from ganlib.recipe import EvaluateConfig, Recipe
    from pipelines.run_folder import Home, RunFolder


@dataclass(frozen=True)
class Asked:
    """How it is to be judged, as it was typed."""

    against: str | None
    extractor: str | None
    workers: int
    size: int | None

    def of(self, recipe: Recipe) -> EvaluateConfig:
        """How samples are judged: as the recipe says, but for the extractor that was named. Raises UserError."""
        return recipe.with_overrides(*([f"evaluate.extractor={self.extractor}"] if self.extractor else [])).evaluate


def evaluate(
    what: Annotated[str, typer.Argument(help="A run's name or folder, a checkpoint's folder, or a folder of images.")],
    against: Annotated[
        str | None,
        typer.Option(help="A prepared dataset, or a folder of images; a run's own dataset where none is given."),
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="A checkpoint of the run, by name; else the newest.")] = None,
    extractor: Annotated[
        str | None,
        typer.Option(
            help="Whose features judge: auto, classifier, instances, random, inception, inception-clean, clip, dinov2."
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, max=4096, help="Ray processes that sample and take features; 0: this one alone.")
    ] = 0,
    size: Annotated[
        int | None, typer.Option(min=8, max=1024, help="Of folders: bring all images to squares of this side.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A JSON file for the metrics.")] = None,
    home: HomeOption = DEFAULT_HOME,
    tracking: TrackingOption = None,
) -> None:
    """Judge samples by their distance to real images. A run's own evaluation is recorded in MLflow."""
    import json

    from ganlib.files import write_atomically
    from pipelines.run_folder import find_run

    opened, path = open_home(home), Path(what)
    asked = Asked(against, extractor, workers, size)
    is_run = (opened.runs / what / "run.json").is_file() or (path / "run.json").is_file() or not path.is_dir()
    is_checkpoint = not is_run and (path / "progress.json").is_file()
    if checkpoint is not None and not is_run:
        raise UserError(f"--checkpoint names one of a run's, and {what} is a folder; name the run, or leave it out")
    if size is not None and (is_run or is_checkpoint):
        raise UserError("--size brings the images of a folder to one size; what a generator draws has its own")
    if is_run:
        metrics = _run(find_run(opened, what), checkpoint, asked, opened, tracking)
    elif is_checkpoint:
        metrics = _checkpoint(path, asked, opened)
    else:
        metrics = _folder(path, asked, opened)
    print_metrics(metrics, each_class=True)
    if out is not None:
        said = {"what": what, "against": against, "metrics": metrics}
        write_atomically(out, json.dumps(said, indent=2) + "\n")


def _run(run: RunFolder, checkpoint: str | None, asked: Asked, home: Home, tracking: str | None) -> dict[str, float]:
    """Recorded where it is against the run's own dataset: only those numbers belong beside each other."""
    from ganlib.data import Dataset
    from ganlib.training.checkpoint import newest_checkpoint
    from pipelines.console import Progress
    from pipelines.evaluate import evaluate_checkpoint
    from pipelines.train import sender_of, ship

    if checkpoint is None:
        newest = newest_checkpoint(run.path)
        if newest is None:
            raise UserError(f"run {run.name} has no whole checkpoint yet")
        checkpoint = newest.name
    if asked.against is not None:
        return _checkpoint(run.path / checkpoint, asked, home)
    uri = open_tracking(home, tracking)
    dataset, config = Dataset.open(run.facts().dataset_path), asked.of(run.recipe())
    with Progress("evaluate") as progress:
        metrics = evaluate_checkpoint(run, checkpoint, dataset, progress.update, config, asked.workers)
    ship(sender_of(run, uri), run)
    return metrics


def _checkpoint(folder: Path, asked: Asked, home: Home) -> dict[str, float]:
    from ganlib.data import Dataset
    from ganlib.sampling import load_sampler
    from pipelines.console import Progress
    from pipelines.evaluate import judge_with
    from pipelines.prepare import DatasetRequest
    from pipelines.run_folder import RunFolder

    recipe = load_sampler(folder).recipe
    run = RunFolder(folder.resolve().parent)
    config = asked.of(recipe)
    if asked.against is not None:
        dataset = DatasetRequest(recipe.data, home, asked.against, extractor=config.extractor).prepare()
    elif run.exists:
        dataset = Dataset.open(run.facts().dataset_path)
    else:
        raise UserError(f"{folder} is in no run's folder, so nothing says what to judge it by: give --against")
    if dataset.image_shape != tuple(recipe.image):
        theirs, ours = ("x".join(map(str, shape)) for shape in (dataset.image_shape, recipe.image))
        raise UserError(f"the images of {dataset.name} are {theirs}, and the generator of {recipe.name} makes {ours}")
    with Progress("evaluate") as progress:
        return judge_with(folder, dataset, config, asked.workers, progress.update)


def _folder(folder: Path, asked: Asked, home: Home) -> dict[str, float]:
    from pipelines.console import Progress
    from pipelines.evaluate import judge_folder
    from pipelines.folders import FolderSamples, image_files, shown, sizes_in

    image_files(folder)  # is it one of images at all?
    if asked.against is None:
        raise UserError(
            f"{folder} is a folder of images: name the dataset or folder that they are to be like (--against)"
        )
    extractor = asked.extractor or "auto"
    dataset = _reference(folder, asked.against, asked.size, home, extractor)
    preparation = dataset.manifest.preparation
    sizes = sizes_in(folder)
    if set(sizes) != {(preparation.size, preparation.size)}:
        whole = all(width == height for width, height in sizes)
        cut = "" if whole else {"crop": "the centre square cut out, ", "pad": "padded to a square, "}[preparation.fit]
        typer.echo(f"{folder}: {shown(sizes)}, {cut}brought to {preparation.size}x{preparation.size} (Lanczos)")
    samples = FolderSamples(folder, preparation)
    with Progress("evaluate") as progress:
        return judge_folder(samples, dataset, extractor, asked.workers, progress.update)


def _reference(folder: Path, against: str, size: int | None, home: Home, extractor: str) -> Dataset:
    """The dataset that `against` names, or one made now of all that is there."""
    from ganlib.recipe import Recipe
    from pipelines.folders import common_side
    from pipelines.prepare import ANY_IMAGES, DatasetRequest

    found = DatasetRequest(Recipe.parse_data({"data": ANY_IMAGES}), home, against).find()
    if found is not None:
        if size is not None:
            raise UserError(f"dataset {found.name} has its size; leave out --size")
        return found
    if size is None:
        if not Path(against).is_dir():
            raise UserError(f"there is no dataset or folder {against}; of another source, say with --size how large")
        size = common_side([folder, Path(against)])
    data = Recipe.parse_data({"data": {"size": size, "channels": 3, "test_share": 0}})
    return DatasetRequest(data, home, against, extractor=extractor).prepare()


def print_metrics(metrics: dict[str, float], each_class: bool = False) -> None:
    """A short table: a score, its standard error and its floor to a row.

    Shares of single modes are left to MLflow, and so are single classes' distances unless `each_class`.
    """
    from ganlib.evaluation.names import beside

    left = ("mode_share/", "mode_share_se/") if each_class else ("mode_share/", "mode_share_se/", "fid_class")
    shown = [name for name in metrics if not (name.startswith(left) and name.count("/") >= 2)]
    folded = {beside(name, what) for name in shown for what in ("se", "floor")}
    for name in shown:
        if name in folded:
            continue
        error, floor = (metrics.get(beside(name, what)) for what in ("se", "floor"))
        said = f"{name:36s} {_number(metrics[name]):>10s}"
        said += f"  ± {error:<9.2g}" if error is not None else " " * 13 * (floor is not None)
        typer.echo((said + (f"  floor {_number(floor)}" if floor is not None else "")).rstrip())


def _number(value: float) -> str:
    """Counts whole, all else to four digits."""
    return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
