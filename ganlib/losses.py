"""Adversarial objectives and penalties, each a function with its formula and its paper.

Everything is written on the discriminator's logits `a` (float, any shape, one number a judged image or patch), with
D = sigmoid(a). A value is the mean over what is judged; both sides minimise. `softplus(a) = log(1 + exp(a))`, so that
`-log D = softplus(-a)` and `-log(1 - D) = softplus(a)` without overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Objective = Literal["minimax", "non-saturating"]


def discriminator_cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """-E[log D(x)] - E[log(1 - D(G(z)))], the negative of V(D, G) (Goodfellow et al. 2014, eq. 1)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_minimax(fake: Tensor) -> Tensor:
    """E[log(1 - D(G(z)))], the saturating form (Goodfellow et al. 2014, eq. 1)."""
    return -F.softplus(fake).mean()


def generator_non_saturating(fake: Tensor) -> Tensor:
    """-E[log D(G(z))]: same fixed point, stronger gradients early (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake).mean()


GENERATOR_LOSSES: dict[Objective, Callable[[Tensor], Tensor]] = {
    "minimax": generator_minimax,
    "non-saturating": generator_non_saturating,
}


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """E[||grad_x D(x)||^2] on real images, a scalar; the loss takes gamma / 2 of it (Mescheder et al. 2018, eq. 9).

    `real`: float [N, C, H, W]. The graph is kept for the second backward.
    """
    real = real.detach().requires_grad_(True)
    logits = discriminator(real)
    (gradient,) = torch.autograd.grad(logits.float().sum(), real, create_graph=True)
    return gradient.float().square().flatten(1).sum(1).mean()
