"""Whether samples are training images over again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import beta

from ganlib.data.dataset import Dataset
from ganlib.evaluation.confidence import Estimate
from ganlib.evaluation.extractor import Extractor
from ganlib.evaluation.features import Features, tensor_of
from ganlib.evaluation.findings import drawn_order, reference_findings
from ganlib.evaluation.neighbours import TILE, nearest

LOW = 0.01
"""The share of held-out images that are taken for memorised themselves."""
MIFID_THRESHOLD = 0.1
"""The cosine distance that is in use with Inception's features."""
_LEAST_DISTANCE = 1e-6
BLOCK_BYTES = 128 << 20
"""Of float32 pixels that are compared at once, on either side: a tile of small images, and of 256x256 in colour 170."""


def memory_radius(held_out: NDArray[np.float64]) -> float:
    """The `LOW`-quantile of distances [m], one of them: those of real images that the training has not seen.

    Each is from an image to the nearest training image, in any feature space (`neighbours.nearest`).
    """
    return float(np.sort(held_out)[_rank(len(held_out)) - 1])


def memorised_share(distances: NDArray[np.float64], radius: float) -> Estimate:
    """The share of samples that are closer to a training image than all but the closest percent of real images are.

    distances [n]: as for `memory_radius`, of the samples; radius: what it says of held-out images, below which a sample
    counts as memorised. A generator that draws from the data itself has LOW of them.
    """
    return Estimate.of(distances < radius)


def memorised_by_chance(held_out: int) -> float:
    """The share that a generator which draws from the data itself has below the radius of `held_out` images, at most.

    At most in 99 of 100 draws of those images: of the share below the k-th smallest of m independent distances the
    distribution is Beta(k, m + 1 - k) (David & Nagaraja 2003, Order Statistics, section 2.3). 0.37 of 10 images, 0.045
    of 100: with few of them the radius is their least distance, which is far from any percent.
    """
    return float(beta.ppf(0.99, rank := _rank(held_out), held_out + 1 - rank))


def _rank(held_out: int) -> int:
    """Of the distance that is the radius, among those of `held_out` images; the smallest is 1."""
    return int(LOW * (held_out - 1)) + 1


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


def nearest_in_pixels(
    images: NDArray[np.uint8],
    take: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    among: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of uint8 [n, H, W, C] the nearest training images: root mean square of the difference in [0, 1], and row.

    float64 [n], int64 [n]. take: gives images by their rows, as `Split.take` does; it is asked for blocks. among: the
    rows that are looked at, ascending.
    """
    size = min(TILE, max(BLOCK_BYTES // (4 * images[0].size), 1))
    best, rows = np.full(len(images), np.inf), np.zeros(len(images), np.int64)
    for top in range(0, len(images), size):
        ours = slice(top, top + size)
        queries = _pixels(images[ours])
        for first in range(0, len(among), size):
            taken = among[first : first + size]
            apart, at = nearest(queries, _pixels(take(taken)))
            rows[ours] = np.where(apart < best[ours], taken[at], rows[ours])
            best[ours] = np.minimum(apart, best[ours])
    return best / np.sqrt(images[0].size), rows


def _pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 [n, H * W * C] in [0, 1]."""
    pixels = images.reshape(len(images), -1).astype(np.float32)
    pixels /= 255
    return pixels


def nearest_in_features(
    images: NDArray[np.uint8], dataset: Dataset, extractor: Extractor
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of uint8 [n, H, W, C] the training images nearest by the features of `extractor`: distances, and rows.

    float64 [n], int64 [n]. Among those whose features are kept with the dataset (`reference_findings`).
    """
    features = extractor.features(images)[0].astype(np.float32)
    apart, at = nearest(features, reference_findings(dataset, extractor, "train").features)
    return apart, drawn_order(dataset, "train")[at]
