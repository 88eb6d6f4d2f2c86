"""What a report says of a run, gathered from its folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ganlib.data import Dataset
from ganlib.errors import UserError
from ganlib.evaluation.extractors import Extractor, extractor_for
from ganlib.evaluation.names import bare, plain
from ganlib.health import Verdict, amended
from ganlib.health.history import Points
from ganlib.recipe import Recipe
from ganlib.sampling import load_sampler
from ganlib.training.checkpoint import newest_checkpoint
from pipelines.health import verdicts_of
from pipelines.journal import read_metrics
from pipelines.report.pictures import Picture, drawn_from, embedded_animation, frames
from pipelines.run_folder import RunFacts, RunFolder
from pipelines.train import CURVES, is_distance

LONG = ("mode_share/", "mode_share_se/", "fid_class/", "fid_class_floor/", "fid_class_se/")
"""Metrics of which there is one a class: a page of numbers that nobody reads unless asked for."""


EVALUATED: dict[str, Callable[[str], bool]] = {
    "Frechet distance": is_distance,
    "kernel distance": lambda name: bare(name) in ("kid", "kid_floor"),
    "precision and recall": lambda name: bare(name) in ("precision", "recall", "density", "coverage"),
    "memorised": lambda name: bare(name).removesuffix("_floor") in ("memorised", "memorised_pixels"),
    "modes": lambda name: bare(name) == "modes/covered",
}
"""Charts of what evaluations say, each where a run has it, and which metrics are its lines."""


@dataclass(frozen=True)
class RunContents:
    """metrics: name -> [(images seen, value), ...]. evaluated: what evaluations measured, the same way. pictures: drawn
    from the newest checkpoint. frames: (images seen, data URI) of sample pictures. changes: lines of the advice."""

    name: str
    facts: RunFacts
    recipe: Recipe
    metrics: Mapping[str, Points]
    verdicts: list[Verdict]
    changes: list[tuple[str, Any, Any]]
    pictures: list[Picture]
    frames: list[tuple[int, str]]
    animation: str | None

    @property
    def images(self) -> int:
        """Images seen so far."""
        return max((points[-1][0] for points in self.metrics.values()), default=0)

    @property
    def said(self) -> list[tuple[str, str]]:
        """The head of the run's section: a few facts."""
        seconds = self.metrics.get("seconds", [(0, 0.0)])[-1][1]
        created = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.facts.created))
        return [
            ("recipe", self.recipe.name),
            ("dataset", f"{self.facts.dataset_name} {self.facts.dataset_digest[:12]}"),
            ("images seen", f"{self.images:,}"),
            ("training time", f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} seconds"),
            ("begun", created),
        ]

    @property
    def evaluated(self) -> dict[str, Points]:
        """The metrics that were measured where no tick was: those that an evaluation has."""
        ticks = {name for name, points in self.metrics.items() if _is_of_ticks(name)}
        return {name: points for name, points in self.metrics.items() if name not in ticks}


_TICKS = ("loss/", "gradient/", "penalty/", "steps/", "left_out/", "augment/", "d_")
_OF_TICKS = ("variety", "shift", "seconds", "images_per_second", "workers")


def _is_of_ticks(name: str) -> bool:
    return name in _OF_TICKS or name.startswith(_TICKS)


def contents_of(run: RunFolder, folder: Path) -> RunContents:
    """All of it; pictures are drawn into `folder`. Raises UserError where the run's dataset is gone."""
    facts, recipe, verdicts, metrics = run.facts(), run.recipe(), verdicts_of(run), read_metrics(run.path)
    folder.mkdir(exist_ok=True)
    checkpoint = newest_checkpoint(run.path)
    pictures: list[Picture] = []
    if checkpoint is not None:
        dataset = Dataset.open(facts.dataset_path)
        pictures = drawn_from(load_sampler(checkpoint), dataset, folder, memory_judge(metrics, dataset))
    return RunContents(
        run.name,
        facts,
        recipe,
        metrics,
        verdicts,
        [(change.path, change.before, change.after) for change in amended(recipe, verdicts)[1]],
        pictures,
        frames(run.pictures),
        embedded_animation(run.pictures),
    )


def memory_judge(metrics: Mapping[str, Points], dataset: Dataset) -> Extractor | None:
    """The extractor by whose features an evaluation last looked for memorised images: those of the dataset are then
    there. None where there is none, or it is another by now."""
    judged = sorted((points[-1][0], name) for name, points in metrics.items() if name.startswith("memorised/"))
    for _, name in reversed(judged):
        with suppress(UserError):
            extractor = extractor_for(dataset, plain(name).split("/")[1])
            if name == f"memorised/{extractor.label}":
                return extractor
    return None


def panels(every: Sequence[RunContents]) -> Iterator[tuple[str, dict[str, Points]]]:
    """The charts: title, and label -> points. Of one run related metrics together; of several each metric of them."""
    if len(every) == 1:
        (one,) = every
        for title, names in CURVES.items():
            lines = {name: one.metrics[name] for name in names if one.metrics.get(name)}
            if lines:
                yield title, lines
        for title, drawn in EVALUATED.items():
            lines = {name: points for name, points in one.evaluated.items() if drawn(name)}
            if lines:
                yield title, lines
        return
    known = dict.fromkeys(name for one in every for name in one.evaluated if "_floor" not in name)
    judged = [name for drawn in EVALUATED.values() for name in known if drawn(name)]
    for name in dict.fromkeys([*judged, *chain.from_iterable(CURVES.values())]):
        lines = {one.name: one.metrics[name] for one in every if one.metrics.get(name)}
        if lines:
            yield name, lines


def differences(recipes: Sequence[Recipe]) -> list[tuple[str, list[Any]]]:
    """The fields in which recipes differ: dotted path, and the value in each; "-" where one has no such field."""
    flat = [recipe.flat() for recipe in recipes]
    paths = dict.fromkeys(path for one in flat for path in one)
    rows = [(path, [one.get(path, "-") for one in flat]) for path in paths]
    return [(path, values) for path, values in rows if any(value != values[0] for value in values)]


@dataclass(frozen=True)
class EvaluationTable:
    """Rows of (metric, a value a column or None); `long` are the rows that there is one a class of."""

    columns: list[str]
    rows: list[tuple[str, list[float | None]]]
    long: list[tuple[str, list[float | None]]]


def evaluation_table(every: Sequence[RunContents], most: int = 4) -> EvaluationTable:
    """Of one run a column for each of its last evaluations; of several one for the newest of each."""
    if len(every) == 1:
        evaluated = every[0].evaluated
        moments = sorted({images for points in evaluated.values() for images, _ in points})[-most:]
        columns = [f"at {images:,}" for images in moments]
        cells = {name: [dict(points).get(images) for images in moments] for name, points in evaluated.items()}
    else:
        columns = [one.name for one in every]
        names = dict.fromkeys(name for one in every for name in one.evaluated)
        cells = {
            name: [one.evaluated[name][-1][1] if name in one.evaluated else None for one in every] for name in names
        }
    rows = sorted(cells.items())
    return EvaluationTable(
        columns,
        [row for row in rows if not row[0].startswith(LONG)],
        [row for row in rows if row[0].startswith(LONG)],
    )
