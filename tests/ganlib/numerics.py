"""Derivatives checked by finite differences."""

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
