"""What sampling shares: latents by index, whole blocks, and what lies between what one asks for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ganlib.draws import draw_latents, stream_generator

SAMPLE_BLOCK = 64
"""Latents of samples are drawn, and images made, in blocks of this many, so that each is a function of its index."""


def latents_of(seed: int, first: int, count: int, dim: int, distribution: str) -> Tensor:
    """float32 [count, dim] on the CPU: rows `first ...` of the endless sequence that `seed` stands for."""
    blocks = range(first // SAMPLE_BLOCK, -(-(first + count) // SAMPLE_BLOCK))
    drawn = [
        draw_latents(stream_generator("cpu", seed, "sample", block), SAMPLE_BLOCK, dim, distribution)
        for block in blocks
    ]
    start = first - blocks.start * SAMPLE_BLOCK
    return torch.cat(drawn)[start : start + count]


def between(codes: Tensor, steps: int) -> Tensor:
    """[k, ...] -> [k + (k - 1) * steps, ...]: the codes, and `steps` evenly spaced ones between each two of them."""
    weights = torch.arange(steps + 1, device=codes.device) / (steps + 1)  # 0 ... below 1
    weights = weights.view(-1, *[1] * (codes.dim() - 1))
    line = torch.lerp(codes[:-1, None], codes[1:, None], weights)  # [k - 1, steps + 1, ...]
    return torch.cat([line.flatten(0, 1), codes[-1:]])


def great_circle(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """(sin((1 - t) w) a + sin(t w) b) / sin w, w the angle between a and b: [n, d] twice and t [n, 1] -> [n, d].

    Shoemake 1985. Where both have one direction it is the straight line.
    """
    angle = torch.acos(torch.nn.functional.cosine_similarity(a, b, dim=1).clamp(-1, 1))[:, None]
    sine = angle.sin()
    arc = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / sine
    return torch.where(sine > 1e-6, arc, torch.lerp(a, b, t))


def in_blocks(function: Callable[..., Tensor], *rows: Tensor, size: int = SAMPLE_BLOCK) -> Tensor:
    """`function` of whole blocks of `size` rows of each tensor, [n, ...] -> [n, ...].

    Kernels round by the size of the batch, and the last grey level would tell.
    """
    made = []
    for block in zip(*(tensor.split(size) for tensor in rows), strict=True):
        count = len(block[0])
        whole = [torch.cat([part, part.new_zeros(size - count, *part.shape[1:])]) for part in block]
        made.append(function(*whole)[:count])
    return torch.cat(made)
