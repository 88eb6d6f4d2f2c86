"""Made in whole blocks, so that what is made of a row is a function of it alone, whatever else is asked for with it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SAMPLE_BLOCK = 64
"""Latents of samples are drawn, and images made, in blocks of this many, so that each is a function of its index."""


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
