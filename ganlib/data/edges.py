"""Contours of a picture as line art: the other side of a pair that is made from a plain image.

Canny's operator (Canny, 1986, "A computational approach to edge detection"), colour by colour; its sums are of whole
numbers, so that every machine draws the same lines.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOW, HIGH = 0.10, 0.25
"""Shares of the steepest slope of the image."""
LEAST = 40
"""The least slope that counts, so that noise on a flat image is no line; 4 x 255 would be a sharp step, unsmoothed."""
_TAN_22_5 = 0.41421356


def contours(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [H, W, C] -> uint8 [H, W, C], the same in every channel: lines one pixel wide, 0 on 255.

    Gaussian (binomial 5x5) and Sobel 3x3 on each channel, of which the steepest counts at each pixel; non-maximum
    suppression in four directions; then hysteresis: a pixel is on a line where its slope is at least HIGH of the
    image's greatest, or at least LOW of it and joined to such a pixel by its eight neighbours.
    """
    smooth = _binomial(image.astype(np.int32))
    across, down = _sobel(smooth)
    square = across.astype(np.int64) ** 2 + down.astype(np.int64) ** 2
    channel = square.argmax(axis=2)[..., None]
    gx, gy, square = (np.take_along_axis(a, channel, axis=2)[..., 0] for a in (across, down, square))
    ridge = np.where(_is_ridge(gx, gy, square), square, 0)
    most, least = int(square.max()), (256 * LEAST) ** 2  # smoothing multiplied by 256
    lines = _joined(ridge >= max(HIGH**2 * most, least), ridge >= max(LOW**2 * most, least))
    return np.repeat(np.where(lines, 0, 255).astype(np.uint8)[..., None], image.shape[2], axis=2)


def _binomial(a: NDArray[np.int32]) -> NDArray[np.int32]:
    """256 times the image smoothed by [1 4 6 4 1] / 16 along both axes, its border repeated."""
    p = np.pad(a, ((2, 2), (2, 2), (0, 0)), mode="edge")
    p = p[:-4] + p[4:] + 4 * (p[1:-3] + p[3:-1]) + 6 * p[2:-2]
    return p[:, :-4] + p[:, 4:] + 4 * (p[:, 1:-3] + p[:, 3:-1]) + 6 * p[:, 2:-2]


def _sobel(a: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    p = np.pad(a, ((1, 1), (1, 1), (0, 0)), mode="edge")
    columns = p[:-2] + 2 * p[1:-1] + p[2:]
    rows = p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:]
    return columns[:, 2:] - columns[:, :-2], rows[2:] - rows[:-2]


def _is_ridge(gx: NDArray[np.int32], gy: NDArray[np.int32], square: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where the slope is greater than one neighbour's along its direction and no less than the other's."""
    p = np.pad(square, 1)
    middle = p[1:-1, 1:-1]

    def between(before: NDArray[np.int64], after: NDArray[np.int64]) -> NDArray[np.bool_]:
        return (middle > before) & (middle >= after)

    ax, ay = np.abs(gx), np.abs(gy)
    horizontal = between(p[1:-1, :-2], p[1:-1, 2:])
    vertical = between(p[:-2, 1:-1], p[2:, 1:-1])
    falling = between(p[:-2, :-2], p[2:, 2:])
    rising = between(p[:-2, 2:], p[2:, :-2])
    diagonal = np.where((gx > 0) == (gy > 0), falling, rising)
    return np.where(ay <= ax * _TAN_22_5, horizontal, np.where(ax <= ay * _TAN_22_5, vertical, diagonal))


def _joined(strong: NDArray[np.bool_], weak: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of `weak` in a patch (eight neighbours) that holds a pixel of `strong`."""
    from scipy.ndimage import label  # a slow import, needed here only

    patches, count = label(weak, np.ones((3, 3), int))
    keep = np.zeros(count + 1, bool)
    keep[patches[strong]] = True
    keep[0] = False
    return keep[patches]
