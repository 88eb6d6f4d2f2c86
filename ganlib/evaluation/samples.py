"""What is judged: anything that makes samples by number."""

from __future__ import annotations

from typing import Protocol

import numpy as np

BLOCK = 1_000
"""Samples that are made and judged at once."""


class Samples(Protocol):
    """`ganlib.sampling.Sampler`, or a folder."""

    def sample(self, count: int, seed: int = 0, first: int = 0) -> np.ndarray:
        """uint8 [count, H, W, C]; float32 [count, 1, d, 1] where samples are points."""
