"""Images made worse: each kind against another library or a count, and what is said of how much."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ganlib.evaluation.degradations import KINDS, blurred, degraded, mixed, noisy, shuffled


def pictures(count: int, size: int = 32, channels: int = 3) -> torch.Tensor:
    """float32 [count, channels, size, size], whole steps of 8 bits."""
    levels = torch.randint(0, 256, (count, channels, size, size), generator=torch.Generator().manual_seed(1))
    return levels / 127.5 - 1


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("severity", "sigma"), [(0.0, 0.3), (0.5, 0.9**0.5), (1.0, 3.0)])
def test_blur_is_scipys_of_the_sigma_that_its_severity_means(severity: float, sigma: float) -> None:
    images = pictures(2)
    found = blurred(images, torch.full((2,), severity), generator())
    expected = gaussian_filter(images.double().numpy(), sigma, axes=(2, 3), mode="nearest", radius=9)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("severity", "sigma"), [(0.0, 0.005), (0.5, 0.001**0.5), (1.0, 0.2)])
def test_noise_has_the_deviation_that_its_severity_means(severity: float, sigma: float) -> None:
    images = pictures(4, 64)
    added = noisy(images, torch.full((4,), severity), generator()) - images
    assert added.std().item() / 2 == pytest.approx(sigma, rel=0.02)  # of 49,152 numbers; the range is 2
    assert abs(added.mean().item()) < 0.04 * sigma


@pytest.mark.parametrize(("severity", "moved"), [(0.0, 2), (0.3, 5), (1.0, 16)])
def test_tiles_change_places_as_many_as_the_severity_says(severity: float, moved: int) -> None:
    images = pictures(3, 34)  # tiles of 8 pixels, and two over
    found = shuffled(images, torch.full((3,), severity), generator())
    for before, after in zip(images, found, strict=True):
        np.testing.assert_array_equal(before[:, 32:], after[:, 32:])
        cut = [
            [image[:, y : y + 8, x : x + 8].numpy().tobytes() for y in range(0, 32, 8) for x in range(0, 32, 8)]
            for image in (before, after)
        ]
        assert sorted(cut[0]) == sorted(cut[1])
        assert sum(one != other for one, other in zip(*cut, strict=True)) == moved


def test_another_image_shines_through_by_half_the_severity() -> None:
    images = pictures(3)
    found = mixed(images, torch.tensor([0.0, 0.5, 1.0]), generator())
    torch.testing.assert_close(found[0], images[0])
    torch.testing.assert_close(found[1], 0.75 * images[1] + 0.25 * images[0])
    torch.testing.assert_close(found[2], (images[2] + images[1]) / 2)


def test_each_image_is_made_worse_in_one_way_and_stays_an_image_of_8_bits() -> None:
    images = pictures(10)
    found, said = degraded(images, generator())
    assert said.shape == (10, len(KINDS))
    for number, row in enumerate(said):
        assert row.nonzero().flatten().tolist() == [number % len(KINDS)]
        assert 0.25 <= row.sum() < 1
        assert not torch.equal(found[number], images[number])
    levels = (found + 1) * 127.5
    torch.testing.assert_close(levels, levels.round().clamp(0, 255), atol=1e-4, rtol=0)
    again, _ = degraded(images, generator())
    assert torch.equal(again, found)
