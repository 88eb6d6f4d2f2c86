"""Orchestration: images/s of `gan train` (Ray, MLflow, journal, pictures, checkpoints) and of the bare trainer.

Both train the same recipe on the same dataset with all cores, each with all the processes that belong to it, in slices
of some seconds: while one runs, the other is stopped (SIGSTOP). So what the machine's speed does from minute to minute,
it does to both, and neither takes the other's cores. A tick is timed by the clock, from its end to the next one's, so
what happens between ticks counts, where both ends lie in one slice; the trainer's own `images_per_second` leaves that
out and is shown beside. Each slice of `gan train` has a ratio to the slices of the bare trainer on either side; the
median counts. Checkpoints are judged at the end alone: an evaluation is work that the bare trainer does not do.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import IO, NamedTuple

import torch

from ganlib import Trainer
from pipelines.journal import journal_folder, metric_values, read_entries
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home
from pipelines.shipped import find_recipe
from tests.benchmarks.report import Target, arguments, conclude, machine, show

WARM_UP = 3
SLICE_SECONDS = 8.0
MARK = "GAN_BENCHMARK_FAMILY"
BARE, ON_RAY = "bare trainer", "gan train, a Ray worker"
COMMANDS = {ON_RAY: "workers=1", "gan train, in its process": "workers=0"}


class TickEnd(NamedTuple):
    """When a tick ended (seconds), how many images were seen by then, and its own images/s."""

    time: float
    images: int
    rate: float


class Pace(NamedTuple):
    """Images/s of a slice by the clock, and by the trainer's own figure (the median tick of each)."""

    clock: float
    loop: float


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--source", help="what the recipe reads (the bundled digits, where it is digits)")
    parser.add_argument("--images", type=int, default=250_000, help="the length of each run")
    parser.add_argument("--bare", type=Path, metavar="HOME", help=argparse.SUPPRESS)  # how this program calls itself
    options = parser.parse_args()
    if options.bare is not None:
        bare_trainer(options.recipe, options.source, options.bare)
        return
    lengths = [f"train.images={options.images}", f"train.evaluate_every={options.images}"]
    found: dict[str, list[tuple[Pace, Pace]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder)).create()
        DatasetRequest(find_recipe(options.recipe).data, home, options.source).prepare()
        for name, workers in COMMANDS.items():
            found[name] = in_slices(options.recipe, options.source, home, [workers, *lengths])
            ratios = ", ".join(f"{ours.clock / bare.clock:.3f}" for ours, bare in found[name])
            print(f"orchestration: {name}, slice by slice: {ratios}", file=sys.stderr, flush=True)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    print(machine())
    rows = []
    for name, slices in found.items():
        clock = [ours.clock / bare.clock for ours, bare in slices]
        loop = statistics.median(ours.loop / bare.loop for ours, bare in slices)
        rates = (statistics.median(pace.clock for pace in side) for side in zip(*slices, strict=True))
        quarters = statistics.quantiles(clock, n=4)
        spread = f"{quarters[0]:.3f} to {quarters[2]:.3f}"
        rows.append(
            [name, *(f"{rate:,.0f}" for rate in rates), f"{statistics.median(clock):.3f}", spread, f"{loop:.3f}"]
        )
    columns = ["", "images/s", f"{BARE}'s", "ratio", "half of the slices", "ratio by the trainer's own figure"]
    show(f"Recipe {options.recipe}, {options.images:,} images", columns, rows)
    ratio = statistics.median(ours.clock / bare.clock for ours, bare in found[ON_RAY])
    conclude([Target("orchestration, ratio", ratio, 0.97)], options.json)


