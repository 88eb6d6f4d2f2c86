"""Penalties on the discriminator, each with its formula and its paper: what a recipe's `penalty` states.

Three sorts: none, a term of the loss made of D's gradient by its input (`GradientPenalty`), and a bound that weights
are put back into (`ClipConfig`). D is what the network puts out, the logit, never a sigmoid of it. "Lazy" penalties
(`every` above 1; Karras et al. 2020, StyleGAN2, appendix B) are taken each `every`-th step at `every` times the weight,
so that over `every` steps they weigh what they would; a bound on weights cannot be, and has no `every`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn

from ganlib.networks.base import Config

if TYPE_CHECKING:
    from ganlib.losses import ObjectiveName

Judge = Callable[[Tensor], Tensor]
"""D: float [n, ...] images to logits, [n] or [n, ...] patches."""

Chance = Callable[[str, tuple[int, ...]], Tensor]
"""chance(name, shape): float32 [n, *shape] of U[0, 1), this worker's rows of what `name` draws for the global batch."""


class _Penalty(Config):
    def check(self, objective: ObjectiveName) -> None:
        """Raises ValueError, with the reason, when the penalty makes no sense under this objective."""


class NoPenalty(_Penalty):
    """The objective alone."""

    kind: Literal["none"] = "none"


class GradientPenalty(_Penalty):
    """A term of the discriminator's loss.

    In a step that is `due`: `terms = penalty.terms(...)`, `loss = loss + penalty.weighted(terms)`, and the terms
    themselves are for the log.
    """

    every: int = Field(1, ge=1)
    fall_from: float = Field(0.5, ge=0, lt=1)
    fall_to: float = Field(1.0, ge=0, le=1)

    def strength(self, done: float) -> float:
        """The share of its weight that the penalty has when the share `done` of the run is over.

        1 up to `fall_from`, then by half a cosine down to `fall_to` at the end: what keeps an early game stable holds
        a late one, of smaller steps, back (R3GAN anneals its gamma so; Huang et al. 2024, appendix).
        """
        late = max(done - self.fall_from, 0) / (1 - self.fall_from)
        return self.fall_to + (1 - self.fall_to) * (1 + math.cos(math.pi * late)) / 2

    def due(self, step: int) -> bool:
        """Whether the discriminator's step of this number, from 0, takes the penalty."""
        return step % self.every == 0

    def terms(self, judge: Judge, real: Tensor, fake: Tensor, chance: Chance) -> dict[str, Tensor]:
        """The expectations by their names, before any weight: scalars, means over these samples, graph kept.

        `real`, `fake`: [n, ...] of one shape, whose own graphs are left alone.
        """
        raise NotImplementedError

    def weighted(self, terms: dict[str, Tensor]) -> Tensor:
        """What the loss takes of `terms`, a scalar: `every` times their weighted sum."""
        return self.every * torch.stack([self._weight(name) * value for name, value in terms.items()]).sum()

    def _weight(self, term: str) -> float:
        raise NotImplementedError


class R1Config(GradientPenalty):
    """gamma / 2 E[||grad_x D(x)||^2] on real images (Mescheder et al. 2018, eq. 9)."""

    kind: Literal["r1"]
    gamma: float = Field(1.0, ge=0)

    def terms(self, judge: Judge, real: Tensor, fake: Tensor, chance: Chance) -> dict[str, Tensor]:
        return {"r1": zero_centred_penalty(judge, real)}

    def _weight(self, term: str) -> float:
        return self.gamma / 2


class R2Config(GradientPenalty):
    """gamma / 2 E[||grad_x D(G(z))||^2] on fakes (Mescheder et al. 2018, eq. 10)."""

    kind: Literal["r2"]
    gamma: float = Field(1.0, ge=0)

    def terms(self, judge: Judge, real: Tensor, fake: Tensor, chance: Chance) -> dict[str, Tensor]:
        return {"r2": zero_centred_penalty(judge, fake.to(real.dtype))}

    def _weight(self, term: str) -> float:
        return self.gamma / 2


class R1R2Config(GradientPenalty):
    """R1 of weight `gamma` and R2 of weight `gamma_fake`, which is `gamma` unless given (R3GAN, Huang et al. 2024)."""

    kind: Literal["r1r2"]
    gamma: float = Field(1.0, ge=0)
    gamma_fake: float | None = Field(None, ge=0)

    def terms(self, judge: Judge, real: Tensor, fake: Tensor, chance: Chance) -> dict[str, Tensor]:
        return {"r1": zero_centred_penalty(judge, real), "r2": zero_centred_penalty(judge, fake.to(real.dtype))}

    def _weight(self, term: str) -> float:
        return (self.gamma if term == "r1" or self.gamma_fake is None else self.gamma_fake) / 2


