"""Derivatives checked by finite differences; runs compared where rounding grows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


def assert_differentiates_twice(network: nn.Module, x: Tensor, weight: str, rel: float = 1e-4) -> None:
    """d/dw of ||grad_x sum(network(x))||^2, as a penalty wants it, for one number of the 4-d `weight`, in float64."""
    values, place = network.get_parameter(weight), (0, 1, 1, 2)
    x = x.detach().requires_grad_(True)

    def slope() -> Tensor:
        (gradient,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
        return gradient.square().sum()

    def moved(by: float) -> float:
        with torch.no_grad():
            values[place] += by
        return slope().item()

    (found,) = torch.autograd.grad(slope(), values)
    more, less = moved(1e-6), moved(-2e-6)
    assert found[place].item() == pytest.approx((more - less) / 2e-6, rel=rel)


def moved_by_a_bit(network: nn.Module, seed: int) -> None:
    """Moves every weight by the least that there is, up or down by chance."""
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            up = torch.rand(parameter.shape, generator=chance) < 0.5
            parameter.copy_(torch.nextafter(parameter, torch.where(up, torch.inf, -torch.inf)))


Run = Callable[[int], dict[str, Tensor]]
"""What a run of one worker ends with whose weights `moved_by_a_bit` has moved, by the seed."""


def assert_as_one(two: dict[str, Tensor], one: dict[str, Tensor], moved: Run, bound: float) -> None:
    """Metrics [steps] of two workers are those of one to `bound`, of the metric's size where that is above 1.

    Past the first two steps, in which what is added up wrongly shows, rounding may have grown:
    `assert_but_for_rounding`.
    """
    allowed = {metric: bound * values.abs().max().clamp(min=1).item() for metric, values in one.items()}
    for metric, values in one.items():
        assert (two[metric] - values)[:2].abs().max() < allowed[metric], metric
    assert_but_for_rounding(two, one, moved, allowed)


def assert_but_for_rounding(
    two: dict[str, Tensor], one: dict[str, Tensor], moved: Run, allowed: dict[str, float]
) -> None:
    """What two workers have is what one has to within `allowed`, or else to 3 times what a last bit of the weights
    grows to in one. That differs twentyfold from one chance to another, so up to three of them are asked."""
    assert two.keys() == one.keys()
    apart = {name: (two[name] - value).abs().max().item() for name, value in one.items()}
    for seed in range(3):
        if all(apart[name] < allowed[name] for name in one):
            break
        others = moved(seed)
        grown = {name: 3 * (others[name] - value).abs().max().item() for name, value in one.items()}
        allowed = {name: max(allowed[name], grown[name]) for name in one}
    assert {name: allowed[name] for name in one if apart[name] >= allowed[name]} == {}, apart