def in_slices(recipe: str, source: str | None, home: Home, overrides: list[str]) -> list[tuple[Pace, Pace]]:
    """Trains by the command, and bare, in turn; each slice of the first, with the mean of the second's around it."""
    what = ["--source", source] if source is not None else []
    gan = [str(Path(sys.executable).with_name("gan")), "train", recipe, "--home", str(home.path), *what, *overrides]
    bare = [sys.executable, "-m", "tests.benchmarks.orchestration", "--recipe", recipe, "--bare", str(home.path), *what]
    before, log, said = set(home.runs.glob("*/run.json")), home.path / "bare.jsonl", home.path / "said.txt"
    slices: list[tuple[float, float]] = []

    def run() -> None:
        begin = time.time()
        while time.time() - begin < SLICE_SECONDS and ours.running:
            time.sleep(0.05)
        slices.append((begin, time.time()))

    def journalled() -> list[TickEnd]:
        """The ticks of `gan train` so far."""
        made = set(home.runs.glob("*/run.json")) - before
        records = [entry.record for run in made for entry in read_entries(journal_folder(run.parent) / "train.jsonl")]
        return [
            TickEnd(record["time"] / 1000, record["images_seen"], metric_values(record)["images_per_second"])
            for record in records
            if record["kind"] == "metrics" and "images_per_second" in record["values"]
        ]

    def bare_ticks() -> list[TickEnd]:
        return [TickEnd(*json.loads(line)) for line in log.read_text().splitlines(keepends=True) if line[-1] == "\n"]

    with said.open("w") as output, log.open("w") as lines, family(gan, output) as ours:
        while ours.running and len(journalled()) < WARM_UP:
            time.sleep(0.5)
        ours.signal(signal.SIGSTOP)
        with family(bare, lines) as its:
            while its.running and len(bare_ticks()) < WARM_UP:
                time.sleep(0.5)
            while ours.running and its.running:
                its.signal(signal.SIGSTOP)
                ours.signal(signal.SIGCONT)
                run()
                ours.signal(signal.SIGSTOP)
                its.signal(signal.SIGCONT)
                run()
    if ours.returncode != 0:
        sys.exit(f"{' '.join(gan)} ended with status {ours.returncode}:\n{said.read_text()}")
    ticks = journalled(), bare_ticks()
    # Even slices are those of `gan train`.
    paces = [pace_of(ticks[number % 2], *bounds) for number, bounds in enumerate(slices)]
    return [
        (paces[at], Pace(*(statistics.mean(pair) for pair in zip(left, right, strict=True))))
        for at in range(2, len(paces) - 1, 2)
        if (left := paces[at - 1]) and (right := paces[at + 1]) and paces[at]
    ]


def pace_of(ticks: Sequence[TickEnd], begin: float, end: float) -> Pace | None:
    """Of the ticks that lie in that time as a whole; None where none does."""
    whole = [(a, b) for a, b in pairwise(ticks) if begin <= a.time and b.time <= end]
    if not whole:
        return None
    clock = statistics.median((b.images - a.images) / (b.time - a.time) for a, b in whole)
    return Pace(clock, statistics.median(b.rate for _, b in whole))


class Family:
    """A command and all the processes that come of it, known by a mark in their environment."""

    def __init__(self, command: Sequence[str], output: IO[str]):
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        name, value = self._mark.split("=")
        self._process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, name: value})

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def members(self) -> list[int]:
        """Their process ids."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self._mark.encode() in (place / "environ").read_bytes():
                    found.append(int(place.name))
        return found

    def signal(self, number: signal.Signals) -> None:
        """To every one of them."""
        for pid in self.members():
            with suppress(OSError):
                os.kill(pid, number)


@contextmanager
def family(command: Sequence[str], output: IO[str]) -> Iterator[Family]:
    """Killed, all of it, where it has not ended with the block."""
    started = Family(command, output)
    try:
        yield started
    finally:
        started.signal(signal.SIGKILL)


def bare_trainer(recipe_name: str, source: str | None, home: Path) -> None:
    """Trains in this process until it is killed, with nobody listening but for a line a tick."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))  # as `gan train` gives its one worker
    recipe = find_recipe(recipe_name, ["train.images=1000000000"])
    dataset = DatasetRequest(recipe.data, Home(home), source).prepare()
    for tick in Trainer(recipe, dataset).run():
        print(json.dumps(TickEnd(time.time(), tick.images_seen, tick.images_per_second)), flush=True)


if __name__ == "__main__":
    main()
