"""Maps into boxes and out of them, as GAWWN does it (Reed et al. 2016, arXiv 1610.02454, section 4.1).

A box is upright, so what a spatial transformer does with a sampling grid is here one interpolation along each side, two
products of matrices. They can be differentiated any number of times, which gradient penalties on D want and torch's
grid_sample has not.

boxes: float [N, 4]: x, y of the corner at the top left, width, height, as shares of the canvas' sides. A map of M x M
cells has the middle of cell j at (j + 1/2) / M of its side.
"""

from __future__ import annotations

import torch
from torch import Tensor

_THIN = 1e-3
"""Boxes are taken to be no thinner: augmentation may leave nothing of one."""


def warp(frames: Tensor, boxes: Tensor, size: int) -> Tensor:
    """[N, C, m, m] -> [N, C, size, size]: each frame stretched over its box, and nothing, exactly 0, outside it.

    Bilinear, the outermost cells of the frame going on to the box's edge; cells of the canvas that the edge cuts have
    the share that is inside.
    """
    rows, columns = (_into(boxes, axis, frames.shape[2], size) for axis in (1, 0))
    return _apply(rows, frames, columns)


def crop(canvas: Tensor, boxes: Tensor, size: int) -> Tensor:
    """[N, C, M, M] -> [N, C, size, size]: the middle of each of so many cells of the box, bilinear in the canvas."""
    rows, columns = (_out_of(boxes, axis, canvas.shape[2], size) for axis in (1, 0))
    return _apply(rows, canvas, columns)


def inside(boxes: Tensor, size: int) -> Tensor:
    """[N, 1, size, size] in [0, 1]: the share of each cell of the canvas that is inside the box."""
    return _share(boxes, 1, size)[:, None, :, None] * _share(boxes, 0, size)[:, None, None, :]


def keypoint_maps(keypoints: Tensor, size: int) -> Tensor:
    """[N, K, 3] (x, y as shares, 1 where the part is there) -> [N, K, size, size]: 1 in the cell of each part, else 0.

    A part on the far edge is in the last cell; one that is not there leaves its map empty.
    """
    cells = (keypoints[:, :, :2] * size).floor().clamp(0, size - 1)  # [N, K, 2]
    index = torch.arange(size, device=keypoints.device)
    columns, rows = (cells[:, :, axis, None] == index for axis in (0, 1))  # [N, K, size]
    there = (keypoints[:, :, 2] > 0)[:, :, None, None]
    return (rows[:, :, :, None] & columns[:, :, None, :] & there).to(keypoints.dtype)


def box_around(keypoints: Tensor) -> Tensor:
    """[N, K, 3] -> [N, 4]: the least box about the parts that are there; the whole canvas where none is."""
    there = keypoints[:, :, 2:] > 0
    points = keypoints[:, :, :2]
    first = torch.where(there, points, 1).amin(1)
    last = torch.where(there, points, 0).amax(1)
    whole = points.new_tensor([0, 0, 1, 1])
    return torch.where(there.any(1), torch.cat([first, last - first], 1), whole)


def _apply(rows: Tensor, maps: Tensor, columns: Tensor) -> Tensor:
    """rows [N, a, H], maps [N, C, H, W], columns [N, b, W] -> [N, C, a, b], of the maps' dtype."""
    rows, columns = rows.to(maps.dtype), columns.to(maps.dtype)
    return rows[:, None] @ maps @ columns.mT[:, None]


def _interpolation(positions: Tensor, cells: int) -> Tensor:
    """[N, k] positions, in cells from the middle of the first -> [N, k, cells]: weights of a line between neighbours.

    Positions past the middle of the first or the last cell have the value there.
    """
    index = torch.arange(cells, device=positions.device)
    return (1 - (positions.clamp(0, cells - 1)[:, :, None] - index).abs()).clamp(min=0)


def _middles(size: int, boxes: Tensor) -> Tensor:
    return (torch.arange(size, device=boxes.device, dtype=boxes.dtype) + 0.5) / size


def _out_of(boxes: Tensor, axis: int, cells: int, size: int) -> Tensor:
    """[N, size, cells]: along one axis, what each cell of the cropped map has of the canvas' cells."""
    start, length = boxes[:, axis, None], boxes[:, axis + 2, None].clamp(min=_THIN)
    return _interpolation((start + _middles(size, boxes) * length) * cells - 0.5, cells)


def _into(boxes: Tensor, axis: int, cells: int, size: int) -> Tensor:
    """[N, size, cells]: along one axis, what each cell of the canvas has of the frame's cells."""
    start, length = boxes[:, axis, None], boxes[:, axis + 2, None].clamp(min=_THIN)
    weights = _interpolation((_middles(size, boxes) - start) / length * cells - 0.5, cells)
    return weights * _share(boxes, axis, size)[:, :, None]


def _share(boxes: Tensor, axis: int, size: int) -> Tensor:
    """[N, size]: the share of each cell between the box's two edges, along one axis."""
    cells = torch.arange(size, device=boxes.device, dtype=boxes.dtype)
    first, length = boxes[:, axis, None] * size, boxes[:, axis + 2, None].clamp(min=_THIN) * size
    return (torch.minimum(first + length, cells + 1) - torch.maximum(first, cells)).clamp(0, 1)
