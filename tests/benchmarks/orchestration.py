"""Orchestration: images/s of `gan train` (Ray, MLflow, journal, pictures, checkpoints) and of the bare trainer.

Both train the same recipe on the same dataset with all cores, each with all the processes that belong to it, and take
turns of a fifth of a second: while one runs, the other is stopped (SIGSTOP). So what the machine's speed does from one
second to the next (it swings by half on a shared one), it does to both, and neither takes the other's cores. The clock
of each side is the time of its own turns, from the end of its third tick on: all that lies between ticks counts,
pictures, checkpoints and records among it. The ratio of a round is that of images by such seconds; the median of the
rounds counts, for one process may be slower than its twin all its life (two bare trainers differed by 0.09 once, by
0.01 else), and rounds spread by 0.05 about it. Checkpoints are judged at the end alone: an evaluation is work that the
bare trainer does not do.
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
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate
from pathlib import Path
from typing import IO, NamedTuple

import torch

from ganlib import Trainer
from pipelines.journal import journal_folder, read_entries
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home
from pipelines.shipped import find_recipe
from tests.benchmarks.report import Target, arguments, conclude, machine, show

WARM_UP = 3  # ticks
TURN_SECONDS = 0.2
MARK = "GAN_BENCHMARK_FAMILY"
NAMES = {0: "gan train, in its process", 1: "gan train, a Ray worker"}


class TickEnd(NamedTuple):
    """When a tick ended (seconds since the epoch), and how many images were seen by then."""

    time: float
    images: int


class Turns:
    """When a side ran: its own clock stands still outside of them."""

    def __init__(self, bounds: Sequence[tuple[float, float]]):
        self._begins, self._ends = zip(*bounds, strict=True)
        self._before = [0.0, *accumulate(end - begin for begin, end in bounds)]

    @property
    def begin(self) -> float:
        """When the first turn began."""
        return self._begins[0]

    def clock(self, moment: float) -> float:
        """The seconds that this side had run by then."""
        at = bisect_right(self._begins, moment) - 1
        return self._before[at] + min(moment, self._ends[at]) - self._begins[at] if at >= 0 else 0.0


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--source", help="what the recipe reads (the bundled digits, where it is digits)")
    parser.add_argument("--images", type=int, default=80_000, help="the length of each run")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs (3)")
    parser.add_argument(
        "--workers", type=int, nargs="+", choices=NAMES, default=list(NAMES), help="0, 1 or both (both)"
    )
    parser.add_argument("--bare", type=Path, metavar="HOME", help=argparse.SUPPRESS)  # how this program calls itself
    options = parser.parse_args()
    if options.bare is not None:
        bare_trainer(options.recipe, options.source, options.bare)
        return
    lengths = [f"train.images={options.images}", f"train.evaluate_every={options.images}"]
    found: dict[int, list[tuple[float, float]]] = {workers: [] for workers in options.workers}
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder)).create()
        DatasetRequest(find_recipe(options.recipe).data, home, options.source).prepare()
        for _ in range(options.rounds):
            for workers, rounds in found.items():
                rounds.append(by_turns(options.recipe, options.source, home, [f"workers={workers}", *lengths]))
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    print(machine())
    rows, targets = [], []
    for workers, rounds in found.items():
        ratios = [ours / bare for ours, bare in rounds]
        ratio = statistics.median(ratios)
        rates = [f"{statistics.median(rate):,.0f}" for rate in zip(*rounds, strict=True)]
        rows.append([NAMES[workers], *rates, f"{ratio:.3f}", " ".join(f"{one:.3f}" for one in ratios)])
        targets.append(Target(f"orchestration, {NAMES[workers]}, ratio", ratio, 0.97))
    columns = ["", "images/s", "bare trainer's", "ratio", "each round's"]
    show(f"Recipe {options.recipe}, {options.images:,} images", columns, rows)
    conclude(targets, options.json)


def by_turns(recipe: str, source: str | None, home: Home, overrides: list[str]) -> tuple[float, float]:
    """Trains by the command, and bare, in turns, until the command's training is at its end: the images/s of each."""
    what = ["--source", source] if source is not None else []
    gan = [str(Path(sys.executable).with_name("gan")), "train", recipe, "--home", str(home.path), *what, *overrides]
    bare = [sys.executable, "-m", "tests.benchmarks.orchestration", "--recipe", recipe, "--bare", str(home.path), *what]
    before, log, said = set(home.runs.glob("*/run.json")), home.path / "bare.jsonl", home.path / "said.txt"

    def journalled() -> list[TickEnd]:
        """The ticks of `gan train` so far."""
        made = set(home.runs.glob("*/run.json")) - before
        records = [entry.record for run in made for entry in read_entries(journal_folder(run.parent) / "train.jsonl")]
        return [
            TickEnd(record["time"] / 1000, record["images_seen"])
            for record in records
            if record["kind"] == "metrics" and "images_per_second" in record["values"]
        ]

    def bare_ticks() -> list[TickEnd]:
        return [TickEnd(*json.loads(line)) for line in log.read_text().splitlines(keepends=True) if line[-1] == "\n"]

    with said.open("w") as output, log.open("w") as lines, family(gan, output) as ours:
        while ours.running and len(journalled()) < WARM_UP:
            time.sleep(0.5)
        ours.signal(signal.SIGSTOP, ours.members())
        with family(bare, lines) as its:
            while its.running and len(bare_ticks()) < WARM_UP:
                time.sleep(0.5)
            its.signal(signal.SIGSTOP, its.members())
            turns: dict[Family, list[tuple[float, float]]] = {ours: [], its: []}
            while ours.running and its.running:
                for side in (ours, its, its, ours):  # so that neither is always the one that follows
                    side.signal(signal.SIGCONT, side.members())
                    begin = time.time()
                    time.sleep(TURN_SECONDS)
                    members = side.members()  # looked up within the turn: the search takes its time
                    side.signal(signal.SIGSTOP, members)
                    turns[side].append((begin, time.time()))
    if ours.returncode != 0:
        sys.exit(f"{' '.join(gan)} ended with status {ours.returncode}:\n{said.read_text()}")
    return pace_of(journalled(), Turns(turns[ours])), pace_of(bare_ticks(), Turns(turns[its]))


