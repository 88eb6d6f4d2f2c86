"""Features as metrics that look at single ones take them: finite, and where they give the same sums each time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganlib.errors import UserError

Features = NDArray[np.floating]
BROKEN = "features are NaN or infinite: the images, or the extractor's weights, are broken"


def tensor_of(features: Features) -> Tensor:
    """A copy of [n, d] in torch's own memory. Raises UserError where a number is NaN or infinite.

    Products of matrices add up in an order that depends on where their numbers lie in memory: torch's always begins at
    a multiple of 64 bytes, NumPy's anywhere. So the same features give the same metric to the last bit.
    """
    copied = torch.from_numpy(np.require(features, requirements="W")).clone(memory_format=torch.contiguous_format)
    # A sum is finite only if all of it is, and needs no memory; one that is too large for its type is rare.
    if not torch.isfinite(copied.sum()) and not torch.isfinite(copied).all():
        raise UserError(BROKEN)
    return copied
