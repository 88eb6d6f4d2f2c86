"""Differentiable augmentation against its definition, image by image in numpy; its derivatives; ADA's heuristic."""

import numpy as np
import pytest
import torch

from ganlib.diffaug import CHANCES, DiffAugment, adapt


def colour(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Zhao et al. 2020: brightness, saturation and contrast of one image [C, H, W]."""
    x = x + (u[0] - 0.5)
    grey = x.mean(0)
    x = grey + (x - grey) * (2 * u[1])
    return x.mean() + (x - x.mean()) * (u[2] + 0.5)


def translation(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Pixel by pixel: y[i, j] = x[i - down, j - right]."""
    _, height, width = x.shape
    down, right = (int(u[k] * (2 * round(n / 8) + 1)) - round(n / 8) for k, n in ((3, height), (4, width)))
    y = np.zeros_like(x)
    for i in range(height):
        for j in range(width):
            if 0 <= i - down < height and 0 <= j - right < width:
                y[:, i, j] = x[:, i - down, j - right]
    return y


def cutout(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """A hole of half the size around one of the places 0 ... size (an even side's centre is between two pixels)."""
    _, height, width = x.shape
    y = x.copy()
    top, left = int(u[5] * (height + 1)) - height // 4, int(u[6] * (width + 1)) - width // 4
    y[:, max(top, 0) : max(top + height // 2, 0), max(left, 0) : max(left + width // 2, 0)] = 0
    return y


CHANGES = {"colour": colour, "translation": translation, "cutout": cutout}


def draw(n: int, channels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [n, C, 16, 24] and their chances."""
    torch.manual_seed(0)
    return torch.rand(n, channels, 16, 24, dtype=torch.float64) * 2 - 1, torch.rand(n, CHANCES)


@pytest.mark.parametrize("on", [(), ("colour",), ("translation",), ("cutout",), tuple(CHANGES)])
@pytest.mark.parametrize("channels", [1, 3])
def test_changes_are_those_of_the_paper(on: tuple[str, ...], channels: int) -> None:
    images, chances = draw(64, channels)
    found = DiffAugment(**{name: name in on for name in CHANGES}).apply(images, chances, 1.0)
    expected = images.numpy().copy()
    for row, u in enumerate(chances.double().numpy()):
        for name in on:
            expected[row] = CHANGES[name](expected[row], u)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_each_change_is_made_with_probability_p() -> None:
    n, p = 20_000, 0.3
    torch.manual_seed(0)
    images, chances = torch.rand(n, 3, 8, 8), torch.rand(n, CHANCES)
    for name in CHANGES:
        made = DiffAugment(**{other: other == name for other in CHANGES}).apply(images, chances, torch.tensor(p))
        share = (made != images).flatten(1).any(1).float().mean().item()
        # A shift by nothing, 1 in 9 where the eighth is one pixel, changes nothing.
        expected = p * (8 / 9 if name == "translation" else 1)
        assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / n)


def test_nothing_changes_at_p_0() -> None:
    images, chances = draw(16)
    assert torch.equal(DiffAugment().apply(images, chances, 0.0), images)


def test_images_are_changed_one_by_one() -> None:
    """Two workers that change a slice each make what one makes of the batch; dtype is kept."""
    images, chances = draw(10)
    whole, policy = DiffAugment().apply(images, chances, 0.7), DiffAugment()
    parts = [policy.apply(images[rows], chances[rows], 0.7) for rows in (slice(0, 3), slice(3, 10))]
    assert torch.equal(torch.cat(parts), whole)
    assert policy.apply(images.float(), chances, 0.7).dtype == torch.float32


def test_shifts_and_holes_cover_their_ranges() -> None:
    """Of 16 x 16 pixels: 5 x 5 shifts; holes of 8 around 17 x 17 places, each as likely as the other."""
    n = 17 * 17 * 200
    torch.manual_seed(0)
    chances = torch.rand(n, CHANCES)
    places = torch.arange(1.0, 257.0).view(1, 1, 16, 16).expand(n, 1, 16, 16)
    shifted = DiffAugment(colour=False, cutout=False).apply(places, chances, 1.0)[:, 0, 8, 8]
    values, counts = shifted.unique(return_counts=True)
    expected = sorted(16 * (8 - down) + (8 - right) + 1 for down in range(-2, 3) for right in range(-2, 3))
    assert values.tolist() == expected
    assert (counts - n / 25).abs().max() < 5 * np.sqrt(n / 25)
    holes = DiffAugment(colour=False, translation=False).apply(torch.ones(n, 1, 16, 16), chances, 1.0)
    centres = 1 - holes[:, 0]
    # A hole around place c covers the rows max(c - 4, 0) ... min(c + 4, 16), 8 of them inside and 4 at either end.
    rows = centres.amax(2).sum(1)
    assert [int((rows == k).sum()) for k in (4, 5, 6, 7, 8)] == pytest.approx(
        [n * share / 17 for share in (2, 2, 2, 2, 9)], abs=5 * np.sqrt(n * 9 / 17)
    )


def test_it_can_be_differentiated_twice() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    chances = torch.rand(2, CHANCES)

    def change(x: torch.Tensor) -> torch.Tensor:
        return DiffAugment().apply(x, chances, 1.0)

    assert torch.autograd.gradcheck(change, (images,))
    assert torch.autograd.gradgradcheck(lambda x: change(x).square(), (images,))


def test_chances_of_another_shape_are_refused() -> None:
    images, chances = draw(4)
    with pytest.raises(ValueError, match=r"4 images want chances of \[4, 10\], not \[3, 10\]"):
        DiffAugment().apply(images, chances[:3], 1.0)


def test_p_is_steered_to_the_target() -> None:
    def moved(p: float, signs: float, images: int) -> float:
        """Of a p in float64, as no rounding is to be seen."""
        return adapt(torch.tensor(p).double(), torch.tensor([signs, images]), 0.6, 500_000).item()

    assert moved(0.5, 160, 250) == pytest.approx(0.5 + 250 / 500_000, abs=1e-7)  # a mean of 0.64
    assert moved(0.5, 140, 250) == pytest.approx(0.5 - 250 / 500_000, abs=1e-7)
    assert moved(0.5, 150, 250) == 0.5
    assert moved(0.0001, 0, 250) == 0
    assert moved(0.9999, 250, 250) == 1
    # From 0 to 1 in 500,000 images, in steps of 250.
    p = 0.0
    for _ in range(1000):
        p = moved(p, 250, 250)
    assert p == pytest.approx(0.5, abs=1e-4)
