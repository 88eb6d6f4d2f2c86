"""Whether samples are training images over again."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ganlib.data.split import Split
from ganlib.evaluation.confidence import Estimate
from ganlib.evaluation.features import Features, tensor_of
from ganlib.evaluation.neighbours import TILE, nearest

LOW = 0.01
"""The share of held-out images that are taken for memorised themselves."""
MIFID_THRESHOLD = 0.1
"""The cosine distance that is in use with Inception's features."""
_LEAST_DISTANCE = 1e-6


def memory_radius(held_out: NDArray[np.float64]) -> float:
    """The `LOW`-quantile of distances [m], one of them: those of real images that the training has not seen.

    Each is from an image to the nearest training image, in any feature space (`neighbours.nearest`).
    """
    return float(np.quantile(held_out, LOW, method="lower"))


def memorised_share(distances: NDArray[np.float64], radius: float) -> Estimate:
    """The share of samples that are closer to a training image than all but the closest percent of real images are.

    distances [n]: as for `memory_radius`, of the samples; radius: what it says of held-out images, below which a sample
    counts as memorised. A generator that draws from the data itself has LOW of them.
    """
    return Estimate.of(distances < radius)


def memorisation_distance(samples: Features, training: Features) -> float:
    """Bai et al. 2021 (arXiv 2106.03062): the mean over samples [n, d] of min_t 1 - |cos(s, t)|, 0 to 1.

    training [m, d]. A sample without any feature (all 0) is at 1 from everything.
    """
    ours, theirs = (torch.nn.functional.normalize(tensor_of(side), dim=1) for side in (samples, training))
    least = 0.0
    for first in range(0, len(ours), TILE):
        rows = ours[first : first + TILE]
        closest = rows.new_zeros(len(rows))
        for start in range(0, len(theirs), TILE):
            closest = torch.maximum(closest, (rows @ theirs[start : start + TILE].T).abs().amax(1))
        least += (1 - closest.double()).clamp(min=0).sum().item()
    return least / len(ours)


def mifid(fid: float, distance: float, threshold: float = MIFID_THRESHOLD) -> float:
    """The memorisation-informed Frechet distance of Bai et al. 2021: the Frechet distance times a penalty.

    distance: `memorisation_distance` of the same samples. The penalty is 1 / (distance + 1e-6) below `threshold`, else
    1. Features of other networks lie at other angles than Inception's, so that a threshold has to be chosen for each:
    `evaluate` takes half the distance of held-out images.
    """
    return fid / (distance + _LEAST_DISTANCE) if distance < threshold else fid


def nearest_in_pixels(images: NDArray[np.uint8], training: Split) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of uint8 [n, H, W, C] the nearest of a split: root mean square of the difference in [0, 1], and row.

    float64 [n], int64 [n]. Reads all of the split, in blocks.
    """
    queries = images.reshape(len(images), -1).astype(np.float32) / 255
    best, rows = np.full(len(images), np.inf), np.zeros(len(images), np.int64)
    for first in range(0, len(training), TILE):
        block = training.take(np.arange(first, min(first + TILE, len(training))))
        apart, at = nearest(queries, block.reshape(len(block), -1).astype(np.float32) / 255)
        closer = apart < best
        best, rows = np.where(closer, apart, best), np.where(closer, at + first, rows)
    return best / np.sqrt(queries.shape[1]), rows
