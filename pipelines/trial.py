"""What a trial of a study runs: training from its newest exact checkpoint, judged at rungs, ended where it is bad.

A trial is a run folder like any other, with its journal; readings are kept in it, so that a trial that is taken up
again says what it had said.
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ganlib.data import Dataset
from ganlib.evaluation.directions import direction
from ganlib.evaluation.names import beside, metric_value
from ganlib.files import write_atomically
from ganlib.health import fatal
from ganlib.training.checkpoint import checkpoint_name, read_contents
from ganlib.training.trainer import Trainer
from pipelines.evaluate import evaluate_checkpoint
from pipelines.health import health_tags, verdicts_of
from pipelines.journal import Journal
from pipelines.run_folder import RunFolder
from pipelines.rungs import Share, rungs_behind, where_to_start
from pipelines.train_loop import Shelf, draw_samples, record
from tuning.member import Task, UnhealthyError
from tuning.record import Reading

LEAST_KEPT = 2
"""Checkpoints of a trial: another may be about to take over the last but one."""


@dataclass(frozen=True)
class TrainTrial:
    """Trains the recipe of a task. metric: its whole name.

    prune: a severe and certain verdict on its health ends a trial, unless it still gets better: a young generator
    earns one that it outgrows, such as that its samples come near none of the data.
    """

    dataset: str
    metric: str
    share: Share = field(default_factory=Share)
    prune: bool = True

    def __call__(self, task: Task) -> Iterator[Reading]:
        torch.set_num_threads(self.share.threads)
        run = RunFolder(task.folder)
        if task.recipe != run.recipe():
            write_atomically(run.path / "recipe.yaml", task.recipe.dump())
        if task.start is not None:
            run.take_over(task.start[1])
        place, known = task.after, read_readings(run)
        for one in known[place:]:
            yield one
            place += 1
        if place == len(task.rungs):
            return
        dataset = Dataset.open(self.dataset)
        if task.recipe.most_workers:
            from pipelines.trial_workers import checkpoints_by_workers as checkpoints
        else:
            checkpoints = train_to_rungs
        trained = checkpoints(task, run, dataset, place, self.share)
        reading = known[-1] if known else None
        try:
            for checkpoint in trained:
                reading = self._judge(run, checkpoint, dataset, reading)
                keep_reading(run, reading, place)
                yield reading
                place += 1
        finally:
            trained.close()

    def _judge(self, run: RunFolder, checkpoint: Path, dataset: Dataset, before: Reading | None) -> Reading:
        """The reading of a checkpoint; raises UnhealthyError where the run is not worth going on with.

        before: the reading at the rung before this one.
        """
        device = "cpu" if run.recipe().most_workers else self.share.device  # its workers have the GPUs then
        metrics = evaluate_checkpoint(run, checkpoint.name, dataset, device=device)
        progress = read_contents(checkpoint).progress
        value = metric_value(metrics, self.metric)
        if not math.isfinite(value):
            raise UnhealthyError(f"{self.metric} is {value}")
        error = metrics.get(beside(self.metric, "se"))
        reading = Reading(images=progress.images, seconds=progress.seconds, value=value, error=error, metrics=metrics)
        verdict = fatal(verdicts_of(run)) if self.prune else None
        if verdict is not None and not self._better(reading, before):
            raise UnhealthyError(f"{verdict.name}: {verdict.says} (confidence {verdict.confidence:.2f})")
        return reading

    def _better(self, reading: Reading, before: Reading | None) -> bool:
        """Whether it is better than the one before, by more than the errors of both."""
        if before is None:
            return False
        gain = before.value - reading.value if direction(self.metric) == "min" else reading.value - before.value
        return gain > math.hypot(reading.error or 0, before.error or 0)


def read_readings(run: RunFolder) -> list[Reading]:
    """The readings that the trial has had, rung by rung."""
    try:
        return [Reading.model_validate(one) for one in json.loads(_readings_file(run).read_text())]
    except OSError:
        return []


def keep_reading(run: RunFolder, reading: Reading, place: int) -> None:
    """Keeps the reading at rung number `place`, in the place of what may have been there."""
    known = [*read_readings(run)[:place], reading]
    write_atomically(_readings_file(run), json.dumps([one.model_dump(mode="json") for one in known]))


def train_to_rungs(
    task: Task, run: RunFolder, dataset: Dataset, place: int, share: Share
) -> Generator[Path, None, None]:
    """Trains in this process, and yields the checkpoint at each rung from number `place` on."""
    trainer = Trainer(task.recipe, dataset, share.device, where_to_start(task, run))
    with Journal(run.path, "train") as journal:
        shelf = Shelf(run, journal, max(task.recipe.train.keep_checkpoints, LEAST_KEPT))
        if rungs_behind(task, trainer.progress.images) > place:  # it was lost before it could judge
            yield run.path / checkpoint_name(trainer.progress.images)
            place += 1
        for tick in trainer.run():
            record(tick, trainer, run, journal)
            bad = [name for name, value in tick.metrics.items() if not math.isfinite(value)]
            if bad:
                raise UnhealthyError(f"diverged by {tick.images_seen:,} images: {bad[0]} is {tick.metrics[bad[0]]}")
            if tick.images_seen >= task.rungs[place]:
                name = checkpoint_name(tick.images_seen)
                shelf.put(name, trainer.snapshot(), judge=False)
                draw_samples(trainer, run, journal)
                journal.tags(health_tags(verdicts_of(run)))
                yield run.path / name
                place += 1


def _readings_file(run: RunFolder) -> Path:
    return run.path / "readings.json"
