"""Orchestration: images/s of `gan train` (Ray, MLflow, journal, pictures, checkpoints) and of the bare trainer.

Both train the same recipe on the same dataset with the same number of threads, in turn. A tick is timed by the clock,
from its end to the next one's, so what happens between ticks counts; the trainer's own `images_per_second` leaves that
out and is shown beside. The first two ticks warm up. The median tick is the steady state; all of them together also
bear the evaluations that run beside the training and take a share of a small machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
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
    parser.add_argument("--images", type=int, default=120_000, help="the length of each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of either kind")
    options = parser.parse_args()
    # As `gan train` gives its one worker. Fewer for both: `taskset -c 0 python -m tests.benchmarks.orchestration`.
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    overrides = ["workers=1", f"train.images={options.images}"]
    recipe = find_recipe(options.recipe, overrides)
    bare: list[Pace] = []
    whole: list[Pace] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder)).create()
        dataset = DatasetRequest(recipe.data, home, options.source).prepare()
        for done in range(options.rounds):
            bare.append(bare_trainer(recipe, dataset))
            whole.append(gan_train(options.recipe, options.source, home, overrides))
            print(f"orchestration: round {done + 1} of {options.rounds}", file=sys.stderr, flush=True)
    ours, alone = median(whole), median(bare)
    rows = [
        (words, f"{a:,.0f}", f"{b:,.0f}", f"{b / a:.3f}")
        for words, a, b in zip(
            ("median tick, by the clock", "median tick, the trainer's own figure", "all ticks together, by the clock"),
            alone,
            ours,
            strict=True,
        )
    ]
    print(machine())
    title = f"Recipe {options.recipe}, {options.images:,} images a run, {options.rounds} runs of either, images/s"
    show(title, ["after the first two ticks", "bare trainer", "gan train", "ratio"], rows)
    conclude([Target("orchestration, ratio", ours.clock / alone.clock, 0.97)], options.json)


def median(paces: list[Pace]) -> Pace:
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
