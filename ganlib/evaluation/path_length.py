"""How far an image moves as its latent does: short paths are what a latent space without tears looks like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganlib.draws import draw_latents, stream_generator
from ganlib.methods.blocks import great_circle

EPSILON = 1e-4
TRIMMED = 0.01
"""The share of the paths left out at either end, as the authors' code does; their paper does not say it."""
BLOCK = 100


def perceptual_path_length(
    generator: Callable[[Tensor], Tensor],
    features: Callable[[Tensor], Tensor],
    dim: int,
    count: int = 10_000,
    seed: int = 0,
    along: Literal["slerp", "lerp"] = "slerp",
    epsilon: float = EPSILON,
    distribution: str = "normal",
) -> float:
    """E |f(G(z(t))) - f(G(z(t + epsilon)))|^2 / epsilon^2 over pairs of latents and t in [0, 1).

    Karras et al. 2019 (arXiv 1812.04948), section 4.1, l_Z: the mean of `path_lengths` between their 1st and 99th
    percentile. generator: latents float32 [n, dim] -> images; features: images -> [n, features], whose squared distance
    stands for the paper's LPIPS. Images have to be as the network gives them: grey levels rounded to 1/255 move by
    nothing, or by a whole level, over so short a way.
    """
    lengths = path_lengths(generator, features, dim, count, seed, along, epsilon, distribution)
    low, high = np.quantile(lengths, [TRIMMED, 1 - TRIMMED])
    return float(lengths[(lengths >= low) & (lengths <= high)].mean())


@torch.no_grad()
def path_lengths(
    generator: Callable[[Tensor], Tensor],
    features: Callable[[Tensor], Tensor],
    dim: int,
    count: int,
    seed: int = 0,
    along: Literal["slerp", "lerp"] = "slerp",
    epsilon: float = EPSILON,
    distribution: str = "normal",
) -> NDArray[np.float64]:
    """float64 [count]: of each path its own, in the order of the seed."""
    between = great_circle if along == "slerp" else torch.lerp
    # In float64, for epsilon is lost beside t in half of float32's digits.
    starts, ends = (
        draw_latents(stream_generator("cpu", seed, "path", end), count, dim, distribution).double()
        for end in ("start", "end")
    )
    t = torch.rand(count, 1, generator=stream_generator("cpu", seed, "path", "t"), dtype=torch.float64)
    found = []
    for first in range(0, count, BLOCK):
        z0, z1, at = (part[first : first + BLOCK] for part in (starts, ends, t))
        latents = torch.cat([between(z0, z1, at), between(z0, z1, at + epsilon)])
        here, there = features(generator(latents.float())).double().chunk(2)
        found.append((there - here).square().flatten(1).sum(1) / epsilon**2)
    return torch.cat(found).numpy()
