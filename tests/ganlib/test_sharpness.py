"""The variance of the Laplacian of images whose Laplacian is known, and of blurred and noisy ones."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ganlib.data import Dataset
from ganlib.evaluation.sharpness import laplacian_variance


def test_a_checkerboard_has_the_greatest_that_there_is() -> None:
    """White pixels among black ones: -4 and 4 by turns, of mean 0 where there are as many; their square is 16."""
    board = (np.indices((10, 10)).sum(0) % 2 * 255).astype(np.uint8)[None, :, :, None]
    assert laplacian_variance(board).tolist() == [pytest.approx(16, rel=1e-12)]


def test_a_single_pixel_has_a_closed_form() -> None:
    """In 7x7 places of a 9x9 image: -4 at the pixel, 1 at its four neighbours, which add to nothing: 20 / 49."""
    image = np.zeros((1, 9, 9, 1), np.uint8)
    image[0, 4, 4] = 255
    assert laplacian_variance(image)[0] == pytest.approx(20 / 49, rel=1e-12)


def test_slopes_and_flat_images_have_none_and_colours_count_as_their_grey() -> None:
    ramp = np.broadcast_to(np.arange(0, 80, 8, dtype=np.uint8)[:, None, None], (2, 10, 10, 1))
    np.testing.assert_allclose(laplacian_variance(ramp), 0, atol=1e-25)
    dot = np.zeros((3, 9, 9, 3), np.uint8)
    for channel in range(3):
        dot[channel, 4, 4, channel] = 255
    np.testing.assert_allclose(laplacian_variance(dot), np.square([0.299, 0.587, 0.114]) * 20 / 49, rtol=1e-12)


def test_blur_lowers_it_and_noise_raises_it(digits28: Dataset) -> None:
    images = digits28.split("test").images[:100]
    blurred = [
        laplacian_variance(gaussian_filter(images, (0, sigma, sigma, 0))).mean() for sigma in (0.01, 0.5, 1.0, 2.0)
    ]
    assert blurred == sorted(blurred, reverse=True)
    noise = np.random.default_rng(0).normal(size=images.shape)
    noisy = [
        laplacian_variance((images + 255 * sigma * noise).clip(0, 255).astype(np.uint8)).mean()
        for sigma in (0, 0.05, 0.1, 0.2)
    ]
    assert noisy == sorted(noisy)
    assert blurred[3] < 0.5 * noisy[0]
