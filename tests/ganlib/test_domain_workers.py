"""CycleGAN and StarGAN on two real processes (gloo), on slices of unequal length: the losses of one, the same pools."""

from __future__ import annotations

from datetime import timedelta
from functools import cache, partial
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from ganlib.data import Dataset
from ganlib.recipe import Recipe
from ganlib.training.trainer import Trainer

from . import test_cyclegan, test_stargan
from .domains_data import digits_in_domains
from .numerics import assert_as_one, assert_but_for_rounding, moved_by_a_bit

WORKERS = 2
# Gradients that are nothing but rounding (biases before a norm) stay small.
_STEADY = ("optim.*.lr=1e-4", "optim.*.eps=1e-3", "train.batch=5", "train.tick=5")
RECIPES = {
    "cyclegan": Recipe.parse(yaml.safe_load(test_cyclegan.TINY), (*_STEADY, "train.images=100", "method.pool=8")),
    "stargan": Recipe.parse(
        yaml.safe_load(test_stargan.TINY), (*_STEADY, "train.images=100", "train.steps.discriminator=1")
    ),
}
STEPS = 20


def train(recipe: Recipe, dataset: Dataset, last_bit: int | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The metrics, float64 [steps], and what the method itself has kept; `last_bit`: the seed by which the weights that
    it starts from are moved by one."""
    trainer = Trainer(recipe, dataset)
    if last_bit is not None:
        moved_by_a_bit(trainer.method, last_bit)
    ticks = list(trainer.run())
    metrics = {
        name: torch.tensor([tick.metrics[name] for tick in ticks], dtype=torch.float64) for name in ticks[0].metrics
    }
    return metrics, {name: x.clone() for name, x in trainer.method.own_state().items()}


@cache
def moved_run(name: str, dataset: Dataset, seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What `RECIPES[name]` comes to from weights moved by a last bit."""
    return train(RECIPES[name], dataset, seed)


def work(rank: int, folder: Path, datasets: dict[str, Path]) -> None:
    """The body of one worker process."""
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=WORKERS, timeout=timedelta(seconds=300))
    for name, place in datasets.items():
        metrics, state = train(RECIPES[name], Dataset.open(place))
        save_file(metrics, folder / f"{name}-{rank}")
        save_file(state, folder / f"{name}-{rank}-state")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_have_the_losses_of_one(tmp_path: Path, forkserver: ForkServerContext) -> None:
    datasets = {
        name: digits_in_domains(tmp_path, 16, 1, domains) for name, domains in (("cyclegan", 2), ("stargan", 3))
    }
    places = {name: dataset.path for name, dataset in datasets.items()}
    processes.start_processes(work, (tmp_path, places), WORKERS, start_method=forkserver.get_start_method())
    for name, dataset in datasets.items():
        alone, kept = train(RECIPES[name], dataset)
        first, second = (load_file(tmp_path / f"{name}-{rank}") for rank in range(WORKERS))
        assert first.keys() == second.keys() == alone.keys()
        assert all(torch.equal(first[metric], second[metric]) for metric in alone), name
        assert {len(values) for values in alone.values()} == {STEPS}
        # L1 losses, whose gradients jump, let rounding grow.
        moved = partial(moved_run, name, dataset)
        assert_as_one(first, alone, lambda seed, moved=moved: moved(seed)[0], 3e-4)
        assert alone["loss/discriminator"][0] != alone["loss/discriminator"][-1]
        states = [load_file(tmp_path / f"{name}-{rank}-state") for rank in range(WORKERS)]
        assert states[0].keys() == kept.keys()
        for key, value in kept.items():
            assert torch.equal(states[0][key], states[1][key]), (name, key)
            assert states[0][key].shape == value.shape
        bounds = dict.fromkeys(kept, 1e-3)
        assert_but_for_rounding(states[0], kept, lambda seed, moved=moved: moved(seed)[1], bounds)
    assert "pools.0.images" in load_file(tmp_path / "cyclegan-0-state")
