"""A program for tests: prepares noises, in child processes that are killed at chosen moments, or that run at once.

`python preparing.py kill INTO...` prepares once a folder, killed (SIGKILL) in its first, second, ... fsync: a file is
written then, under its temporary name. `python preparing.py together INTO COUNT` prepares in COUNT processes at once,
and prints the shards that each wrote.
"""

from __future__ import annotations

import itertools
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from ganlib.data import Preparation, plan, prepare_dataset
from ganlib.data.shard_writer import ShardWriter
from ganlib.data.sources.base import Record
from tests.ganlib.data.list_source import ListSource, noise

PREPARATION = Preparation(size=8, test_share=0.2, max_bad=0.1)
SHARD_BYTES = 6 * 192


def run(*arguments: object) -> list[str]:
    """What this program prints, line by line."""
    command = [sys.executable, "-m", __name__, *map(str, arguments)]
    root = Path(__file__).parents[3]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=300).stdout.split("\n")


def source() -> ListSource:
    """60 records in some ten shards; one cannot be read, and some of test are in train."""
    records: dict[str, Record | str] = {f"{row:02d}": Record(noise(row % 45)) for row in range(60)}
    return ListSource(records | {"07": "cut short"})


def kill(into: str, moment: int) -> None:
    real, numbers = os.fsync, itertools.count(1)

    def fsync(descriptor: Any) -> None:
        # Not of the folder that it is in. Threads write at once, and each call has a number of its own.
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and next(numbers) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        real(descriptor)

    os.fsync = fsync  # type: ignore[assignment]
    prepare_dataset(source(), PREPARATION, into, "x")


def together(into: str, count: int) -> None:
    real = ShardWriter.__call__
    written = 0

    def count_and_write(self: ShardWriter, task: plan.ShardTask) -> object:
        nonlocal written
        written += 1
        return real(self, task)

    ShardWriter.__call__ = count_and_write  # type: ignore[assignment, method-assign]
    start, go = os.pipe()
    for _ in range(count):
        if os.fork() == 0:
            os.close(go)
            os.read(start, 1)
            dataset = prepare_dataset(source(), PREPARATION, into, "x")
            os.write(1, f"{written} {dataset.location.name}\n".encode())
            os._exit(0)
    os.close(go)  # all go at once
    for _ in range(count):
        os.wait()


if __name__ == "__main__":
    plan.SHARD_BYTES = SHARD_BYTES
    if sys.argv[1] == "together":
        together(sys.argv[2], int(sys.argv[3]))
    else:
        for place, folder in enumerate(sys.argv[2:]):
            child = os.fork()
            if child == 0:
                kill(folder, place + 1)
                os._exit(0)
            status = os.waitpid(child, 0)[1]
            print(int(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL))
