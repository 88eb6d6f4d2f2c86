"""Objectives and penalties on two workers: the gradients of one."""

from datetime import timedelta
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ganlib.losses import OBJECTIVES
from ganlib.networks.layers import BatchNorm
from ganlib.training.world import World, sum_gradients
from tests.ganlib.test_penalties import ALL, IDS, ROWS, SHAPE, chance, images, penalty


def critic(norm: bool) -> nn.Sequential:
    torch.manual_seed(0)
    middle: list[nn.Module] = [BatchNorm(4)] if norm else []
    network = nn.Sequential(nn.Conv2d(2, 4, 2, bias=not norm), *middle, nn.Softplus(), nn.Flatten(), nn.Linear(16, 1))
    return network if norm else network.double()


def found(world: World) -> dict[str, Tensor]:
    """Of each penalty and of both sides of each objective: the global gradients, as one worker of `world` has them."""
    first, last = world.rows(ROWS)
    results: dict[str, Tensor] = {}
    cases: list[tuple[str, bool]] = [(name, norm) for name in (*IDS, *OBJECTIVES) for norm in (False, True)]
    for name, norm in cases:
        network = critic(norm)
        real, fake = (side[first:last].to(network[0].weight.dtype).requires_grad_(True) for side in images())
        if name in OBJECTIVES:
            on_real, on_fake = network(real), network(fake)
            objective = OBJECTIVES[name]
            loss = objective.discriminator(on_real, on_fake) + 3 * objective.generator(on_fake, on_real)
        else:
            config = penalty(ALL[IDS.index(name)] | {"every": 2})
            terms = config.terms(network, real, fake, lambda name, shape: chance(name, shape, (first, last)))
            loss = config.weighted(terms)
        share = (last - first) / ROWS
        (loss * share).backward()
        sum_gradients(list(network.parameters()), world)
        case = f"{name}, norm {norm}"
        results[f"{case}: loss"] = world.sum(loss.detach() * share)
        for weight, value in network.named_parameters():
            if value.grad is not None:
                results[f"{case}: {weight}"] = value.grad
        if name in OBJECTIVES:
            assert fake.grad is not None
            whole = torch.zeros(ROWS, *SHAPE, dtype=fake.dtype)  # what reaches the generator, each worker's rows
            whole[first:last] = fake.grad
            results[f"{case}: fakes"] = world.sum(whole)
    return results


def work(rank: int, folder: Path) -> None:
    """The body of one worker process."""
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2, timeout=timedelta(seconds=120))
    save_file(found(World.current()), folder / f"found-{rank}")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_have_the_gradients_of_one(tmp_path: Path, forkserver: ForkServerContext) -> None:
    """Slices of 3 and 4 rows, whose real images spread differently: DRAGAN's deviation is the global batch's."""
    real = images()[0]
    assert real[:3].std() < real.std() / 3
    processes.start_processes(work, (tmp_path,), 2, start_method=forkserver.get_start_method())
    alone, (first, second) = found(World()), (load_file(tmp_path / f"found-{rank}") for rank in range(2))
    assert first.keys() == second.keys() == alone.keys()
    assert len(alone) > 100
    for name, tensor in alone.items():
        assert torch.equal(first[name], second[name]), name
        largest = tensor.abs().max()
        error = (first[name] - tensor).abs().max() / largest if largest > 0 else first[name].abs().max()
        assert error < (1e-4 if "norm True" in name else 1e-12), name
