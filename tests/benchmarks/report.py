"""What a benchmark says: a table of figures measured side by side, and the targets beside what was measured."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from ganlib.precision import computes_bf16


@dataclass(frozen=True)
class Target:
    """A figure that was measured, and the least (the most, where `at_most`) that issue 2 wants of it."""

    what: str
    measured: float
    wanted: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        """False for NaN too."""
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with the option that every benchmark has."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the targets there")
    return parser


def interleaved(title: str, contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Calls every contestant once a round, in turn (A B A B ...), and returns the median of what each returned.

    A machine whose speed drifts, drifts under all of them alike. One round more goes before, to warm up, uncounted.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for done in range(rounds + 1):
        for name, measure in contestants.items():
            found[name].append(measure())
        print(f"{title}: {f'round {done} of {rounds}' if done else 'warm'}", file=sys.stderr, flush=True)
    return {name: statistics.median(values[1:]) for name, values in found.items()}


@contextmanager
def apart(build: Callable[..., Callable[[], float]], *told: Any) -> Iterator[Callable[[], float]]:
    """What `build(*told)` returns, in a process of its own: what one contestant sets there, no other has.

    build: a function of a module; what is told can be pickled. The process rests while it is not called.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, build, told), daemon=True)
    process.start()
    theirs.close()

    def measure() -> float:
        ours.send(None)
        return float(ours.recv())

    try:
        yield measure
    finally:
        ours.close()
        process.join()


def _answer(pipe: Connection, build: Callable[..., Callable[[], float]], told: tuple[Any, ...]) -> None:
    measure = build(*told)
    with suppress(EOFError):
        while True:
            pipe.recv()
            pipe.send(measure())


def machine() -> str:
    """One line: the CPU, its bfloat16, threads, torch."""
    capabilities = torch.cpu.get_capabilities()
    bf16 = "bfloat16 in hardware" if computes_bf16("cpu") else "no bfloat16 in hardware"
    cores = f"{capabilities.get('num_physical_cores', '?')} cores"
    threads = f"{torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
    return f"{capabilities.get('cpu_name') or 'CPU'}, {cores}, {bf16}; {threads}; torch {torch.__version__}"


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table under its title; the first column is words, the others are figures."""
    table = Table(box=None, header_style="bold", padding=(0, 3, 0, 0))
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # rich would fold what is wider than 80 characters where the output is no terminal.
    Console(width=140, highlight=False).print(title, table, "", sep="\n")


def show_targets(targets: Sequence[Target]) -> None:
    """Prints what was measured beside what is wanted."""
    rows = [
        (
            target.what,
            f"{target.measured:.3g}",
            f"{'at most' if target.at_most else 'at least'} {target.wanted:.3g}",
            "yes" if target.met else "NO",
        )
        for target in targets
    ]
    show("Targets", ["figure", "measured", "wanted", "met"], rows)


def conclude(targets: Sequence[Target], file: Path | None) -> None:
    """Prints the targets, and writes them to `file` for whoever gathers them."""
    show_targets(targets)
    if file is not None:
        file.write_text(json.dumps([asdict(target) for target in targets]))


def read_targets(file: Path) -> list[Target]:
    """What `conclude` wrote."""
    return [Target(**values) for values in json.loads(file.read_text())]
