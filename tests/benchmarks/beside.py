"""Evaluation beside a training: images/s of `gan train` with one going on, on a core of its own, and without any.

Both train the same recipe by the command, one thread on the first core, in slices of some seconds: while one runs, the
other is stopped (SIGSTOP), as in `orchestration`. The first judges a checkpoint every few ticks by so many samples that
its evaluation never ends; of both commands the processes that do not train (that judges, that sends metrics) are put on
the second core, as they would be where one is free. Each slice of the first has a ratio to the slices on either side;
the median counts, of slices in which the evaluation had at least half of its core. What is left of it is what
evaluation costs the training: snapshots, memory, caches. With `--ticks 1 --samples 2000` it is rather what beginning an
evaluation costs: at every tick a checkpoint is written, samples are drawn, and some sixty figures are sent.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from pipelines.journal import journal_folder, read_entries
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home
from pipelines.shipped import find_recipe
from tests.benchmarks.orchestration import WARM_UP, Family, TickEnd, family
from tests.benchmarks.report import Target, arguments, conclude, machine, show

ENDLESS = 1_000_000_000
SLICE_SECONDS = 8.0
BUSY = 0.5
"""The share of its core that an evaluation has at least, in a slice that counts."""


class Slice(NamedTuple):
    """From when to when (seconds), and the CPU seconds that the evaluation had in it."""

    begin: float
    end: float
    judging: float


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--source", help="what the recipe reads (the bundled digits, where it is digits)")
    parser.add_argument("--slices", type=int, default=12, help="slices with an evaluation, each beside two without")
    parser.add_argument("--ticks", type=int, default=4, help="from one evaluation to the next")
    parser.add_argument("--samples", type=int, default=40_000, help="that each judges")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        parser.error("it takes two cores: one that trains, one that judges")
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder)).create()
        DatasetRequest(find_recipe(options.recipe).data, home, options.source).prepare()
        tick = find_recipe(options.recipe).train.tick
        judged = [f"train.evaluate_every={options.ticks * tick}", f"evaluate.samples={options.samples}"]
        found = in_slices(options.recipe, options.source, home, options.slices, judged, cores[0], cores[1])
    print(machine())
    rows = [
        [f"slice {number}", f"{ours:,.0f}", f"{alone:,.0f}", f"{ours / alone:.3f}", f"{100 * share:.0f} %"]
        for number, (ours, alone, share) in enumerate(found, 1)
    ]  # fmt: skip
    show(f"Recipe {options.recipe}", ["", "images/s judged beside", "alone", "ratio", "evaluation's core in use"], rows)
    counted = [ours / alone for ours, alone, share in found if share >= BUSY]
    if not counted:
        sys.exit("the evaluation never had half of its core: the machine is busy with other things")
    conclude([Target("training beside an evaluation, ratio", statistics.median(counted), 0.95)], options.json)


def in_slices(
    recipe: str, source: str | None, home: Home, slices: int, often: list[str], training: int, judging: int
) -> list[tuple[float, float, float]]:
    """Of each slice with an evaluation its images/s, its neighbours' mean without, the share of `judging` in use."""
    rare = [f"train.evaluate_every={ENDLESS}"]
    with ExitStack() as stack:
        output = stack.enter_context((home.path / "said.txt").open("w"))
        runs = []
        for lengths in (often, rare):
            what = ["--source", source] if source is not None else []
            # A database for each: one that is stopped may hold it locked.
            what += ["--tracking", f"sqlite:///{home.path}/mlflow-{len(runs)}.db"]
            gan = [str(Path(sys.executable).with_name("gan")), "train", recipe, "--home", str(home.path), *what]
            fixed = [f"train.images={ENDLESS}", f"train.checkpoint_every={ENDLESS}", f"train.sample_every={ENDLESS}"]
            before = set(home.runs.glob("*/run.json"))
            started = stack.enter_context(family(["taskset", "-c", str(training), *gan, *fixed, *lengths], output))
            run = _begun(home, before, started)
            while len(ticks_of(run)) < WARM_UP or (lengths is often and not judges_of(started)):
                _running(started, home)
                time.sleep(0.5)
            started.signal(signal.SIGSTOP, started.members())
            runs.append((started, run))
        (judged, ours), (alone, theirs) = runs
        taken: list[Slice] = []
        for number in range(2 * slices + 1):  # the first and the last without
            mine = judged if number % 2 else alone
            mine.signal(signal.SIGCONT, mine.members())
            begin, used = time.time(), _move(mine, judging)
            while time.time() - begin < SLICE_SECONDS:
                _running(mine, home)
                time.sleep(1)
                _move(mine, judging)  # its helpers begin when they will
            taken.append(Slice(begin, time.time(), _move(mine, judging) - used))
            mine.signal(signal.SIGSTOP, mine.members())
        ends = {True: ticks_of(ours), False: ticks_of(theirs)}
    paces = [pace_of(ends[bool(number % 2)], part.begin, part.end) for number, part in enumerate(taken)]
    return [
        (
            paces[at],
            (left + right) / 2,
            taken[at].judging / (taken[at].end - taken[at].begin),
        )
        for at in range(1, len(paces) - 1, 2)
        if (left := paces[at - 1]) and (right := paces[at + 1]) and paces[at]
    ]


def pace_of(ticks: list[TickEnd], begin: float, end: float) -> float:
    """Images/s from the first to the last of the ticks that ended between; 0 where less than two did."""
    within = [tick for tick in ticks if begin <= tick.time <= end]
    if len(within) < 2:
        return 0.0
    return (within[-1].images - within[0].images) / (within[-1].time - within[0].time)


def ticks_of(run: Path) -> list[TickEnd]:
    """The ticks that a run's journal has."""
    records = [entry.record for entry in read_entries(journal_folder(run) / "train.jsonl")]
    return [
        TickEnd(record["time"] / 1000, record["images_seen"])
        for record in records
        if record["kind"] == "metrics" and "images_per_second" in record["values"]
    ]


def judges_of(command: Family) -> list[int]:
    """The processes of a command that were spawned to judge: Python's, by what it calls them."""
    return [pid for pid in command.members() if b"spawn_main" in _read(pid, "cmdline")]


def _move(command: Family, core: int) -> float:
    """Puts all that does not train on a core. Returns the CPU seconds that what judges has had so far."""
    seconds = 0.0
    judges = judges_of(command)
    for pid in command.members():
        with suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir() if pid != command.pid else ():
                os.sched_setaffinity(int(thread.name), {core})
            if pid not in judges:
                continue
            user, system = _read(pid, "stat").rpartition(b") ")[2].split()[11:13]
            seconds += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return seconds


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _begun(home: Home, before: set[Path], command: Family) -> Path:
    """The folder of the run that a command begins."""
    while not (made := set(home.runs.glob("*/run.json")) - before):
        _running(command, home)
        time.sleep(0.2)
    return made.pop().parent


def _running(command: Family, home: Home) -> None:
    if not command.running:
        sys.exit(f"the training ended:\n{(home.path / 'said.txt').read_text()}")


if __name__ == "__main__":
    main()
