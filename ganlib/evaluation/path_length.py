"""How far an image moves as its latent does: short paths are what a latent space without tears looks like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganlib.draws import draw_latents, stream_generator
from ganlib.evaluation.confidence import Estimate
from ganlib.evaluation.extractor import Extractor
from ganlib.methods.blocks import great_circle
from ganlib.methods.noise_to_image import NoiseToImage
from ganlib.sampling import Sampler

Generator = Callable[[Tensor, Tensor], Tensor]
"""Latents float32 [n, dim], and the number of the path that each is on, int64 [n] -> images."""

EPSILON = 1e-4
TRIMMED = 0.01
"""The share of the paths left out at either end, as the authors' code does; their paper does not say it."""
BLOCK = 100
SAMPLES_A_PATH = 20
"""Samples of an evaluation for each path that it takes: two images each, a tenth of its work."""
FEWEST_PATHS = 16


def path_metrics(sampler: Sampler, extractor: Extractor, samples: int, seed: int) -> dict[str, float]:
    """`path_length/E` of a generator of images from noise and `path_length_se/E`, E being the label of `extractor`.

    The features of `extractor` stand for the paper's LPIPS, so numbers of different E cannot be compared. Paths are on
    great circles where latents are normal, else straight; path i is of class i, if there are classes, in turn. Of how
    many, goes by the `samples` of the evaluation. {} for other methods, for points, and for an extractor that reads
    whole grey levels alone. Real images have no latents, and so there is no floor.
    """
    method = sampler.method
    if not isinstance(method, NoiseToImage) or method.points or not extractor.takes_floats:
        return {}

    def images(latents: Tensor, paths: Tensor) -> Tensor:
        return method.at(sampler.generator, latents, paths)

    def features(made: Tensor) -> Tensor:
        return torch.from_numpy(extractor.features(made.permute(0, 2, 3, 1).contiguous().numpy())[0])

    latent, paths = method.latent, max(samples // SAMPLES_A_PATH, FEWEST_PATHS)
    along: Literal["slerp", "lerp"] = "slerp" if latent.distribution == "normal" else "lerp"
    found = perceptual_path_length(images, features, latent.dim, paths, seed, along, distribution=latent.distribution)
    return {f"path_length/{extractor.label}": found.value, f"path_length_se/{extractor.label}": found.error}


def perceptual_path_length(
    generator: Generator,
    features: Callable[[Tensor], Tensor],
    dim: int,
    count: int = 10_000,
    seed: int = 0,
    along: Literal["slerp", "lerp"] = "slerp",
    epsilon: float = EPSILON,
    distribution: str = "normal",
) -> Estimate:
    """E |f(G(z(t))) - f(G(z(t + epsilon)))|^2 / epsilon^2 over pairs of latents and t in [0, 1).

    Karras et al. 2019 (arXiv 1812.04948), section 4.1, l_Z: the mean of `path_lengths` between their 1st and 99th
    percentile, and its standard error. features: images -> [n, features], whose squared distance stands for the paper's
    LPIPS. Images have to be as the network gives them: grey levels rounded to 1/255 move by nothing, or by a whole
    level, over so short a way.
    """
    lengths = path_lengths(generator, features, dim, count, seed, along, epsilon, distribution)
    low, high = np.quantile(lengths, [TRIMMED, 1 - TRIMMED])
    return Estimate.of(lengths[(lengths >= low) & (lengths <= high)])


@torch.no_grad()
def path_lengths(
    generator: Generator,
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
        paths = torch.arange(first, first + len(at)).repeat(2)
        here, there = features(generator(latents.float(), paths)).double().chunk(2)
        found.append((there - here).square().flatten(1).sum(1) / epsilon**2)
    return torch.cat(found).numpy()
