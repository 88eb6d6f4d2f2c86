"""Maps into boxes and out of them, against plain loops, torch's own sampler and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ganlib.networks.boxes import box_around, crop, inside, keypoint_maps, warp

BOXES = torch.tensor(
    [[0.0, 0.0, 1.0, 1.0], [0.125, 0.25, 0.5, 0.375], [0.31, 0.07, 0.22, 0.9], [0.9, 0.9, 0.1, 0.1]],
    dtype=torch.float64,
)


def maps(side: int) -> torch.Tensor:
    return torch.randn(len(BOXES), 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def line(values: np.ndarray, position: float) -> float:
    """Linear interpolation in values[0], values[1], ...; the first and the last go on."""
    position = min(max(position, 0), len(values) - 1)
    low = min(int(position), len(values) - 2)
    return values[low] + (position - low) * (values[low + 1] - values[low])


def plane(values: np.ndarray, y: float, x: float) -> float:
    return line(np.array([line(row, x) for row in values]), y)


def share(cell: int, size: int, start: float, length: float) -> float:
    """Of the cell [cell, cell + 1] / size, what lies in [start, start + length]."""
    low, high = max(cell / size, start), min((cell + 1) / size, start + length)
    return max(high - low, 0) * size


def test_a_frame_is_stretched_over_its_box_and_nothing_is_outside() -> None:
    frames, size = maps(4), 8
    found = warp(frames, BOXES, size).numpy()
    assert found.shape == (4, 3, 8, 8)
    for n, (bx, by, bw, bh) in enumerate(BOXES.tolist()):
        for c in range(3):
            for i in range(size):
                for j in range(size):
                    part = share(i, size, by, bh) * share(j, size, bx, bw)
                    v, u = ((i + 0.5) / size - by) / bh * 4 - 0.5, ((j + 0.5) / size - bx) / bw * 4 - 0.5
                    expected = part * plane(frames[n, c].numpy(), v, u)
                    assert found[n, c, i, j] == pytest.approx(expected, abs=1e-12)
                    if (j + 1) / size <= bx or j / size >= bx + bw or (i + 1) / size <= by or i / size >= by + bh:
                        assert found[n, c, i, j] == 0


def test_a_crop_is_what_the_canvas_has_there() -> None:
    canvas, size = maps(8), 5
    found = crop(canvas, BOXES, size).numpy()
    assert found.shape == (4, 3, 5, 5)
    for n, (bx, by, bw, bh) in enumerate(BOXES.tolist()):
        for c in range(3):
            for i in range(size):
                for j in range(size):
                    y, x = (by + (i + 0.5) / size * bh) * 8 - 0.5, (bx + (j + 0.5) / size * bw) * 8 - 0.5
                    assert found[n, c, i, j] == pytest.approx(plane(canvas[n, c].numpy(), y, x), abs=1e-12)


def test_a_crop_is_torchs_grid_sample() -> None:
    canvas = maps(8)
    x, y, width, height = BOXES.T
    zero = torch.zeros_like(x)
    rows = [torch.stack([width, zero, 2 * x + width - 1], 1), torch.stack([zero, height, 2 * y + height - 1], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [4, 3, 6, 6], align_corners=False)
    expected = F.grid_sample(canvas, grid, "bilinear", "border", align_corners=False)
    torch.testing.assert_close(crop(canvas, BOXES, 6), expected)


def test_the_whole_canvas_is_itself() -> None:
    whole, canvas = torch.tensor([[0.0, 0, 1, 1]], dtype=torch.float64), maps(8)[:1]
    torch.testing.assert_close(crop(canvas, whole, 8), canvas)
    torch.testing.assert_close(warp(canvas, whole, 8), canvas)


def test_what_is_inside_adds_up_to_the_box() -> None:
    found = inside(BOXES, 16)
    assert found.shape == (4, 1, 16, 16)
    torch.testing.assert_close(found.sum((1, 2, 3)) / 256, BOXES[:, 2] * BOXES[:, 3])
    torch.testing.assert_close(found, warp(torch.ones(4, 1, 2, 2, dtype=torch.float64), BOXES, 16))


def test_both_can_be_differentiated_twice() -> None:
    frames = maps(3).requires_grad_(True)
    for function in (warp, crop):
        assert torch.autograd.gradcheck(lambda x, f=function: f(x, BOXES, 4), frames)
        assert torch.autograd.gradgradcheck(lambda x, f=function: f(x, BOXES, 4).square(), frames)


def test_a_box_of_no_size_gives_numbers() -> None:
    nothing = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    assert warp(torch.ones(1, 1, 4, 4), nothing, 8).isfinite().all()
    assert crop(torch.ones(1, 1, 8, 8), nothing, 4).isfinite().all()


def test_keypoints_are_ones_in_their_cells() -> None:
    points = torch.tensor([[[0.0, 0.0, 1], [0.49, 0.99, 1], [1.0, 0.5, 1], [0.0, 0.0, 0]]])
    found = keypoint_maps(points, 8)
    expected = np.zeros((1, 4, 8, 8))
    for k, (x, y, there) in enumerate(points[0].tolist()):
        if there:
            expected[0, k, min(math.floor(y * 8), 7), min(math.floor(x * 8), 7)] = 1
    np.testing.assert_array_equal(found.numpy(), expected)


def test_the_box_of_keypoints_is_about_those_that_are_there() -> None:
    points = torch.tensor([[[0.25, 0.5, 1], [0.75, 0.625, 1], [0.0, 0.0, 0]], [[0.0, 0, 0]] * 3])
    torch.testing.assert_close(box_around(points), torch.tensor([[0.25, 0.5, 0.5, 0.125], [0, 0, 1, 1]]))
