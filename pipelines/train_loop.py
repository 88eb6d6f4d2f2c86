"""What each worker runs: the trainer's ticks, written to the run's folder by the first worker.

The same loop serves one process and N Ray workers. What differs is who writes a checkpoint and who judges it,
beside the training: Ray Train's asynchronous upload and validation, or a thread and a process of this one's own.
"""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import ray.train
import torch
from ray.train import Checkpoint, CheckpointUploadMode, ValidationTaskConfig
from ray.train.collective import broadcast_from_rank_zero

from ganlib.data import Dataset
from ganlib.errors import UserError
from ganlib.files import write_atomically
from ganlib.pictures import png
from ganlib.recipe import Recipe
from ganlib.sheets import sheet
from ganlib.training.checkpoint import Snapshot, checkpoint_name, newest_checkpoint
from ganlib.training.trainer import Tick, Trainer
from ganlib.training.world import World
from pipelines.evaluate import evaluate_beside
from pipelines.health import health_tags, reason_to_stop, verdicts_of
from pipelines.journal import Journal
from pipelines.run_folder import RunFolder


class Writer(Protocol):
    """Takes checkpoints off the training's hands."""

    def write(self, name: str, snapshot: Snapshot | None, judge: bool, metrics: dict[str, float]) -> None:
        """Sees that `snapshot` (None on all workers but the first) becomes checkpoint `name`, judged if `judge`."""

    def judge(self, name: str) -> None:
        """Sees that a checkpoint that stands is judged."""

    def close(self) -> None:
        """Waits for what is under way. Raises what went wrong."""


class RayWriter:
    """Ray Train's asynchronous checkpoint upload and validation. Every worker has to make the same calls."""

    def __init__(self, run: RunFolder, shelf: Shelf | None):
        self.run, self.shelf = run, shelf
        self._under_way: list[threading.Event] = []

    def write(self, name: str, snapshot: Snapshot | None, judge: bool, metrics: dict[str, float]) -> None:
        def upload(checkpoint: Checkpoint, _: str) -> Checkpoint:
            try:
                assert snapshot is not None
                assert self.shelf is not None
                self.shelf.put(name, snapshot, judge)
                return checkpoint
            finally:
                written.set()

        written = threading.Event()
        if snapshot is not None:
            self._under_way.append(written)

        ray.train.report(
            metrics,
            checkpoint=self._checkpoint(name) if snapshot is not None else None,
            checkpoint_dir_name=name,
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
            checkpoint_upload_fn=upload if snapshot is not None else None,
            # What is reported is where the checkpoint stays: there is no copy to be removed.
            delete_local_checkpoint_after_upload=False,
            # Only the worker that brings the checkpoint may ask for its validation.
            validation=_validation(name) if judge and snapshot is not None else False,
        )

    def judge(self, name: str) -> None:
        ray.train.report(
            {},
            checkpoint=self._checkpoint(name) if self.shelf is not None else None,
            checkpoint_dir_name=name,
            checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD,
            validation=_validation(name) if self.shelf is not None else False,
        )

    def close(self) -> None:
        """Waits for the uploads, which need the journal; the validations are Ray Train's to wait for."""
        for written in self._under_way:
            written.wait()

    def _checkpoint(self, name: str) -> Checkpoint:
        return Checkpoint.from_directory(self.run.path / name)


def _validation(name: str) -> ValidationTaskConfig:
    return ValidationTaskConfig(fn_kwargs={"name": name})


