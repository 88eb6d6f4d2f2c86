"""Nearest neighbours in feature space, and what they say of fidelity and variety: exact, in tiles of bounded memory.

Two sets of 10,000 features have 10^8 distances; no more than a tile of them, 16 MB in float32, is there at once.
Distances are computed in the features' own precision, about the second set's mean, where least of it is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TILE = 2_048
"""Rows and columns of distances that are there at once."""
STRIPES = 32
"""Parts of a tile's columns, whose least distances are found first."""
MOST_NEIGHBOURS = 5
"""Neighbours that a manifold knows of each point: what density and coverage ask for, and more than precision does."""

Features = NDArray[np.floating]


class PrecisionRecall(NamedTuple):
    """Shares, 0 to 1."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """density: 0 and up, 1 expected where samples are real images; coverage: a share, 0 to 1."""

    density: float
    coverage: float


@dataclass(frozen=True)
class Manifold:
    """Points [n, d], and the distances [n, k] from each to its k nearest others, ascending: the balls about them."""

    points: Features
    distances: Features

    @classmethod
    def of(cls, points: Features, k: int = MOST_NEIGHBOURS) -> Manifold:
        """Raises ValueError for less than k + 1 points."""
        return cls(points, neighbour_distances(points, k))

    def squared_radii(self, k: int) -> Tensor:
        """[n]: the square of the distance to the k-th nearest other."""
        return torch.from_numpy(self.distances[:, k - 1]).square()


def improved_precision_recall(samples: Manifold, reference: Manifold, k: int = 3) -> PrecisionRecall:
    """Kynkaanniemi et al. 2019 (arXiv 1904.06991), eq. 1 and 2, k = 3 as in its section 3.

    Precision: the share of the samples that are in a ball about a point of the reference, which reaches to that point's
    k-th nearest other. Recall: the share of the reference in such a ball about a sample.
    """
    ours, theirs = samples.squared_radii(k), reference.squared_radii(k)
    precise = torch.zeros(len(ours), dtype=torch.bool)
    recalled = torch.zeros(len(theirs), dtype=torch.bool)
    for rows, columns, squares in _tiles(samples.points, reference.points):
        precise[rows] |= (squares <= theirs[columns]).any(1)
        recalled[columns] |= (squares <= ours[rows, None]).any(0)
    return PrecisionRecall(precise.double().mean().item(), recalled.double().mean().item())


def density_coverage(samples: Features, reference: Manifold, k: int = 5) -> DensityCoverage:
    """Naeem et al. 2020 (arXiv 2002.09797); k = 5 is theirs.

    Density: the balls about points of the reference that a sample is in, over k, on average. Coverage: the share of the
    reference with a sample in its ball. Neither believes in balls about samples, where one outlier covers much.
    """
    radii = reference.squared_radii(k)
    closest = torch.full_like(radii, torch.inf)
    inside = 0
    for _, columns, squares in _tiles(samples, reference.points):
        inside += int((squares < radii[columns]).sum())
        closest[columns] = torch.minimum(closest[columns], squares.amin(0))
    return DensityCoverage(inside / (k * len(samples)), (closest < radii).double().mean().item())


def nearest(queries: Features, points: Features) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of each of `queries` [n, d], the distance to the nearest of `points` [m, d], and its index: float64, int64 [n].

    The distance is the difference's own norm, so that of a copy is 0. Of points that are as near, to the rounding of
    the features' precision, any may be named.
    """
    best = torch.full((len(queries),), torch.inf, dtype=_tensor(queries).dtype)
    index = torch.zeros(len(queries), dtype=torch.int64)
    for rows, columns, squares in _tiles(queries, points):
        values, at = (found[:, 0] for found in _smallest(squares, 1))
        closer = values < best[rows]
        best[rows] = torch.where(closer, values, best[rows])
        index[rows] = torch.where(closer, at + columns.start, index[rows])
    apart = np.empty(len(queries))
    for first in range(0, len(queries), TILE):
        rows = slice(first, first + TILE)
        difference = queries[rows].astype(np.float64) - points[index[rows].numpy()]
        apart[rows] = np.linalg.norm(difference, axis=1)
    return apart, index.numpy()


def neighbour_distances(points: Features, k: int) -> Features:
    """[n, k] of `points` [n, d], in their precision: from each to its first ... k-th nearest other, ascending.

    Each distance is computed once for both of its ends. Raises ValueError for less than k + 1 points.
    """
    if len(points) <= k:
        raise ValueError(f"a point has no {k} neighbours among {len(points)} points")
    # A point is its own nearest, at a distance of nothing, which is the first of k + 1.
    best = torch.full((len(points), k + 1), torch.inf, dtype=_tensor(points).dtype)

    def merge(rows: slice, squares: Tensor) -> None:
        found = _smallest(squares, min(k + 1, squares.shape[1]))[0]
        best[rows] = torch.cat([best[rows], found], 1).sort(1).values[:, : k + 1]

    for rows, columns, squares in _tiles(points, points, above=True):
        merge(rows, squares)
        if rows != columns:
            merge(columns, squares.T.contiguous())
    return best[:, 1:].clamp(min=0).sqrt().numpy()


def _tiles(a: Features, b: Features, above: bool = False) -> Iterator[tuple[slice, slice, Tensor]]:
    """Squared distances [rows, columns] of `a` [n, d] to `b` [m, d] tile by tile, rows and columns beside them.

    They may be below 0 by rounding. above: only the tiles that are on the diagonal or above it.
    """
    ours, theirs = _tensor(a), _tensor(b)
    centre = theirs.mean(0)
    ours, theirs = ours - centre, theirs - centre
    # |x - y|^2 = (-2x, |x|^2, 1) (y, 1, |y|^2): the product of matrices is the distances, with nothing to add to it.
    left = torch.cat([-2 * ours, ours.square().sum(1, keepdim=True), ours.new_ones(len(ours), 1)], 1)
    right = torch.cat([theirs, theirs.new_ones(len(theirs), 1), theirs.square().sum(1, keepdim=True)], 1)
    for top in range(0, len(left), TILE):
        rows = slice(top, min(top + TILE, len(left)))
        for start in range(top if above else 0, len(right), TILE):
            columns = slice(start, min(start + TILE, len(right)))
            yield rows, columns, left[rows] @ right[columns].T


def _smallest(tile: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest of each row of `tile` [n, m], ascending, and their columns: [n, k], int64 [n, k].

    The k smallest of a row are in those k of its groups that have the least minima. Minima are found at the speed of
    memory; a selection looks at each number several times, and here at those k groups alone.
    """
    width = tile.shape[1] // STRIPES
    if tile.shape[1] % STRIPES or width < k:
        values, columns = tile.topk(k, largest=False)
        return values, columns
    stripes = tile.view(len(tile), STRIPES, width)  # a group: what is at the same place of each stripe
    groups = stripes.amin(1).topk(k, largest=False).indices  # [n, k]
    candidates = stripes.gather(2, groups[:, None, :].expand(-1, STRIPES, -1)).flatten(1)  # [n, STRIPES * k]
    values, places = candidates.topk(k, largest=False)
    return values, places // k * width + groups.gather(1, places % k)


def _tensor(features: Features) -> Tensor:
    """Shared with the array, unless that cannot be written to."""
    return torch.from_numpy(np.require(features, requirements=["C", "W"]))
