"""Derivatives checked by finite differences; runs compared where rounding grows."""

from __future__ import annotations

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


def one_float_higher(network: nn.Module) -> None:
    """Moves every weight by the least that there is."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.nextafter(parameter, torch.full_like(parameter, torch.inf)))


def assert_as_one(two: dict[str, Tensor], one: dict[str, Tensor], moved: dict[str, Tensor], bound: float) -> None:
    """Metrics [steps] of two workers are those of one to `bound`, of the metric's size where that is above 1.

    Past the first four steps rounding may have grown: then it is as far as it grows in one worker, where a last bit
    of the weights is all that differs (`moved`), times 3.
    """
    assert two.keys() == one.keys()
    for metric, values in one.items():
        scale = values.abs().max().clamp(min=1).item()
        apart, rounding = (two[metric] - values).abs(), (moved[metric] - values).abs().max().item()
        assert apart[:4].max() < bound * scale, (metric, apart[:4])
        assert apart.max() < max(bound * scale, 3 * rounding), (metric, apart, rounding)
