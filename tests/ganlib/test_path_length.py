"""Path lengths of generators that are matrices, where they are known."""

import numpy as np
import pytest
import torch

from ganlib.draws import draw_latents, stream_generator
from ganlib.evaluation.path_length import path_lengths, perceptual_path_length
from ganlib.methods.blocks import great_circle

DIM = 6
MATRIX = torch.randn(10, DIM, generator=torch.Generator().manual_seed(0))


def linear(latents: torch.Tensor) -> torch.Tensor:
    return latents @ MATRIX.T


def identity(images: torch.Tensor) -> torch.Tensor:
    return images


def ends(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The latents that paths go between."""
    drawn = (draw_latents(stream_generator("cpu", seed, "path", end), count, DIM, "normal") for end in ("start", "end"))
    start, end = (latents.double().numpy() for latents in drawn)
    return start, end


def test_along_a_straight_line_a_matrix_goes_as_far_as_the_ends_are_apart() -> None:
    start, end = ends(250, 3)
    expected = np.square((end - start) @ MATRIX.double().numpy().T).sum(1)
    found = path_lengths(linear, identity, DIM, 250, 3, "lerp", epsilon=1e-2)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    # float32's last digit is a thousandth of so short a step.
    np.testing.assert_allclose(path_lengths(linear, identity, DIM, 250, 3, "lerp"), expected, rtol=0.05)


def test_its_expectation_is_twice_the_matrixs_square() -> None:
    """E |M (b - a)|^2 = 2 tr M^T M for normal a, b; four deviations of the mean of 20,000."""
    found = path_lengths(linear, identity, DIM, 20_000, 0, "lerp", epsilon=1e-2)
    assert found.mean() == pytest.approx(2 * MATRIX.square().sum().item(), abs=4 * found.std() / np.sqrt(20_000))


def test_along_the_sphere_a_rotation_goes_as_far_as_the_angle() -> None:
    """Of unit vectors e: |slerp'|= w; the chord of w epsilon is 2 sin(w epsilon / 2)."""
    draw = torch.Generator().manual_seed(1)
    a, b = (torch.nn.functional.normalize(torch.randn(50, DIM, generator=draw).double(), dim=1) for _ in range(2))
    t, epsilon = torch.rand(50, 1, generator=draw).double(), 1e-2
    angle = (a * b).sum(1).acos()
    here, there = great_circle(a, b, t), great_circle(a, b, t + epsilon)
    torch.testing.assert_close((there - here).norm(dim=1), 2 * torch.sin(angle * epsilon / 2))
    torch.testing.assert_close(here.norm(dim=1), torch.ones(50, dtype=torch.float64))
    for between in (great_circle, torch.lerp):
        torch.testing.assert_close(between(a, b, torch.zeros(50, 1, dtype=torch.float64)), a)
        torch.testing.assert_close(between(a, b, torch.ones(50, 1, dtype=torch.float64)), b)


def test_the_score_leaves_out_a_percent_at_either_end() -> None:
    lengths = path_lengths(linear, identity, DIM, 1_000, 0, "slerp", epsilon=1e-2)
    expected = np.sort(lengths)[10:-10].mean()
    found = perceptual_path_length(linear, identity, DIM, 1_000, epsilon=1e-2)
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_latent_that_does_nothing_has_no_path() -> None:
    still = path_lengths(lambda latents: torch.ones(len(latents), 3, 4, 4), identity, DIM, 130)
    assert still.shape == (130,)
    assert not still.any()
