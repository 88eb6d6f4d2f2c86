"""Two real processes (gloo) against one: the same statistics, gradients and losses, on slices of unequal length."""

from collections.abc import Callable
from datetime import timedelta
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
import torch.nn.functional as F
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ganlib.data import Dataset
from ganlib.networks.layers import BatchNorm
from ganlib.penalties import zero_centred_penalty
from ganlib.recipe import Recipe
from ganlib.training.trainer import HEED_EVERY, Trainer
from ganlib.training.world import World, sum_gradients

from .conftest import TINY
from .numerics import assert_as_one, moved_by_a_bit

WORKERS = 2
ROWS = 7  # of which one worker has 3 and the other 4
STEPS = 50

A2 = """
name: a2
data: {size: 28, channels: 1}
method:
  generator: {kind: mnist-large}
  discriminator: {kind: mnist-large}
optim:
  generator: {kind: adam, lr: 1.0e-4, eps: 1.0e-7}
  discriminator: {kind: adam, lr: 1.0e-4, eps: 1.0e-7}
train: {batch: 33, images: 1650, tick: 33}
"""
"""SYSTEMS.md A2 on a batch that 2 workers share unevenly: batch norm in G, dropout in D."""

SGD = "{kind: sgd, lr: 0.001}"
RECIPES = {
    "a2": Recipe.parse(yaml.safe_load(A2)),
    # Adam divides by the root of a mean square, so where a gradient is all but nothing its rounding decides the step.
    "a2 by sgd": Recipe.parse(yaml.safe_load(A2), (f"optim.generator={SGD}", f"optim.discriminator={SGD}")),
    "batch norm under R1": Recipe.parse(
        yaml.safe_load(TINY),
        (
            "method.discriminator={kind: dcgan, width: 4}",
            "method.penalty={kind: r1, gamma: 0.5, every: 4}",
            "train={batch: 7, images: 350, tick: 7, steps: {generator: 2}}",
        ),
    ),
}


def critic(norm: Callable[[int], nn.Module]) -> nn.Sequential:
    """A discriminator with `norm` on maps and on vectors, its gains and biases away from 1 and 0."""
    torch.manual_seed(0)
    # No biases before a norm: it takes them away again, and their gradients are nothing but rounding errors.
    maps = [nn.Conv2d(2, 6, 3, 2, 1, bias=False), norm(6), nn.Softplus(), nn.Flatten()]
    network = nn.Sequential(*maps, nn.Linear(54, 5, bias=False), norm(5), nn.Tanh(), nn.Linear(5, 1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.linspace(-0.2, 0.3, parameter.numel()).view(parameter.shape))
    return network


def critic_input() -> Tensor:
    return 2 * torch.randn(ROWS, 2, 6, 6, generator=torch.Generator().manual_seed(1)) + 0.5


def gradients(network: nn.Module) -> dict[str, Tensor]:
    return {f"gradient {name}": value.grad for name, value in network.named_parameters() if value.grad is not None}


def judge_slice(world: World) -> dict[str, Tensor]:
    """What one worker finds on its rows: logits, the loss's gradients with R1 and without, running statistics."""
    first, last = world.rows(ROWS)
    found: dict[str, Tensor] = {}
    for penalty in (False, True):
        network = critic(BatchNorm)
        x = critic_input()[first:last].requires_grad_(True)
        logits = network(x)
        loss = F.softplus(-logits).mean() + (zero_centred_penalty(network, x) if penalty else 0)
        (loss * ((last - first) / ROWS)).backward()
        sum_gradients(list(network.parameters()), world)
        assert x.grad is not None
        tensors = {"logits": logits.detach(), "gradient x": x.grad} | gradients(network) | dict(network.named_buffers())
        found |= {f"{name}, R1 {penalty}": tensor for name, tensor in tensors.items()}
    return found


def judge_whole() -> dict[str, Tensor]:
    """The same on the whole batch, with torch's own batch norm, in float64."""
    found: dict[str, Tensor] = {}
    for penalty in (False, True):
        network = critic(lambda features: (nn.BatchNorm2d if features == 6 else nn.BatchNorm1d)(features)).double()
        x = critic_input().double().requires_grad_(True)
        logits = network(x)
        loss = F.softplus(-logits).mean()
        if penalty:
            again = x.detach().requires_grad_(True)
            (slope,) = torch.autograd.grad(network(again).sum(), again, create_graph=True)
            loss = loss + slope.square().sum() / ROWS
        loss.backward()
        assert x.grad is not None
        tensors = {"logits": logits.detach(), "gradient x": x.grad} | gradients(network) | dict(network.named_buffers())
        found |= {f"{name}, R1 {penalty}": x for name, x in tensors.items() if "num_batches" not in name}
    return found


def train(recipe: Recipe, dataset: Dataset, last_bit: int | None = None) -> dict[str, Tensor]:
    """The metrics, float64 [steps], of a run whose every step is a tick; `last_bit`: the seed by which the weights that
    it starts from are moved by one."""
    trainer = Trainer(recipe, dataset)
    if last_bit is not None:
        moved_by_a_bit(trainer.method, last_bit)
    return measured(trainer)


def measured(trainer: Trainer) -> dict[str, Tensor]:
    """The metrics of the run to its end, float64 [ticks]."""
    ticks = list(trainer.run())
    names = set.intersection(*(set(tick.metrics) for tick in ticks))
    return {name: torch.tensor([tick.metrics[name] for tick in ticks], dtype=torch.float64) for name in names}


INTERRUPTED = RECIPES["batch norm under R1"].with_overrides("train={batch: 7, images: 210, tick: 105}")
"""Ticks of fifteen rounds, which several workers may leave after the eighth."""


def interrupt(rank: int, folder: Path, dataset: Dataset) -> None:
    """The ticks of a run left alone, and those of one that is interrupted because the second worker is asked."""
    save_file(train(INTERRUPTED, dataset), folder / f"alone-{rank}")
    trainer = Trainer(INTERRUPTED, dataset)
    if rank == 1:
        trainer.interrupt()
    assert list(trainer.run()) == []
    assert trainer.interrupted
    assert trainer.progress.rounds == HEED_EVERY
    if rank == 0:
        trainer.snapshot().write(folder / "interrupted")
    dist.barrier()
    save_file(measured(Trainer(INTERRUPTED, dataset, resume=folder / "interrupted")), folder / f"resumed-{rank}")


def work(rank: int, folder: Path, datasets: dict[int, Path]) -> None:
    """The body of one worker process."""
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=WORKERS, timeout=timedelta(seconds=300))
    save_file(judge_slice(World.current()), folder / f"norm-{rank}")
    for name, recipe in RECIPES.items():
        save_file(train(recipe, Dataset.open(datasets[recipe.data.size])), folder / f"{name}-{rank}")
    interrupt(rank, folder, Dataset.open(datasets[16]))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def together(
    tmp_path_factory: pytest.TempPathFactory, digits16: Dataset, digits28: Dataset, forkserver: ForkServerContext
) -> Path:
    """The folder in which two processes, that ran together, have left what they found."""
    folder = tmp_path_factory.mktemp("workers")
    datasets = {16: digits16.path, 28: digits28.path}
    processes.start_processes(work, (folder, datasets), WORKERS, start_method=forkserver.get_start_method())
    return folder


