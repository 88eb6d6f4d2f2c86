"""What runs in a trial's process: a function of the trial's task, whose readings are handed to Ray Tune one by one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune import Trainable

from ganlib.errors import UserError
from ganlib.recipe import Recipe
from tuning.record import Reading


class UnhealthyError(Exception):
    """The trial is not worth going on with: it diverged, or its health is bad for certain. Its text says which."""


@dataclass(frozen=True)
class Task:
    """What a trial is to do.

    recipe: whole, seed and length included. folder: the trial's own, the same each time that it is taken up again, on
    storage that every node sees. rungs: images seen at which readings are due, rising, the last one the recipe's
    length. after: of how many of these the readings are known. start: the folder of another trial whose weights, at so
    many images, this one goes on with unless it has gone further by itself. pauses: after each reading it waits, and
    may go on with another's weights: nothing of it may train past a rung meanwhile.
    """

    number: int
    recipe: Recipe
    folder: Path
    rungs: tuple[int, ...]
    after: int = 0
    start: tuple[Path, int] | None = None
    pauses: bool = False


Objective = Callable[[Task], Iterator[Reading]]
"""Yields the readings at rungs[after], rungs[after + 1], ... and goes on from what lies in the task's folder.

It may be closed between two readings. Raises UnhealthyError for a trial that is bad, UserError for what a person has to
put right; any other exception, and the loss of its process, is tried again."""


def trial_folder(study: Path, number: int) -> Path:
    """Where a trial's files lie."""
    return study / "trials" / f"{number:04d}"


class Member(Trainable):
    """A process that runs one trial after another: what is imported and opened for one serves the next."""

    def setup(
        self,
        config: dict,
        objective: Objective,
        folder: str,
        rungs: tuple[int, ...],
        worst: float = math.inf,
        replaceable: bool = False,
    ) -> None:
        """worst: the infinity that no value is worse than. replaceable: a bad trial reads so and goes on, until its
        population replaces it, in place of ending."""
        self._objective, self._folder, self._rungs = objective, Path(folder), rungs
        self._worst, self._replaceable = worst, replaceable
        self._readings: Iterator[Reading] | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict) -> bool:
        self.cleanup()
        self._after: int = new_config["after"]
        self.config = new_config
        return True

    def step(self) -> dict[str, Any]:
        """The reading at the next rung, or how the trial ended."""
        number, place = self.config["number"], self._after
        try:
            if self._readings is None:
                self._readings = self._objective(self._task())
            reading = next(self._readings)
        except StopIteration:
            raise RuntimeError(f"trial {number} ended without the reading at {self._rungs[place]} images") from None
        except UnhealthyError as error:
            self._readings = None
            if not self._replaceable or place + 1 == len(self._rungs):
                return self._ended("unhealthy", error)
            reading = Reading(images=self._rungs[place], seconds=0, value=self._worst)
        except UserError as error:
            return self._ended("failed", error)
        self._after += 1
        told = {"number": number, "place": place, "time": place + 1, "images": reading.images, "value": reading.value}
        return {**told, "reading": reading.model_dump_json(), "done": self._after == len(self._rungs)}

    def _ended(self, status: str, error: Exception) -> dict[str, Any]:
        self._readings = None
        # With a value, which Tune wants of every result that a population's scheduler hears of.
        told = {"number": self.config["number"], "value": self._worst, "time": self._after + 1}
        return {**told, "status": status, "says": str(error), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, int]:
        """Where in its rungs the trial is; weights are in its folder, exact and by themselves."""
        return {"after": self._after}

    def load_checkpoint(self, checkpoint: dict | None) -> None:
        self.cleanup()
        if checkpoint is not None:
            self._after = checkpoint["after"]

    def cleanup(self) -> None:
        """Ends the function where it stands."""
        readings, self._readings = self._readings, None
        if readings is not None and hasattr(readings, "close"):
            readings.close()

    def _task(self) -> Task:
        number, start = self.config["number"], self.config["start"]
        return Task(
            number,
            Recipe.parse(json.loads(self.config["recipe"])),
            trial_folder(self._folder, number),
            self._rungs,
            self._after,
            None if start is None else (trial_folder(self._folder, start[0]), start[1]),
            self._replaceable,
        )