class LineConfig(GradientPenalty):
    """weight E[(||grad_x D(x_hat)|| - 1)^2], x_hat = t x + (1 - t) G(z), one t of U[0, 1) a pair: WGAN-GP.

    Gulrajani et al. 2017, eq. 3. `one_sided` takes E[max(0, ||grad_x D(x_hat)|| - 1)^2] in its place, which lets slopes
    below 1 be (section 4 there; Petzka et al. 2018).
    """

    kind: Literal["gradient-penalty"]
    weight: float = Field(10.0, ge=0)
    one_sided: bool = False

    def terms(self, judge: Judge, real: Tensor, fake: Tensor, chance: Chance) -> dict[str, Tensor]:
        real, fake = real.detach(), fake.detach().to(real.dtype)
        t = chance("gradient-penalty", _one_a_sample(real)).to(real)
        return {"gradient": _unit_slope(judge, fake + t * (real - fake), self.one_sided)}

    def _weight(self, term: str) -> float:
        return self.weight


class DraganConfig(GradientPenalty):
    """weight E[(||grad_x D(x_hat)|| - 1)^2] close to real images: DRAGAN (Kodali et al. 2017, arXiv 1705.07215).

    x_hat = x + t c s u, with s the standard deviation of all numbers in the global batch of real images (divided by
    their count, not by one less), u of U[0, 1) for each number and t of U[0, 1) for each image. This is what the
    authors' published program does, with c = 0.5; their text adds a delta of N(0, c I) in its place.
    """

    kind: Literal["dragan"]
    weight: float = Field(10.0, ge=0)
    c: float = Field(0.5, gt=0)

    def terms(self, judge: Judge, real: Tensor, fake: Tensor, chance: Chance) -> dict[str, Tensor]:
        real = real.detach()
        t = chance("dragan/share", _one_a_sample(real)).to(real)
        u = chance("dragan/direction", tuple(real.shape[1:])).to(real)
        return {"dragan": _unit_slope(judge, real + t * (self.c * _global_std(real)) * u)}

    def _weight(self, term: str) -> float:
        return self.weight


class ClipConfig(_Penalty):
    """Weights put back into [-bound, bound] after each step, which bounds the critic's slope (Arjovsky et al. 2017).

    The one that is never lazy: it is no term of the loss, to be weighed `every` times as much where it is taken so
    seldom, and weights left alone for some steps are out of their bound in each of them.
    """

    kind: Literal["clip"]
    bound: float = Field(0.01, gt=0)

    def check(self, objective: ObjectiveName) -> None:
        if objective != "wasserstein":
            raise ValueError(
                f"penalty 'clip' does not go with objective {objective!r}: it bounds the slope of a Wasserstein critic "
                "and keeps the logits of any other objective close to 0, whatever they judge; use it with "
                "objective 'wasserstein', or use penalty 'r1', 'gradient-penalty' or 'dragan'"
            )

    @torch.no_grad()
    def apply(self, module: nn.Module) -> None:
        """Clips every parameter of `module` in place, gains of norms included, as the algorithm says. Not buffers."""
        parameters: list[Tensor] = list(module.parameters())
        torch._foreach_clamp_min_(parameters, -self.bound)
        torch._foreach_clamp_max_(parameters, self.bound)


Penalty = Annotated[
    NoPenalty | R1Config | R2Config | R1R2Config | LineConfig | DraganConfig | ClipConfig,
    Field(discriminator="kind"),
]


def zero_centred_penalty(judge: Judge, images: Tensor) -> Tensor:
    """E[||grad_x D(x)||^2], a scalar: R1 on real images, R2 on fakes (Mescheder et al. 2018, eq. 9 and 10).

    `images`: float [n, ...]. The graph is kept for the second backward. Float32 at least, whatever D computes in.
    """
    return _slopes(judge, images).square().sum(1).mean()


def _unit_slope(judge: Judge, points: Tensor, one_sided: bool = False) -> Tensor:
    """E[(||grad_x D(x)|| - 1)^2], of slopes above 1 alone if `one_sided`."""
    # Where the slope is exactly 0, vector_norm passes on a gradient of 0; a sqrt of the sum would pass on nan.
    excess = torch.linalg.vector_norm(_slopes(judge, points), dim=1) - 1
    return (excess.clamp(min=0) if one_sided else excess).square().mean()


def _slopes(judge: Judge, points: Tensor) -> Tensor:
    """grad_x D(x), [n, numbers of an x], at leaves of value `points`. Patches: the gradient of their sum."""
    points = points.detach().requires_grad_(True)
    # Samples do not mix, so the gradient of the sum holds, row by row, each sample's own; under batch statistics, which
    # mix them over all workers, it is the global batch's all the same.
    (slopes,) = torch.autograd.grad(_at_least_float32(judge(points)).sum(), points, create_graph=True)
    return _at_least_float32(slopes).flatten(1)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _one_a_sample(images: Tensor) -> tuple[int, ...]:
    """The shape of one number for a sample, which goes with the numbers that it has."""
    return (1,) * (images.dim() - 1)


@torch.no_grad()
def _global_std(images: Tensor) -> Tensor:
    """The standard deviation, float64, of all numbers in the global batch, of which these are this worker's rows."""
    values = images.double()
    sums = sum_over_workers(torch.stack([values.sum(), values.new_full((), values.numel())]))
    mean = sums[0] / sums[1]
    return (sum_over_workers((values - mean).square().sum()) / sums[1]).sqrt()


def sum_over_workers(values: Tensor) -> Tensor:
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(values)
    return values
