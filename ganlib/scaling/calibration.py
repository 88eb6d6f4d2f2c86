"""What this machine's CPU takes for a recipe's own rounds, and its gloo for messages, measured in some seconds."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from ganlib.cores import cores, threads_of
from ganlib.recipe import Recipe
from ganlib.scaling.links import Loopback
from ganlib.scaling.rehearsal import Rehearsal, kinds_of_round, others

LEAST_SECONDS = 1.0
"""How long rounds of one sort are repeated, at the least."""

SMALL, SIZES = 2**12, (2**20, 2**22, 2**24, 2**26)
"""Bytes of the all-reduces that the latency and the rates are read off; what is smaller takes little but a latency."""


@dataclass(frozen=True)
class Calibration:
    """rounds: seconds of computing in a round of so many workers, each on a core of its own or, of fewer than there are
    cores, several. loopback: between two processes of this machine.
    """

    cores: int
    rounds: dict[int, float]
    loopback: Loopback

    def crowding(self, workers: int) -> float:
        """How many workers share a core."""
        return max(workers / self.cores, 1.0)


def calibrate(recipes: Mapping[int, Recipe], per_machine: int | None = None) -> Calibration:
    """Times the rounds of each number of workers by its recipe. per_machine: workers on one machine; None: all.

    As many processes run at once as a machine would have workers, but no more than it has cores: neighbours share
    caches and memory. Where a worker has a core, time is the process's own, which other programs do not lengthen.
    """
    there = cores()
    jobs = {n: (recipe.dump(), min(n, per_machine or n)) for n, recipe in recipes.items()}
    count = max(2, *(min(here, there) for _, here in jobs.values()))
    with tempfile.TemporaryDirectory() as folder:
        gate = processes.get_context("spawn").Barrier(count)
        processes.start_processes(_measure, (count, folder, jobs, there, gate), count, start_method="spawn")
        found = [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(count)]
    rounds = {n: max(one["rounds"][str(n)] for one in found if str(n) in one["rounds"]) for n in recipes}
    small, *larger = (max(one["messages"][place] for one in found) for place in range(1 + len(SIZES)))
    # Of two workers the ring has 2 steps, each a message of half of the bytes.
    rates = tuple((size // 2, size / max(took - small, 1e-9)) for size, took in zip(SIZES, larger, strict=True))
    return Calibration(there, rounds, Loopback(small / 2, rates))


def _measure(rank: int, count: int, folder: str, jobs: dict[int, tuple[str, int]], cores: int, gate: Any) -> None:
    """The body of one process."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {"messages": _messages(rank, count, folder, gate), "rounds": {}}
    for workers, (recipe, here) in jobs.items():
        torch.set_num_threads(threads_of(here, cores))
        gate.wait()
        if rank < min(here, cores):
            import yaml

            with others(workers):
                rehearsal = Rehearsal(Recipe.parse(yaml.safe_load(recipe)), workers)
                kinds = kinds_of_round(rehearsal.recipe)
                found["rounds"][workers] = sum(share * _timed(rehearsal, first) for first, share in kinds)
    Path(folder, f"{rank}.json").write_text(json.dumps(found))


def _messages(rank: int, count: int, folder: str, gate: Any) -> list[float]:
    """Seconds of all-reduces of SMALL and of SIZES bytes between the first two processes; of others 0."""
    found = [0.0] * (1 + len(SIZES))
    if rank < 2:
        meet = f"file://{folder}/meet"
        dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2, timeout=timedelta(minutes=10))
        for place, size in enumerate((SMALL, *SIZES)):
            values = torch.ones(size // 4)
            seconds = []
            for _ in range(50 if size < 2**22 else 10):
                dist.barrier()  # in training too they meet after each has been busy by itself
                start = time.perf_counter()
                dist.all_reduce(values)
                seconds.append(time.perf_counter() - start)
            found[place] = statistics.median(seconds)
        dist.destroy_process_group()
    gate.wait()
    return found


def _timed(rehearsal: Rehearsal, first: int) -> float:
    """Seconds of a round, after one that warms up: of several the median; of those of several threads the least.

    A thread that another program keeps from its core holds the others up, and they wait by spinning: neither the clock
    nor the process's own time would say what the round takes.
    """
    alone = torch.get_num_threads() == 1
    clock, pick = (time.process_time, statistics.median) if alone else (time.perf_counter, min)
    rehearsal.round(first)
    seconds: list[float] = []
    while not seconds or (sum(seconds) < LEAST_SECONDS and len(seconds) < 200):
        start = clock()
        rehearsal.round(first)
        seconds.append(clock() - start)
    return pick(seconds)
