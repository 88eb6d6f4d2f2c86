"""Optimizers, learning-rate schedules and the moving average, as a recipe states them."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from ganlib.networks.base import Config


class Decay(Config):
    """The learning rate's factor over the run: 1 until the share `start` of it, then down to `floor` at its end."""

    kind: Literal["constant", "linear", "cosine"] = "constant"
    start: float = Field(0.0, ge=0, lt=1)
    floor: float = Field(0.0, ge=0, le=1)

    def factor(self, progress: float) -> float:
        """The factor in [floor, 1] at `progress`, the share of the run in [0, 1] that is done."""
        if self.kind == "constant" or progress <= self.start:
            return 1.0
        t = min((progress - self.start) / (1 - self.start), 1.0)
        fall = t if self.kind == "linear" else (1 - math.cos(math.pi * t)) / 2
        return 1 - (1 - self.floor) * fall


class _Optimizer(Config):
    lr: float = Field(gt=0, le=10)
    weight_decay: float = Field(0.0, ge=0)
    decay: Decay = Decay()


class Adam(_Optimizer):
    """Kingma & Ba 2015; decoupled weight decay (Loshchilov & Hutter 2019) where it is not 0."""

    kind: Literal["adam"] = "adam"
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)

    def build(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            parameters,
            self.lr,
            self.betas,
            self.eps,
            weight_decay=self.weight_decay,
            fused=True,
            capturable=_on_gpu(parameters),
        )


class SGD(_Optimizer):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"]
    momentum: float = Field(0.0, ge=0, lt=1)

    def build(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, self.lr, self.momentum, weight_decay=self.weight_decay)


class RMSprop(_Optimizer):
    """Tieleman & Hinton 2012."""

    kind: Literal["rmsprop"]
    alpha: float = Field(0.99, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)

    def build(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(
            parameters,
            self.lr,
            self.alpha,
            self.eps,
            weight_decay=self.weight_decay,
            capturable=_on_gpu(parameters),
        )


def _on_gpu(parameters: list[nn.Parameter]) -> bool:
    """Whether steps may be recorded (`ganlib.training.replay`), for which their count has to be on the device too."""
    return parameters[0].is_cuda


AnyOptimizer = Annotated[Adam | SGD | RMSprop, Field(discriminator="kind")]

EMA_RAMP = 0.05
"""The half-life never exceeds this share of the images seen, so that the average forgets the first weights early on
(Karras et al. 2020, StyleGAN2-ADA's `ema_rampup`)."""


@torch.no_grad()
def update_average(average: nn.Module, current: nn.Module, images: int, images_seen: int, half_life: float) -> None:
    """Moves `average` towards `current` by a step of `images`; an exponential average of half-life `half_life` images.

    Buffers (the statistics of batch norm) are averaged as the weights are: they have to fit the averaged weights.
    """
    half_life = min(half_life, EMA_RAMP * images_seen)
    weight = 1 - 0.5 ** (images / half_life)
    ours, theirs = [*average.parameters(), *average.buffers()], [*current.parameters(), *current.buffers()]
    torch._foreach_lerp_([x.data for x in ours], [x.data for x in theirs], weight)
