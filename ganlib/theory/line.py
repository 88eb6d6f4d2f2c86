"""A game on a line, looked at: from networks to the densities and functions that the theory speaks of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ganlib.data.sources.gaussians import GaussianMixture
from ganlib.theory.densities import Values, distance_to_optimum, js_divergence, optimal_discriminator, value

BLOCK = 1 << 15
"""Points that go through a network at once."""


@dataclass(frozen=True)
class Line:
    """`cells` cells of one width from `low` to `high`: the grid that densities are known on."""

    low: float
    high: float
    cells: int = 1024

    @property
    def dx(self) -> float:
        return (self.high - self.low) / self.cells

    @property
    def x(self) -> Values:
        """float64 [cells], the centres."""
        return self.low + self.dx * (np.arange(self.cells, dtype=np.float64) + 0.5)

    @classmethod
    def around(cls, truth: GaussianMixture, sigmas: float = 8.0) -> Line:
        """A line past every mode of a one-dimensional `truth` by so many of its standard deviations."""
        ends = [(mean + side * sigmas * sigma) for (mean,), sigma in zip(truth.means, truth.sigmas, strict=True)
                for side in (-1, 1)]  # fmt: skip
        return cls(min(ends), max(ends))


@dataclass(frozen=True)
class Look:
    """What one moment of training is, on the centres of `line`: float64 [cells] each.

    `latents`, `images`: float64 [k], z evenly over [-1, 1] and x = G(z).
    """

    line: Line
    p_data: Values
    p_g: Values
    d: Values
    latents: Values
    images: Values

    @property
    def d_star(self) -> Values:
        """The best discriminator against this generator."""
        return optimal_discriminator(self.p_data, self.p_g)

    @property
    def figures(self) -> dict[str, float]:
        """`distance` (mean |D - D*|), `js` (of p_data and p_g, in nats) and `value` (V(D, G))."""
        dx = self.line.dx
        return {
            "distance": distance_to_optimum(self.d, self.p_data, self.p_g, dx),
            "js": js_divergence(self.p_data, self.p_g, dx),
            "value": value(self.d, self.p_data, self.p_g, dx),
        }


def look(
    generator: nn.Module,
    discriminator: nn.Module,
    reading: Callable[[Tensor], Tensor],
    truth: GaussianMixture,
    line: Line,
) -> Look:
    """Looks at G: [n, 1] -> [n, 1, 1, 1] with z ~ U[-1, 1], and at D: [n, 1, 1, 1] -> [n] logits, `reading` them."""
    logits = _through(discriminator, torch.from_numpy(line.x).float().view(-1, 1, 1, 1))
    latents = torch.from_numpy(even_latents(400)).float()
    return Look(
        line,
        truth.density(line.x),
        pushed_density(generator, line),
        reading(logits.double()).numpy(),
        latents.double().numpy(),
        _through(generator, latents.view(-1, 1)).double().flatten().numpy(),
    )


def even_latents(count: int) -> Values:
    """float64 [count], the centres of `count` equal parts of [-1, 1]: U[-1, 1] without its chance."""
    return (2 * np.arange(count) + 1) / count - 1


def pushed_density(generator: nn.Module, line: Line, count: int = 1 << 18) -> Values:
    """float64 [cells], the mean of p_g over each cell of `line`, for z ~ U[-1, 1].

    Each of `count` equal parts of z carries the mass 1 / count to G of its centre, and each cell counts what it got.
    Where G is monotone, as many centres as belong to a cell hit it, but for one at either end: the error of a cell's
    mass is at most 2 / count for each branch of G through it, so of the density 2 / (count dx) a branch (9e-4 on a cell
    of 1/120, the default on the known mixture), and that of the whole, being of changing sign, is far smaller. What
    lies past an end of the line is counted to the last cell: of use to JS, where all such mass counts alike.
    """
    points = _through(generator, torch.from_numpy(even_latents(count)).float().view(-1, 1))
    cells = np.clip(np.floor((points.double().flatten().numpy() - line.low) / line.dx), 0, line.cells - 1)
    return np.bincount(cells.astype(np.int64), minlength=line.cells) / (count * line.dx)


@torch.no_grad()
def _through(network: nn.Module, inputs: Tensor) -> Tensor:
    """`network` of float32 [n, ...], in eval mode, on the CPU, a block at a time."""
    training, device = network.training, next(network.parameters(), inputs).device
    network.eval()
    found = torch.cat([network(block.to(device)).cpu() for block in inputs.split(BLOCK)])
    network.train(training)
    return found