@pytest.mark.slow
def test_batch_norm_of_two_workers_is_torchs_on_the_whole_batch(together: Path) -> None:
    parts = [load_file(together / f"norm-{rank}") for rank in range(WORKERS)]
    assert [len(part["logits, R1 True"]) for part in parts] == [3, 4]
    expected = judge_whole()
    assert parts[0].keys() == expected.keys()
    for name, tensor in expected.items():
        if name.startswith(("logits", "gradient x")):
            found = torch.cat([part[name] for part in parts])
        else:
            found = parts[0][name]
            assert torch.equal(found, parts[1][name]), name
        error = (found - tensor).abs().max() / tensor.abs().max()
        assert error < 1e-5, name


def alone_and_together(name: str, folder: Path, dataset: Dataset) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The metrics of one worker, and of two, each of whom has the same."""
    alone = train(RECIPES[name], dataset)
    first, second = (load_file(folder / f"{name}-{rank}") for rank in range(WORKERS))
    judged = {"d_real", "d_fake", "d_fake_before_g", "d_fake_after_g", "gradient/discriminator", "gradient/generator"}
    looked_at = {"d_heldout"} | ({"variety", "shift"} if RECIPES[name].train.batch >= 8 else set())
    assert (
        first.keys() == second.keys() == alone.keys() == {"loss/discriminator", "loss/generator"} | judged | looked_at
    )
    for metric, values in alone.items():
        assert values.shape == (STEPS,)
        assert torch.equal(first[metric], second[metric]), metric
    return alone, first


def fall(alone: dict[str, Tensor]) -> Tensor:
    """What the discriminator has learned: it is a training that the two are to agree on."""
    return alone["loss/discriminator"][0] - alone["loss/discriminator"][-5:].mean()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a2 by sgd", "batch norm under R1"])
def test_two_workers_have_the_losses_of_one(name: str, together: Path, digits16: Dataset, digits28: Dataset) -> None:
    alone, two = alone_and_together(name, together, digits16 if RECIPES[name].data.size == 16 else digits28)
    assert fall(alone) > 0.1
    for metric, values in alone.items():
        # A gradient's norm adds up thousands of numbers, and may be large: of its size, not of 1.
        scale = values.abs().max().clamp(min=1) if metric.startswith("gradient/") else 1
        apart = (two[metric] - values).abs().max()
        assert apart < 1e-4 * scale, (metric, apart, scale)


@pytest.mark.slow
def test_two_workers_differ_from_one_by_rounding_alone(together: Path, digits28: Dataset) -> None:
    """A2 with its own Adam, eps 1e-7, that lets rounding grow: to no more than what it grows to in one worker."""
    alone, two = alone_and_together("a2", together, digits28)
    assert fall(alone) > 0.02
    assert_as_one(two, alone, lambda seed: train(RECIPES["a2"], digits28, seed), 1e-4)


@pytest.mark.slow
def test_workers_end_together_where_one_is_asked_and_go_on_as_if_none_had_been(
    together: Path, digits16: Dataset
) -> None:
    left_alone = load_file(together / "alone-0")
    for rank in range(WORKERS):
        resumed = load_file(together / f"resumed-{rank}")
        assert resumed.keys() == left_alone.keys()
        for name, values in left_alone.items():
            assert len(values) == 2
            assert torch.equal(resumed[name], values), name
    # One worker goes on with what two have measured of a tick, and with other sums of products.
    alone = measured(Trainer(INTERRUPTED, digits16, resume=together / "interrupted"))
    for name, values in left_alone.items():
        assert torch.allclose(alone[name], values, rtol=1e-4, atol=1e-5), name
