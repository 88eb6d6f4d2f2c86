"""Schedules in closed form, optimizers against torch's, the moving average's half-life."""

import copy
import math

import pytest
import torch
from torch import nn

from ganlib.networks.layers import BatchNorm
from ganlib.training.optimizers import EMA_RAMP, SGD, Adam, AnyOptimizer, Decay, RMSprop, update_average
from ganlib.training.side import Side
from ganlib.training.world import World


def test_decays_in_closed_form() -> None:
    linear, cosine = (Decay.model_validate({"kind": kind, "start": 0.2, "floor": 0.1}) for kind in ("linear", "cosine"))
    for decay in (linear, cosine):
        assert [decay.factor(done) for done in (0, 0.1, 0.2)] == [1, 1, 1]
        assert decay.factor(1) == pytest.approx(0.1)
        assert decay.factor(1.5) == pytest.approx(0.1)  # the last round may end past the last image
        assert decay.factor(0.6) == pytest.approx(0.55)  # half of the fall at half of the time
    assert linear.factor(0.4) == pytest.approx(1 - 0.9 / 4)
    # At a third of the fall the cosine of 60 degrees is a half.
    assert cosine.factor(0.2 + 0.8 / 3) == pytest.approx(1 - 0.9 * (1 - 0.5) / 2)
    assert {Decay().factor(done / 10) for done in range(11)} == {1.0}


def reference(config: AnyOptimizer, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """What the config means, in torch's plain (not fused) implementations."""
    if isinstance(config, Adam):
        return torch.optim.Adam(parameters, config.lr, config.betas, config.eps, foreach=False, fused=False)
    if isinstance(config, SGD):
        return torch.optim.SGD(parameters, config.lr, config.momentum)
    return torch.optim.RMSprop(parameters, config.lr, config.alpha, config.eps)


@pytest.mark.parametrize(
    "config",
    [
        Adam(lr=1e-2),
        Adam(lr=1e-2, betas=(0.5, 0.99), eps=1e-7),
        SGD(kind="sgd", lr=1e-2, momentum=0.5),
        RMSprop(kind="rmsprop", lr=1e-2, alpha=0.9),
    ],
    ids=["adam", "adam-gan", "sgd", "rmsprop"],
)
def test_a_side_steps_as_torchs_optimizer_does(config: AnyOptimizer) -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1))
    theirs = copy.deepcopy(ours)
    side, optimizer = Side(ours, config, World()), reference(config, list(theirs.parameters()))
    for _ in range(20):
        x = torch.randn(8, 5)
        norm = side.step(ours(x).square().mean(), share=1, rate=side.rate(0))
        optimizer.zero_grad()
        theirs(x).square().mean().backward()
        gradient = torch.cat([p.grad.flatten() for p in theirs.parameters() if p.grad is not None])
        torch.testing.assert_close(norm, gradient.norm())
        optimizer.step()
    for mine, reference_weight in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, reference_weight, atol=1e-6, rtol=1e-5)


def test_weight_decay_of_adam_is_decoupled() -> None:
    """Without a gradient each step multiplies the weight by 1 - lr * decay (Loshchilov & Hutter 2019, algorithm 2)."""
    weight = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        weight.weight.fill_(3.0)
    side = Side(weight, Adam(lr=0.1, weight_decay=0.2), World())
    for _ in range(5):
        side.step(weight(torch.zeros(1, 1)).sum(), share=1, rate=side.rate(0))
    assert weight.weight.item() == pytest.approx(3 * (1 - 0.1 * 0.2) ** 5)


def test_the_learning_rate_follows_the_decay() -> None:
    """Plain gradient descent on a gradient of 1 moves by exactly the learning rate."""
    weight = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        weight.weight.zero_()
    side = Side(weight, SGD(kind="sgd", lr=0.5, decay=Decay(kind="linear", floor=0.5)), World())
    for progress, expected in ((0.0, -0.5), (0.5, -0.5 - 0.375), (1.0, -0.5 - 0.375 - 0.25)):
        side.step(weight(torch.ones(1, 1)).sum(), share=1, rate=side.rate(progress))
        assert weight.weight.item() == pytest.approx(expected)


def test_a_share_of_the_batch_weighs_the_gradient() -> None:
    weight = nn.Linear(1, 1, bias=False)
    before = weight.weight.item()
    side = Side(weight, SGD(kind="sgd", lr=1.0), World())
    norm = side.step(weight(torch.ones(1, 1)).sum(), share=0.25, rate=side.rate(0))
    assert norm.item() == 0.25
    assert weight.weight.item() == pytest.approx(before - 0.25)


def test_frozen_lets_gradients_through_and_keeps_none() -> None:
    layer = nn.Linear(3, 1)
    side, x = Side(layer, SGD(kind="sgd", lr=1.0), World()), torch.ones(2, 3, requires_grad=True)
    with side.frozen():
        layer(x).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(x.grad, layer.weight.detach().expand(2, 3))
    assert all(parameter.requires_grad for parameter in layer.parameters())


def constant(value: float) -> nn.Module:
    """A module of a weight and buffers, all of them `value`."""
    module = BatchNorm(3)
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data.fill_(value)
    return module


@pytest.mark.parametrize("batch", [16, 64, 320])
def test_after_a_half_life_the_average_has_gone_half_of_the_way(batch: int) -> None:
    half_life = 960
    average, current = constant(0.0), constant(1.0)
    seen = int(half_life / EMA_RAMP)  # from here on the ramp is over
    for step in range(1, half_life // batch + 1):
        update_average(average, current, batch, seen + step * batch, half_life)
    for tensor in (*average.parameters(), *average.buffers()):
        torch.testing.assert_close(tensor.data, torch.full((3,), 0.5))


def test_on_the_ramp_the_half_life_is_a_share_of_the_images_seen() -> None:
    average = constant(0.0)
    update_average(average, constant(1.0), 64, 1280, half_life=1e6)
    expected = 1 - math.pow(0.5, 64 / (0.05 * 1280))
    assert next(average.parameters())[0].item() == pytest.approx(expected)
