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

from ganlib.evaluation.features import Features, tensor_of

TILE = 2_048
"""Rows and columns of distances that are there at once."""
HALF_TILE = 1_024
"""The same of a set's distances to itself: of a tile on the diagonal every distance is computed twice."""
STRIPES = 32
"""Parts of a tile's columns, whose least distances are found first."""
MOST_NEIGHBOURS = 5
"""Neighbours that a manifold knows of each point: what density and coverage ask for, and more than precision does."""

PRECISION_NEIGHBOURS, DENSITY_NEIGHBOURS = 3, 5
"""Neighbours that a ball reaches to: as Kynkaanniemi et al. and as Naeem et al. have it."""


class Scores(NamedTuple):
    """precision, recall, coverage: shares, 0 to 1; density: 0 and up, 1 expected where samples are real images."""

    precision: float
    recall: float
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


@dataclass(frozen=True)
class Overlap:
    """Which of samples and reference lie in each other's balls, the samples being in disjoint splits.

    sizes, precise, inside: int64 [splits]: of each its samples, those in a ball about a point of the reference, and the
    balls (of `DENSITY_NEIGHBOURS`) that these are in. recalled, covered: bool [splits, m]: whether a point of the
    reference is in a ball about a sample of that split; whether such a sample is in the point's own.
    """

    sizes: NDArray[np.int64]
    precise: NDArray[np.int64]
    inside: NDArray[np.int64]
    recalled: NDArray[np.bool_]
    covered: NDArray[np.bool_]
    wide: int

    def scores(self, without: int | None = None) -> Scores:
        """Of all the samples; or without those of one split, the other samples' balls being as they are.

        Precision: the share of the samples in a ball about a point of the reference, which reaches to that point's
        k-th nearest other; recall: the share of the reference in such a ball about a sample (Kynkaanniemi et al. 2019,
        arXiv 1904.06991, eq. 1 and 2). Density: the balls about points of the reference that a sample is in, over k, on
        average; coverage: the share of the reference with a sample in its ball (Naeem et al. 2020, arXiv 2002.09797),
        neither of which believes in balls about samples, where one outlier covers much.
        """
        kept = np.arange(len(self.sizes)) != without
        count = self.sizes[kept].sum()
        return Scores(
            float(self.precise[kept].sum() / count),
            float(self.recalled[kept].any(0).mean()),
            float(self.inside[kept].sum() / (self.wide * count)),
            float(self.covered[kept].any(0).mean()),
        )


def overlap(
    samples: Manifold,
    reference: Manifold,
    splits: int = 1,
    k: int = PRECISION_NEIGHBOURS,
    wide: int = DENSITY_NEIGHBOURS,
) -> Overlap:
    """One pass over the distances between the two. k: of precision and recall; wide: of density and coverage.

    splits: disjoint parts of the samples by their order, of sizes as equal as can be.
    """
    count, ours, narrow, broad = (
        len(samples.points), samples.squared_radii(k), reference.squared_radii(k), reference.squared_radii(wide)
    )  # fmt: skip
    precise = torch.zeros(count, dtype=torch.bool)
    inside = torch.zeros(count, dtype=torch.int64)
    recalled = torch.zeros(splits, len(narrow), dtype=torch.bool)
    covered = torch.zeros(splits, len(narrow), dtype=torch.bool)
    ends = -(-np.arange(splits + 1) * count // splits)  # sample i is in split i * splits // count
    for rows, columns, squares in _tiles(samples.points, reference.points):
        # A least difference is found at the speed of memory, any of some comparisons is not.
        precise[rows] |= (squares - narrow[columns]).amin(1) <= 0
        inside[rows] += (squares < broad[columns]).sum(1)
        for split in range(splits):
            part = slice(*np.clip(ends[split : split + 2], rows.start, rows.stop))
            if part.start < part.stop:
                own = squares[part.start - rows.start : part.stop - rows.start]
                recalled[split, columns] |= (own - ours[part, None]).amin(0) <= 0
                covered[split, columns] |= own.amin(0) < broad[columns]
    sums = (np.add.reduceat(each.numpy().astype(np.int64), ends[:-1]) for each in (precise, inside))
    return Overlap(np.diff(ends), *sums, recalled.numpy(), covered.numpy(), wide)


def nearest(queries: Features, points: Features) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of each of `queries` [n, d], the distance to the nearest of `points` [m, d], and its index: float64, int64 [n].

    The distance is the difference's own norm, so that of a copy is 0. Of points that are as near, to the rounding of
    the features' precision, any may be named.
    """
    best = torch.full((len(queries),), torch.inf, dtype=tensor_of(queries[:1]).dtype)
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
    best = torch.full((len(points), k + 1), torch.inf, dtype=tensor_of(points[:1]).dtype)

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
    tile = HALF_TILE if above else TILE
    theirs = tensor_of(b)
    centre = theirs.mean(0)
    theirs -= centre
    ours = theirs if a is b else tensor_of(a).sub_(centre)
    # |x - y|^2 = (-2x, |x|^2, 1) (y, 1, |y|^2): the product of matrices is the distances, with nothing to add to it.
    right = torch.cat([theirs, theirs.new_ones(len(theirs), 1), theirs.square().sum(1, keepdim=True)], 1)
    for top in range(0, len(ours), tile):
        rows = slice(top, min(top + tile, len(ours)))
        x = ours[rows]
        left = torch.cat([-2 * x, x.square().sum(1, keepdim=True), x.new_ones(len(x), 1)], 1)
        for start in range(top if above else 0, len(right), tile):
            columns = slice(start, min(start + tile, len(right)))
            yield rows, columns, left @ right[columns].T


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
