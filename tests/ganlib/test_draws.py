"""Randomness as a function of (seed, stream, step, position), and of nothing else."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from ganlib.draws import Draws, draw_latents, stream_generator, stream_seed
from ganlib.training.world import World

BATCH = 11


def workers(size: int, seed: int = 3) -> list[Draws]:
    return [Draws(seed, BATCH, World(rank, size).rows(BATCH), "cpu") for rank in range(size)]


def latents(draws: Draws, step: int, stream: str = "discriminator/0") -> Tensor:
    draws.at(step)
    return draws.latents(stream, 5, "normal")


@pytest.mark.parametrize("size", [1, 2, 3, 11])
def test_workers_take_adjoining_slices_that_differ_by_one_row_at_most(size: int) -> None:
    rows = [World(rank, size).rows(BATCH) for rank in range(size)]
    assert rows[0][0] == 0
    assert rows[-1][1] == BATCH
    assert all(before[1] == after[0] for before, after in pairwise(rows))
    assert {last - first for first, last in rows} <= {BATCH // size, BATCH // size + 1}


@pytest.mark.parametrize("size", [2, 3, 11])
def test_workers_draw_together_what_one_draws_alone(size: int) -> None:
    (alone,) = workers(1)
    several = workers(size)
    for step in (0, 7):
        for draws in (alone, *several):
            draws.at(step)
        for distribution in ("normal", "uniform"):
            parts = [draws.latents("generator/0", 6, distribution) for draws in several]
            assert torch.equal(torch.cat(parts), alone.latents("generator/0", 6, distribution))
        for keep, shape in ((0.7, (3, 5, 5)), (0.5, (9,)), (0.2, (4, 2, 2))):
            parts = [draws.keep_mask(keep, shape) for draws in several]
            whole = alone.keep_mask(keep, shape)
            assert whole.shape == (BATCH, *shape)
            assert whole.dtype == torch.bool
            assert torch.equal(torch.cat(parts), whole)


def test_a_draw_depends_on_seed_stream_and_step_alone() -> None:
    (draws,) = workers(1)
    first = latents(draws, 5)
    draws.keep_mask(0.5, (3,))
    latents(draws, 6)
    assert torch.equal(latents(draws, 5), first)
    for other in (latents(draws, 6), latents(draws, 5, "generator/0"), latents(workers(1, seed=4)[0], 5)):
        # 55 pairs of independent normal numbers: their correlation has a standard deviation of 1 / sqrt(55).
        assert abs(torch.corrcoef(torch.stack([first.flatten(), other.flatten()]))[0, 1]) < 5 / math.sqrt(55)


def test_masks_of_one_step_differ_and_come_again_at_the_same_step() -> None:
    (draws,) = workers(1)
    draws.at(2)
    masks = [draws.keep_mask(0.5, (100,)) for _ in range(3)]
    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[1], masks[2])
    draws.at(3)
    assert not torch.equal(draws.keep_mask(0.5, (100,)), masks[0])
    draws.at(2)
    assert all(torch.equal(draws.keep_mask(0.5, (100,)), mask) for mask in masks)


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.7, 0.999])
def test_a_mask_keeps_its_share_everywhere(keep: float) -> None:
    draws = Draws(0, 400, (0, 400), "cpu")
    mask = draws.keep_mask(keep, (250,)).double()
    deviation = math.sqrt(keep * (1 - keep) / mask.numel())
    assert abs(mask.mean().item() - keep) < 5 * deviation + 2**-17
    # Four neighbours come from one 64-bit number; each of the four has its share, and pairs of them are independent.
    quarters = mask[:, :248].reshape(400, 62, 4)
    assert (quarters.mean((0, 1)) - keep).abs().max() < 5 * 2 * deviation
    both = (quarters[..., 0] * quarters[..., 1]).mean().item()
    assert abs(both - keep**2) < 5 * math.sqrt(keep**2 * (1 - keep**2) / (400 * 62))


def test_a_mask_can_keep_everything() -> None:
    assert Draws(0, 50, (0, 50), "cpu").keep_mask(1.0, (99,)).all()


def test_latents_have_the_moments_and_range_of_their_distribution() -> None:
    count = 100_000
    normal = draw_latents(stream_generator("cpu", 0, "test"), count, 1, "normal").double()
    assert normal.abs().max() > 3.5  # the chance of none beyond 3.5 in 100,000 is exp(-46)
    uniform = draw_latents(stream_generator("cpu", 0, "test"), count, 1, "uniform").double()
    assert uniform.abs().max() <= 1
    for sample, variance, fourth in ((normal, 1.0, 3.0), (uniform, 1 / 3, 1 / 5)):
        assert abs(sample.mean().item()) < 5 * math.sqrt(variance / count)
        assert abs(sample.square().mean().item() - variance) < 5 * math.sqrt((fourth - variance**2) / count)


def test_stream_seeds_are_63_bits_and_never_alike() -> None:
    names = [(seed, stream, step) for seed in range(4) for stream in ("order", "latents") for step in range(50)]
    seeds = {stream_seed(*name) for name in names}
    assert len(seeds) == len(names)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


def test_a_stream_seed_is_a_written_down_number() -> None:
    """`printf 0/init | b2sum -l 64` says d86b2afa9b31976c; read little end first, halved. Old runs depend on it."""
    assert stream_seed(0, "init") == 0x6C97319BFA2A6BD8 // 2
