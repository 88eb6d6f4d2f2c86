"""How sharp images are, whatever they show: blur is what a discriminator's absence looks like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue: ITU-R BT.601's grey."""

LEAST_SIDE = 3
"""Pixels that it takes to have a neighbour on either side."""


def laplacian_variance(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """uint8 [n, H, W, C], C 1 or 3, `LEAST_SIDE` pixels and more a side -> float64 [n], of grey levels in [0, 1].

    The variance over an image of its Laplacian, the four neighbours less four times the pixel, wherever all four are
    inside: LAPV of Pertuz et al. 2013, "Analysis of focus measure operators for shape-from-focus", after Pech-Pacheco
    et al. 2000. Blur takes from it, noise adds to it: a score is the ratio to the data's own.
    """
    grey = images[..., 0] / 255 if images.shape[3] == 1 else images @ np.asarray(LUMA) / 255  # float64 [n, H, W]
    middle = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return (around - 4 * middle).var((1, 2))
