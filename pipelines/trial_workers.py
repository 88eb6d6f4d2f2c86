"""A trial on several Ray Train workers: they train, the trial's own process judges beside them.

The trial's process starts the workers and waits for the checkpoints at the rungs; where the trial is ended, it says so
in a file of the run's folder, which the first worker reads at each tick.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ganlib.data import Dataset
from ganlib.errors import UserError
from ganlib.files import write_atomically
from ganlib.recipe import Recipe
from ganlib.training.checkpoint import checkpoint_name, read_contents
from ganlib.training.trainer import Trainer
from ganlib.training.world import World
from pipelines.journal import Journal
from pipelines.run_folder import RunFolder
from pipelines.rungs import Share, rungs_behind, where_to_start
from pipelines.train_loop import Shelf, draw_samples, record
from tuning.member import Task, UnhealthyError

if TYPE_CHECKING:
    from ray.train import ScalingConfig

POLL_SECONDS = 0.2


def checkpoints_by_workers(
    task: Task, run: RunFolder, dataset: Dataset, place: int, share: Share
) -> Generator[Path, None, None]:
    """As `pipelines.trial.train_to_rungs`, on the recipe's workers. Judging does not hold them up, unless the trial
    pauses: then they end at each rung, and others go on from it."""
    while place < len(task.rungs):
        until = place + 1 if task.pauses else len(task.rungs)
        yield from _checkpoints(replace(task, rungs=task.rungs[:until]), run, place, share)
        place = until


def _checkpoints(task: Task, run: RunFolder, place: int, share: Share) -> Generator[Path, None, None]:
    """Of workers that are started once, and end at the task's last rung."""
    start = where_to_start(task, run)
    for name in ("ended.txt", "unhealthy.txt", "error.txt", "checkpoint_manager_snapshot.json"):
        (run.path / name).unlink(missing_ok=True)
    errors: list[BaseException] = []

    def train() -> None:
        try:
            _fit(task, run, start, share)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=train, name=f"trial-{task.number}", daemon=True)
    thread.start()
    try:
        while place < len(task.rungs):
            going_on = thread.is_alive()  # asked first: what it wrote before it ended is then seen
            found = _checkpoint_at(task, run, place)
            if found is not None:
                yield found
                place += 1
            elif not going_on:
                _raise_why(run, errors)
            else:
                time.sleep(POLL_SECONDS)
    finally:
        write_atomically(run.path / "ended.txt", "the study ended this trial")
        thread.join()


def _checkpoint_at(task: Task, run: RunFolder, place: int) -> Path | None:
    """The whole checkpoint of the trial's own at rung number `place`, once it stands."""
    for folder in sorted(run.path.glob("checkpoint-*")):
        if rungs_behind(task, int(folder.name.rpartition("-")[2])) == place + 1:
            try:
                read_contents(folder)
            except UserError:
                continue
            return folder
    return None


def _raise_why(run: RunFolder, errors: list[BaseException]) -> None:
    for name, kind in (("unhealthy.txt", UnhealthyError), ("error.txt", UserError)):
        if (run.path / name).is_file():
            raise kind((run.path / name).read_text())
    raise errors[0] if errors else RuntimeError("the workers ended before the trial's last rung")


def _fit(task: Task, run: RunFolder, start: Path | None, share: Share) -> None:
    os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")
    from ray.train import FailureConfig, RunConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    TorchTrainer(
        train_loop,
        train_loop_config={
            "run_folder": str(run.path),
            "recipe": task.recipe.dump(),
            "rungs": list(task.rungs),
            "start": None if start is None else str(start),
            "threads": share.threads,
            "device": share.device,
        },
        # NCCL refuses two processes on one GPU.
        torch_config=TorchConfig(backend="gloo" if share.gpus < 1 else None),
        scaling_config=scaling(task.recipe.most_workers, share),
        run_config=RunConfig(
            name=run.name, storage_path=str(run.path.parent), failure_config=FailureConfig(max_failures=0)
        ),
    ).fit()


def scaling(workers: int, share: Share) -> ScalingConfig:
    """What Ray Train sets aside: of each worker what the study counted it to take."""
    from ray.train import ScalingConfig

    resources = {"CPU": share.cpus, **({"GPU": share.gpus} if share.gpus else {})}
    return ScalingConfig(num_workers=workers, use_gpu=bool(share.gpus), resources_per_worker=resources)


def train_loop(config: dict[str, Any]) -> None:
    """What each worker runs."""
    import yaml
    from ray.train.collective import broadcast_from_rank_zero

    run, rungs = RunFolder(Path(config["run_folder"])), config["rungs"]
    torch.set_num_threads(config["threads"])
    world = World.current()
    first = world.rank == 0
    try:
        recipe = Recipe.parse(yaml.safe_load(config["recipe"]))
        start = None if config["start"] is None else Path(config["start"])
        trainer = Trainer(recipe, Dataset.open(run.facts().dataset_path), config["device"], start, world)
        with Journal(run.path, "train") if first else nullcontext() as journal:
            for tick in trainer.run():
                if journal is not None:
                    record(tick, trainer, run, journal)
                bad = [name for name, value in tick.metrics.items() if not math.isfinite(value)]
                if bad:
                    if first:
                        said = f"diverged by {tick.images_seen:,} images: {bad[0]} is {tick.metrics[bad[0]]}"
                        write_atomically(run.path / "unhealthy.txt", said)
                    return
                due = [rung for rung in rungs if rung <= tick.images_seen]
                if due and journal is not None and not _kept(run, due[-1]):
                    shelf = Shelf(run, journal, len(rungs))  # the judge may be behind
                    shelf.put(checkpoint_name(tick.images_seen), trainer.snapshot(), judge=False)
                    draw_samples(trainer, run, journal)
                if tick.images_seen >= rungs[-1]:
                    return
                if broadcast_from_rank_zero((run.path / "ended.txt").exists() if first else None):
                    return
    except UserError as error:
        write_atomically(run.path / "error.txt", str(error))
        if world.size > 1:  # so that Ray ends the others, who may wait for this one
            raise


def _kept(run: RunFolder, rung: int) -> bool:
    """Whether there is a checkpoint at or past the rung."""
    return any(int(folder.name.rpartition("-")[2]) >= rung for folder in run.path.glob("checkpoint-*"))
