"""Adversarial objectives, each side a function with its formula and its paper. Penalties are in `penalties.py`.

Everything is written on what the discriminator puts out, its logits `a` (float, any shape, one number a judged image or
patch). A value is the mean over what is judged, a scalar of the logits' dtype; both sides minimise. For the two
cross-entropy forms D = sigmoid(a): `softplus(a) = log(1 + exp(a))`, so that `-log D = softplus(-a)` and
`-log(1 - D) = softplus(a)` without overflow. For the others the logit itself is the D, or the critic f, of the paper.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

ObjectiveName = Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic"]


def discriminator_cross_entropy(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """-E[log D(x)] - E[log(1 - D(G(z)))], the negative of V(D, G) (Goodfellow et al. 2014, eq. 1).

    With smoothing s the target of real images is 1 - s, -E[(1 - s) log D(x) + s log(1 - D(x))], and that of fakes stays
    0: one-sided, so that D* = (1 - s) p_data / (p_data + p_g) keeps no share of p_g above (Salimans et al. 2016, 3.4).
    """
    # softplus(a) = softplus(-a) + a turns the smoothed sum into one softplus and a line.
    return (F.softplus(-real) + smoothing * real).mean() + F.softplus(fake).mean()


def generator_minimax(fake: Tensor, real: Tensor | None = None) -> Tensor:
    """E[log(1 - D(G(z)))], the saturating form (Goodfellow et al. 2014, eq. 1). `real` is not looked at."""
    return -F.softplus(fake).mean()


def generator_non_saturating(fake: Tensor, real: Tensor | None = None) -> Tensor:
    """-E[log D(G(z))]: same fixed point, stronger gradients early (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake).mean()


def discriminator_least_squares(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """1/2 E[(D(x) - b)^2] + 1/2 E[(D(G(z)) - a)^2] with a = 0, b = 1 (Mao et al. 2017, the 0-1 coding of eq. 9).

    With smoothing s, b = 1 - s. At the optimum D* = b p_data / (p_data + p_g).
    """
    return (real - (1 - smoothing)).square().mean() / 2 + fake.square().mean() / 2


def generator_least_squares(fake: Tensor, real: Tensor | None = None) -> Tensor:
    """1/2 E[(D(G(z)) - c)^2] with c = 1 (Mao et al. 2017, eq. 9)."""
    return (fake - 1).square().mean() / 2


def discriminator_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] (Lim & Ye 2017; Miyato et al. 2018, eq. 16)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def discriminator_wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    """E[f(G(z))] - E[f(x)], minus a lower bound of W(p_data, p_g) if f is 1-Lipschitz (Arjovsky et al. 2017, eq. 2)."""
    return fake.mean() - real.mean()


def generator_critic(fake: Tensor, real: Tensor | None = None) -> Tensor:
    """-E[f(G(z))], of Wasserstein (Arjovsky et al. 2017, theorem 3) and of hinge (Miyato et al. 2018, eq. 17)."""
    return -fake.mean()


def discriminator_relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """E[softplus(-(D(x) - D(G(z))))], each fake judged against its real partner, row by row.

    RpGAN (Jolicoeur-Martineau 2019, arXiv 1807.00734 and 1901.02474), which is R3GAN's E[f(D(G(z)) - D(x))] with
    f(t) = -log(1 + exp(-t)), maximised (Huang et al. 2024, eq. 2). ValueError unless both have one shape.
    """
    return F.softplus(-_pairs(real, fake)).mean()


def generator_relativistic(fake: Tensor, real: Tensor | None = None) -> Tensor:
    """E[softplus(-(D(G(z)) - D(x)))], the same with the sides exchanged. ValueError unless both have one shape."""
    if real is None:
        raise ValueError(
            "the relativistic objective judges fakes against real images: its generator needs their logits"
        )
    return F.softplus(_pairs(real, fake)).mean()