class LocalWriter:
    """A thread that writes and a process that judges, for training in the calling process."""

    def __init__(self, shelf: Shelf):
        self.shelf = shelf
        self._writing = ThreadPoolExecutor(1)
        self._judging = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        self._pending: list[Future[Any]] = []

    def write(self, name: str, snapshot: Snapshot | None, judge: bool, metrics: dict[str, float]) -> None:
        while self._pending and self._pending[0].done():
            self._pending.pop(0).result()
        assert snapshot is not None
        written = self._writing.submit(self.shelf.put, name, snapshot, judge)
        self._pending.append(written)
        if judge:
            self._pending.append(self._writing.submit(self.judge, name))

    def judge(self, name: str) -> None:
        self._pending.append(self._judging.submit(evaluate_beside, str(self.shelf.run.path), name))

    def close(self) -> None:
        try:
            self._writing.shutdown(wait=True)
            while self._pending:
                self._pending.pop(0).result()
        finally:
            self._judging.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class Shelf:
    """The checkpoints of a run: the newest `keep` stay, and those that are still to be judged."""

    run: RunFolder
    journal: Journal
    keep: int

    def put(self, name: str, snapshot: Snapshot, judge: bool) -> None:
        """Writes a checkpoint, says so in the journal, and removes what is no longer kept."""
        if judge:  # marked first: a checkpoint that stands is judged, whenever this process may die
            self._mark(name).parent.mkdir(exist_ok=True)
            self._mark(name).touch()
        snapshot.write(self.run.path / name)
        self.journal.checkpoint(snapshot.progress.images, name)
        unjudged = self.unjudged()
        for old in sorted(self.run.path.glob("checkpoint-*"))[: -self.keep]:
            if old.name not in unjudged:
                shutil.rmtree(old, ignore_errors=True)

    def unjudged(self) -> list[str]:
        """The checkpoints that were to be judged and have not been."""
        names = sorted(path.name for path in self.run.path.glob("checkpoint-*"))
        return [name for name in names if self._mark(name).exists() and self.run.evaluation(name) is None]

    def _mark(self, name: str) -> Path:
        return self.run.evaluation_file(name).with_suffix(".due")


def train_loop(config: dict[str, Any]) -> None:
    """Trains the run of `config["run_folder"]` to its end, from its newest checkpoint on.

    A person's mistake (and a diverged run) is left in `error.txt` for the driver to say, and not tried again.
    """
    run = RunFolder(Path(config["run_folder"]))
    torch.set_num_threads(config["threads"])
    world = World.current()
    first = world.rank == 0
    try:
        recipe = run.recipe()
        dataset = Dataset.open(run.facts().dataset_path)
        found = newest_checkpoint(run.path) if first else None
        resume = broadcast_from_rank_zero(str(found) if found else None)
        trainer = Trainer(recipe, dataset, resume=Path(resume) if resume else None, world=world)
        with Journal(run.path, "train") if first else nullcontext() as journal:
            shelf = Shelf(run, journal, recipe.train.keep_checkpoints) if journal is not None else None
            writer: Writer = RayWriter(run, shelf)
            if not config["workers"]:
                assert shelf is not None
                writer = LocalWriter(shelf)
            for name in broadcast_from_rank_zero(shelf.unjudged() if shelf is not None else None):
                writer.judge(name)
            if journal is not None and resume is None:
                draw_samples(trainer, run, journal)
            elif journal is not None:  # written, perhaps, by a process that died before it could say so
                journal.checkpoint(trainer.progress.images, Path(resume).name)
            stop: str | None = None
            for tick in trainer.run():
                if journal is not None:
                    record(tick, trainer, run, journal)
                if tick.due:
                    stop = look_after(run, recipe, journal) if journal is not None else None
                    if recipe.train.stop_when_unhealthy:
                        stop = broadcast_from_rank_zero(stop)
                if tick.due & {"checkpoint", "evaluation"} or stop:
                    name = checkpoint_name(tick.images_seen)
                    snapshot = trainer.snapshot() if first else None
                    writer.write(name, snapshot, "evaluation" in tick.due, tick.metrics)
                if stop:
                    break
            writer.close()
            if stop:
                raise UserError(stop)
    except UserError as error:
        if first:
            write_atomically(run.path / "error.txt", str(error))


def record(tick: Tick, trainer: Trainer, run: RunFolder, journal: Journal) -> None:
    """What a tick says, into the journal; a grid where one is due."""
    facts = {"images_per_second": tick.images_per_second, "seconds": tick.seconds}
    journal.metrics(tick.images_seen, {**tick.metrics, **facts})
    if "samples" in tick.due:
        draw_samples(trainer, run, journal)


def look_after(run: RunFolder, recipe: Recipe, journal: Journal) -> str | None:
    """The run's health, into the journal. Why it is to stop here, where its recipe lets it be stopped."""
    verdicts = verdicts_of(run)
    journal.tags(health_tags(verdicts))
    return reason_to_stop(run, verdicts) if recipe.train.stop_when_unhealthy else None


def draw_samples(trainer: Trainer, run: RunFolder, journal: Journal) -> None:
    """A picture stamped with the images seen, laid out by what the generator is told (`ganlib.sheets`)."""
    images = trainer.progress.images
    path = run.pictures / f"samples-{images:012d}.png"
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, png(sheet(trainer.recipe, trainer.dataset, trainer.sample)))
    journal.picture(images, "samples", path)
