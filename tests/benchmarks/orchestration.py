"""Orchestration: images/s of `gan train` (Ray, MLflow, journal, pictures, checkpoints) and of the bare trainer.

All train the same recipe on the same dataset with the same number of threads, in turn: the bare trainer, `gan train` on
a Ray worker, and as it is by default, in the calling process. A tick is timed by the clock, from its end to the next
one's, so what happens between ticks counts; the trainer's own `images_per_second` leaves that out and is shown beside.
The first two ticks warm up; the median tick is the steady state. Each round gives a ratio to its own bare run, so that
a machine whose speed drifts from minute to minute does not decide; their median counts. Checkpoints are judged at the
end alone: an evaluation is work that the bare trainer does not do, and on a small machine takes its share of it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch

from ganlib import Dataset, Recipe, Trainer
from pipelines.journal import journal_folder, metric_values, read_entries
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home
from pipelines.shipped import find_recipe
from tests.benchmarks.report import Target, arguments, conclude, machine, show

WARM_UP = 2
ON_RAY = "gan train, a Ray worker"
COMMANDS = {ON_RAY: "workers=1", "gan train, in its process": "workers=0"}


class TickEnd(NamedTuple):
    """When a tick ended (seconds), how many images were seen by then, and its own images/s."""

    time: float
    images: int
    rate: float


class Pace(NamedTuple):
    """Images/s of one run: its median tick by the clock, the same by the trainer's own figure, all ticks together."""

    clock: float
    loop: float
    overall: float

    def over(self, other: Pace) -> Pace:
        """The ratios, figure by figure."""
        return Pace(*(mine / its for mine, its in zip(self, other, strict=True)))

    @classmethod
    def of(cls, ticks: list[TickEnd]) -> Pace:
        """Raises ValueError where too few ticks are left after the first two."""
        steady = ticks[WARM_UP - 1 :]
        if len(steady) < 3:
            raise ValueError(f"{len(ticks)} ticks are too few to speak of a steady state; train on more --images")
        return cls(
            statistics.median((b.images - a.images) / (b.time - a.time) for a, b in pairwise(steady)),
            statistics.median(tick.rate for tick in steady[1:]),
            (steady[-1].images - steady[0].images) / (steady[-1].time - steady[0].time),
        )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--source", help="what the recipe reads (the bundled digits, where it is digits)")
    parser.add_argument("--images", type=int, default=60_000, help="the length of each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each")
    options = parser.parse_args()
    # As `gan train` gives its one worker. Fewer for both: `taskset -c 0 python -m tests.benchmarks.orchestration`.
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    lengths = [f"train.images={options.images}", f"train.evaluate_every={options.images}"]
    recipe = find_recipe(options.recipe, lengths)
    found: dict[str, list[Pace]] = {name: [] for name in ("bare trainer", *COMMANDS)}
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder)).create()
        dataset = DatasetRequest(recipe.data, home, options.source).prepare()
        for done in range(options.rounds):
            found["bare trainer"].append(bare_trainer(recipe, dataset))
            for name, workers in COMMANDS.items():
                found[name].append(gan_train(options.recipe, options.source, home, [workers, *lengths]))
            clocks = ", ".join(f"{name} {paces[-1].clock:,.0f}" for name, paces in found.items())
            print(f"orchestration: round {done + 1} of {options.rounds}: {clocks}", file=sys.stderr, flush=True)
    ratios = {name: [pace.over(alone) for pace, alone in zip(paces, found["bare trainer"], strict=True)]
              for name, paces in found.items()}  # fmt: skip
    rows = [
        [name, f"{median(paces).clock:,.0f}", *(f"{value:.3f}" for value in median(ratios[name]))]
        for name, paces in found.items()
    ]
    print(machine())
    title = f"Recipe {options.recipe}, {options.images:,} images a run, {options.rounds} runs of each"
    show(title, ["", "images/s", "ratio, median tick", "by the trainer's own figure", "all ticks together"], rows)
    spread = ", ".join(f"{pace.clock:.3f}" for pace in ratios[ON_RAY])
    print(f"{ON_RAY}, round by round: {spread}\n")
    conclude([Target("orchestration, ratio", median(ratios[ON_RAY]).clock, 0.97)], options.json)


def median(paces: Sequence[Pace]) -> Pace:
    """The median of each figure over the runs."""
    return Pace(*(statistics.median(values) for values in zip(*paces, strict=True)))


def bare_trainer(recipe: Recipe, dataset: Dataset) -> Pace:
    """Trains in this process, with nobody listening to the ticks."""
    return Pace.of([TickEnd(time.time(), t.images_seen, t.images_per_second) for t in Trainer(recipe, dataset).run()])


def gan_train(recipe: str, source: str | None, home: Home, overrides: list[str]) -> Pace:
    """Trains by the command, as a person does, and reads the pace from the run's journal."""
    before = set(home.runs.glob("*/run.json"))
    command = [str(Path(sys.executable).with_name("gan")), "train", recipe, "--home", str(home.path)]
    command += [] if source is None else ["--source", source]
    ended = subprocess.run([*command, *overrides], capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with status {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    (made,) = set(home.runs.glob("*/run.json")) - before
    records = [entry.record for entry in read_entries(journal_folder(made.parent) / "train.jsonl")]
    return Pace.of(
        [
            TickEnd(record["time"] / 1000, record["images_seen"], metric_values(record)["images_per_second"])
            for record in records
            if record["kind"] == "metrics" and "images_per_second" in record["values"]
        ]
    )


if __name__ == "__main__":
    main()