def _pairs(real: Tensor, fake: Tensor) -> Tensor:
    # [n] - [n, 1] would be broadcast, and train on pairs that nobody meant.
    if real.shape != fake.shape:
        raise ValueError(f"relativistic pairs: {tuple(real.shape)} real and {tuple(fake.shape)} fake logits")
    return real - fake


def _as_it_is(logits: Tensor) -> Tensor:
    return logits


def _clamped(logits: Tensor) -> Tensor:
    return logits.clamp(0, 1)


class _Smoothed(Protocol):
    def __call__(self, real: Tensor, fake: Tensor, smoothing: float) -> Tensor: ...


@dataclass(frozen=True)
class Objective:
    """Both sides of one game.

    `discriminator(real, fake)` and `generator(fake, real)` take logits and give a scalar to minimise. The generator of
    an objective that `needs_real` is given the logits of the real images too; the others ignore them.

    `reading(logits)`, of the logits' shape, is what the log shows as d_real and d_fake. With `probability` it is the D
    of the theory, an estimate of p_data / (p_data + p_g) in [0, 1] that is 1/2 once p_g = p_data: sigmoid(a) for
    cross-entropy; for least squares a itself, which is that ratio at the optimum, clamped to [0, 1]. Without it, it is
    the logit: for hinge, whose margins are at -1 and 1; for Wasserstein, in the critic's own units, d_real - d_fake
    estimating the distance; for relativistic pairing, where logits mean nothing but by their differences,
    sigmoid(d_real - d_fake) being how sure D is of a middling pair.

    `undecided` is the logit at which D takes an image for real as much as for fake: where the reading is a probability,
    that of 1/2; for hinge the middle of its margins. None where a logit says nothing by itself: a critic's, and a
    pair's, may be moved by any constant.

    `smoothed` is the discriminator's loss with a target of 1 - smoothing for real images, where there is one.
    """

    name: ObjectiveName
    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor | None], Tensor]
    reading: Callable[[Tensor], Tensor]
    probability: bool
    undecided: float | None
    needs_real: bool = False
    smoothed: _Smoothed | None = None

    def check(self, smoothing: float) -> None:
        """Raises ValueError, with the reason, when labels cannot be smoothed so."""
        if not 0 <= smoothing < 0.5:
            raise ValueError(f"label smoothing is {smoothing}: it has to be at least 0 and below 0.5")
        if smoothing and self.smoothed is None:
            able = ", ".join(repr(name) for name, one in OBJECTIVES.items() if one.smoothed)
            raise ValueError(f"objective {self.name!r} has no labels to smooth (those of {able} have)")

    def with_smoothing(self, smoothing: float) -> Objective:
        """This objective with one-sided label smoothing. Raises ValueError where it has none."""
        self.check(smoothing)
        if not smoothing or self.smoothed is None:
            return self
        return replace(self, discriminator=partial(self.smoothed, smoothing=smoothing))


OBJECTIVES: dict[ObjectiveName, Objective] = {
    objective.name: objective
    for objective in (
        Objective(
            "minimax",
            discriminator_cross_entropy,
            generator_minimax,
            torch.sigmoid,
            probability=True,
            undecided=0.0,
            smoothed=discriminator_cross_entropy,
        ),
        Objective(
            "non-saturating",
            discriminator_cross_entropy,
            generator_non_saturating,
            torch.sigmoid,
            probability=True,
            undecided=0.0,
            smoothed=discriminator_cross_entropy,
        ),
        Objective(
            "least-squares",
            discriminator_least_squares,
            generator_least_squares,
            _clamped,
            probability=True,
            undecided=0.5,
            smoothed=discriminator_least_squares,
        ),
        Objective("hinge", discriminator_hinge, generator_critic, _as_it_is, probability=False, undecided=0.0),
        Objective(
            "wasserstein", discriminator_wasserstein, generator_critic, _as_it_is, probability=False, undecided=None
        ),
        Objective(
            "relativistic",
            discriminator_relativistic,
            generator_relativistic,
            _as_it_is,
            probability=False,
            undecided=None,
            needs_real=True,
        ),
    )
}
