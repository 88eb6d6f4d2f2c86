"""Any objective with any penalty trains, whatever else a recipe adds; two workers have the losses of one."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import product
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from ganlib.data import Dataset
from ganlib.losses import OBJECTIVES
from ganlib.training.trainer import Trainer

from .conftest import BATCH_NORM, DROPOUT, tiny_recipe

PENALTIES = {
    "none": "{kind: none}",
    "r1": "{kind: r1, gamma: 0.5, every: 2, fall_from: 0, fall_to: 0.2}",
    "r2": "{kind: r2, gamma: 0.5, every: 2}",
    "r1r2": "{kind: r1r2, gamma: 0.5, gamma_fake: 0.1}",
    "gradient-penalty": "{kind: gradient-penalty, every: 2}",
    "dragan": "{kind: dragan}",
    "clip": "{kind: clip, bound: 0.1}",
}
ADDED = (
    [],
    ["data.classes=10", "method.condition={kind: embedding, dim: 4}", "method.spectral_norm=true"],
    ["data.classes=10", "method.condition={kind: batch-norm}", "method.instance_noise={sigma: 0.2, until: 0.5}"],
    ["method.augment={kind: adaptive, probability: 0.5, speed_images: 50}", BATCH_NORM],
    ["method.augment={kind: fixed}", DROPOUT],
)
"""What games add to the objective and the penalty, one after the other: five do not divide the penalties' number."""


def added(objective: str, number: int) -> list[str]:
    """Augmentation is steered by logits that say something by themselves; else it is fixed."""
    chosen = ADDED[number % len(ADDED)]
    if OBJECTIVES[objective].undecided is not None:  # type: ignore[index]
        return chosen
    return [one.replace("adaptive, probability: 0.5, speed_images: 50", "fixed, probability: 0.5") for one in chosen]


PAIRS = [pair for pair in product(OBJECTIVES, PENALTIES) if pair[1] != "clip" or pair[0] == "wasserstein"]
GAMES = {
    f"{objective} {penalty}": [
        f"method.objective={objective}", f"method.penalty={PENALTIES[penalty]}", *added(objective, number),
        # Two workers do not share seven images evenly; gradients that are nothing but rounding stay small.
        "train={batch: 7, images: 35, tick: 7}", "optim.*.eps=1e-3",
    ]
    for number, (objective, penalty) in enumerate(PAIRS)
}  # fmt: skip


def play(folder: Path, dataset: Dataset) -> dict[str, list[dict[str, float]]]:
    """The metrics of each step of each game."""
    found = {}
    for name, overrides in GAMES.items():
        found[name] = [tick.metrics for tick in Trainer(tiny_recipe(folder, *overrides), dataset).run()]
    return found


def work(rank: int, folder: Path, dataset: Path) -> None:
    """The body of one worker process."""
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2, timeout=timedelta(seconds=300))
    own = folder / str(rank)
    own.mkdir()
    (own / "found.json").write_text(json.dumps(play(own, Dataset.open(dataset))))
    dist.destroy_process_group()


@pytest.mark.slow
def test_any_objective_with_any_penalty_trains_alike_on_one_worker_and_on_two(
    digits16: Dataset, tmp_path: Path, forkserver: ForkServerContext
) -> None:
    processes.start_processes(work, (tmp_path, digits16.path), 2, start_method=forkserver.get_start_method())
    first, second = (json.loads((tmp_path / str(rank) / "found.json").read_text()) for rank in range(2))
    alone = play(tmp_path, digits16)
    assert len(alone) == 6 * 6 + 1
    assert first == second
    for name, ticks in alone.items():
        penalty = name.split()[1]
        assert any(key.startswith("penalty/") for key in ticks[0]) == (penalty not in ("none", "clip")), name
        for step, (ours, theirs) in enumerate(zip(ticks, first[name], strict=True)):
            assert ours.keys() == theirs.keys(), name
            for metric, value in ours.items():
                # Rounding: what is added up in two parts is not what is added up in one.
                assert theirs[metric] == pytest.approx(value, rel=3e-4, abs=3e-4), (name, step, metric)
        # It is a training: its losses move.
        assert ticks[0]["loss/discriminator"] != ticks[-1]["loss/discriminator"], name
