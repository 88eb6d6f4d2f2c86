"""An objective that needs no training: the value is a function of the recipe and of the images seen."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ganlib.errors import UserError
from pipelines.shipped import find_recipe
from tuning.ledger import Ledger
from tuning.member import Task, UnhealthyError
from tuning.record import Reading, Study
from tuning.rungs import rungs_for, with_rungs
from tuning.space import Space

SPACE = {"optim.generator.lr": "log(1e-5, 1e-1)", "optim.discriminator.lr": "log(1e-5, 1e-1)"}


def loss(recipe_lrs: tuple[float, float], images: int) -> float:
    """1 + (log10 lr_G + 3)^2 + (log10 lr_D + 3)^2 + 1000 / images: 1 at the best, after training for ever."""
    generator, discriminator = (math.log10(lr) for lr in recipe_lrs)
    return 1 + (generator + 3) ** 2 + (discriminator + 3) ** 2 + 1000 / images


@dataclass(frozen=True)
class Analytic:
    """Reports `loss` at each rung after `pause` seconds. What it did is in its folder, `log.jsonl`, a line a reading.

    Unhealthy where a rate is above `diverges`, at once. A process that leaves trial `dies_after` for another is killed,
    once a study. Trial `breaks` raises after its first reading what no person can cause.
    """

    pause: float = 0.0
    diverges: float = math.inf
    dies_after: int | None = None
    breaks: int | None = None

    def __call__(self, task: Task) -> Iterator[Reading]:
        task.folder.mkdir(parents=True, exist_ok=True)
        log = task.folder / "log.jsonl"
        for place in range(task.after, len(task.rungs)):
            images = task.rungs[place]
            recipe = task.recipe.at(images)
            rates = (recipe.optim.generator.lr, recipe.optim.discriminator.lr)
            if max(rates) > self.diverges:
                raise UnhealthyError(f"a rate of {max(rates):g} diverges")
            if place and task.number == self.breaks:
                raise RuntimeError("a fault in the program")
            time.sleep(self.pause)
            with log.open("a") as file:
                file.write(json.dumps({"place": place, "pid": os.getpid(), "start": str(task.start)}) + "\n")
            try:
                yield Reading(images=images, seconds=images / 1000, value=loss(rates, images), error=0.01)
            except GeneratorExit:
                self._leave(task)
                raise

    def _leave(self, task: Task) -> None:
        died = task.folder / "died"
        if task.number == self.dies_after and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Spread:
    """As `Analytic`, with `workers` CPUs of the cluster at each rung, for which it waits as Ray Train's workers do.

    When it had them is in its folder, `held.jsonl`, a line a reading. Fails where there is no room for a minute; trial
    `fails` does after its first reading.
    """

    workers: int
    pause: float = 0.3
    fails: int | None = None

    def __call__(self, task: Task) -> Iterator[Reading]:
        from ray.util.placement_group import placement_group, remove_placement_group

        for reading in Analytic()(task):
            if task.number == self.fails and reading.images > task.rungs[0]:
                raise UserError("a person has to put this right")
            room = placement_group([{"CPU": 1}] * self.workers)
            if not room.wait(60):
                raise UserError("there is no room for the workers")
            begun = time.time()
            time.sleep(self.pause)
            with (task.folder / "held.jsonl").open("a") as file:
                file.write(json.dumps([begun, time.time()]) + "\n")
            remove_placement_group(room)
            yield reading


def work_done(folder: Path) -> dict[int, list[int]]:
    """Trial -> the rungs that it computed, in the order in which it did."""
    return {
        int(log.parent.name): [json.loads(line)["place"] for line in log.read_text().splitlines()]
        for log in sorted(folder.glob("trials/*/log.jsonl"))
    }


def make_ledger(
    folder: Path,
    scheduler: str = "none",
    trials: int = 8,
    search: str = "random",
    seed: int = 0,
    space: Mapping[str, str] = SPACE,
    total: int = 27_000,
) -> Ledger:
    """The record of a study that is to begin, or of one that stands in `folder`."""
    recipe = find_recipe("digits", ["train.batch=16"])  # so small that 27,000 images are worth three halvings
    rungs = rungs_for(scheduler, recipe, total)
    recipe = with_rungs(recipe, rungs)
    parsed = Space.parse(recipe, space)
    path = folder / "study.json"
    if path.is_file():
        return Ledger(Study.read(path), parsed, path)
    study = Study(
        name="analytic",
        recipe=recipe.model_dump(mode="json"),
        dataset="none",
        space=parsed.texts,
        search=search,
        scheduler=scheduler,
        metric="loss",
        seed=seed,
        trials_wanted=trials,
        rungs=rungs,
        began=time.time(),
    )
    return Ledger(study, parsed, path)
