"""Studies on a table: what trials come to is looked up, time passes by the images that they see, nothing is trained.

The proposals and the decisions are those of `tuning`: `propose`, and the scheduler as a study has it. Two trials run at
once; of the two, the one whose next reading is nearer in images reports first.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.interpolate import RBFInterpolator

from ganlib import Recipe
from tests.benchmarks.tuning_table import BETAS, RUNGS, SPACE, TABLE, read_rows
from tuning.ledger import Ledger
from tuning.record import Reading, Study
from tuning.schedulers import Stopping
from tuning.search import propose
from tuning.space import Space

AT_ONCE = 2


class Table:
    """The losses between a table's settings: their logarithms by linear radial functions, within what the table has.
    Noise and all: at a setting of the table it is what was measured there."""

    def __init__(self, path: Path = TABLE):
        rows = read_rows(path)
        settings = sorted({int(row["setting"]) for row in rows})
        heads = {int(row["setting"]): row for row in rows}
        points = [
            _point(
                float(head["generator_lr"]), float(head["discriminator_lr"]), float(head["beta1"]), int(head["steps"])
            )
            for head in (heads[number] for number in settings)
        ]
        by_place = {(int(row["setting"]), int(row["images"])): float(row["fid"]) for row in rows}
        losses = np.array([[by_place[number, images] for images in RUNGS] for number in settings])
        worst = losses[np.isfinite(losses)].max()
        logs = np.log(np.where(np.isfinite(losses), losses, worst))
        self._low, self._high = logs.min(0), logs.max(0)
        self._between = RBFInterpolator(np.array(points), logs, kernel="linear")

    def losses(self, values: dict[str, Any]) -> list[float]:
        """What a trial of these values has at each of RUNGS."""
        rates = (float(values[f"optim.{side}.lr"]) for side in ("generator", "discriminator"))
        point = _point(*rates, values["optim.*.betas"][0], values["train.steps.discriminator"])
        logs = self._between(np.array([point]))[0]
        return np.exp(logs.clip(self._low, self._high)).tolist()


def _point(generator: float, discriminator: float, beta1: float, steps: float) -> list[float]:
    """In the unit cube."""
    low, high = math.log(1e-5), math.log(3e-2)
    rates = [(math.log(rate) - low) / (high - low) for rate in (generator, discriminator)]
    return [*rates, [betas[0] for betas in BETAS].index(beta1) / 2, (steps - 1) / 2]


def simulate(
    recipe: Recipe, table: Table, search: str, scheduler: str, rungs: Sequence[int], seed: int, folder: Path,
    trials: int = 10_000, budget: float = math.inf,
) -> list[tuple[int, float]]:  # fmt: skip
    """(images that all trials had seen, the reading) in turn, until so many trials or images are through."""
    texts = {path: str(text) for path, text in SPACE.items()}
    space = Space.parse(recipe, texts)
    study = Study(
        name="simulated", recipe={}, dataset="table", space=space.texts, search=search, scheduler=scheduler,
        metric="fid", seed=seed, trials_wanted=trials, rungs=list(rungs), began=0,
    )  # fmt: skip
    ledger = _InMemory(study, space, folder / "study.json")
    stopping = Stopping(ledger, "asha") if scheduler == "asha" else None
    running: list[tuple[float, int, int]] = []  # when its next reading is due, trial, rung
    seen, now, said = 0, 0.0, []
    losses: dict[int, list[float]] = {}

    def begin() -> None:
        number = len(study.trials)
        if number < trials:
            values = propose(space, study, number)
            ledger.begin(values, 0)
            losses[number] = table.losses(values)
            heapq.heappush(running, (now + rungs[0], number, 0))

    for _ in range(AT_ONCE):
        begin()
    while running and seen < budget:
        now, number, place = heapq.heappop(running)
        images = rungs[place]
        seen += images - (rungs[place - 1] if place else 0)
        value = losses[number][RUNGS.index(images)]
        said.append((seen, value))
        last = place + 1 == len(rungs)
        told = {"number": number, "place": place, "value": value}
        goes_on = not last
        if stopping is not None:
            trial = SimpleNamespace(trial_id=str(number))
            if last:
                stopping.on_trial_complete(None, trial, told)
            else:
                goes_on = stopping.on_trial_result(None, trial, told) == "CONTINUE"
        status = "running" if goes_on else "finished" if last else "stopped"
        ledger.read(number, place, Reading(images=images, seconds=images / 1_000, value=value), status)
        if goes_on:
            heapq.heappush(running, (now + rungs[place + 1] - images, number, place + 1))
        else:
            begin()
    return said


class _InMemory(Ledger):
    """Nothing is lost that would be missed."""

    def write(self) -> None:
        pass