def pace_of(ticks: Sequence[TickEnd], turns: Turns) -> float:
    """Images by the seconds of a side's own clock, over the ticks that ended within its turns."""
    first, *_, last = (tick for tick in ticks if tick.time >= turns.begin)
    return (last.images - first.images) / (turns.clock(last.time) - turns.clock(first.time))


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

    @property
    def pid(self) -> int:
        """The command's own."""
        return self._process.pid

    def members(self) -> list[int]:
        """Their process ids."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self._mark.encode() in (place / "environ").read_bytes():
                    found.append(int(place.name))
        return found

    def signal(self, number: signal.Signals, members: Iterable[int]) -> None:
        """To every one of these."""
        for pid in members:
            with suppress(OSError):
                os.kill(pid, number)


@contextmanager
def family(command: Sequence[str], output: IO[str]) -> Iterator[Family]:
    """Killed, all of it, where it has not ended with the block."""
    started = Family(command, output)
    try:
        yield started
    finally:
        started.signal(signal.SIGKILL, started.members())


def bare_trainer(recipe_name: str, source: str | None, home: Path) -> None:
    """Trains in this process until it is killed, with nobody listening but for a line a tick."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))  # as `gan train` gives its one worker
    recipe = find_recipe(recipe_name, ["train.images=1000000000"])
    dataset = DatasetRequest(recipe.data, Home(home), source).prepare()
    for tick in Trainer(recipe, dataset).run():
        print(json.dumps(TickEnd(time.time(), tick.images_seen)), flush=True)


if __name__ == "__main__":
    main()
