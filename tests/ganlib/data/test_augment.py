"""Augmentation against torchvision on single images, and boxes and keypoints against arithmetic by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from pydantic import ValidationError
from torch import Tensor
from torchvision.transforms import InterpolationMode

from ganlib.data.augment import Augment, Draw, draw_augmentation
from ganlib.data.columns import Columns
from ganlib.errors import UserError

N, H, W = 6, 20, 28


@pytest.fixture
def images() -> Tensor:
    """float32 [6, 3, 20, 28] in [-1, 1], smooth enough that interpolations can be compared."""
    coarse = torch.rand(N, 3, 6, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    smooth = torch.nn.functional.interpolate(coarse, (H, W), mode="bicubic", align_corners=False)
    return smooth.clamp(-1, 1).contiguous(memory_format=torch.channels_last)


def draws(**chosen: float | list[float]) -> Tensor:
    """Chances of N images: 0.75 for all, or as given, one number for all or one each. 0.75: not mirrored."""
    table = torch.full((N, len(Draw)), 0.75, dtype=torch.float64)
    for name, value in chosen.items():
        table[:, Draw[name.upper()]] = torch.tensor(value, dtype=torch.float64)
    return table


def unit(images: Tensor) -> Tensor:
    return (images + 1) / 2


def apply(augment: Augment, images: Tensor, chances: Tensor) -> Tensor:
    before = images.clone()
    (result,), _, _ = augment.apply([images], chances)
    assert torch.equal(images, before)
    assert result.shape == images.shape
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert result.abs().max() <= 1 + 1e-6
    return result


# --- geometry ---


def test_mirror_is_torchvisions_hflip_exactly(images: Tensor) -> None:
    found = apply(Augment(mirror=True), images, draws(mirror=[0.0, 0.49, 0.5, 0.99, 0.2, 0.8]))
    for i, mirrored in enumerate([True, True, False, False, True, False]):
        assert torch.equal(found[i], TF.hflip(images[i]) if mirrored else images[i])


@pytest.mark.parametrize("padding", [1, 4, 20])
def test_crop_is_a_window_of_numpys_symmetric_padding_exactly(padding: int, images: Tensor) -> None:
    # The first and last place, the middle one (no move), and others: place k of 2p + 1 for [k, k + 1) / (2p + 1).
    down = [0, 2 * padding, padding, 0, padding, 1]
    right = [0, 2 * padding, padding, 2 * padding, 0, 2]
    chances = draws(
        crop_y=[(k + 0.5) / (2 * padding + 1) for k in down], crop_x=[(k + 0.5) / (2 * padding + 1) for k in right]
    )
    found = apply(Augment(crop_padding=padding), images, chances)
    for i in range(N):
        padded = np.pad(images[i].numpy(), ((0, 0), (padding, padding), (padding, padding)), mode="symmetric")
        expected = TF.crop(torch.from_numpy(padded), down[i], right[i], H, W)
        assert torch.equal(found[i], expected)
    assert torch.equal(found[2], images[2])


def test_every_place_of_a_crop_is_as_likely() -> None:
    chances = torch.cat([draw_augmentation(0, index, 100) for index in range(50)])
    # Positions as pixel values: the middle pixel of a row 0..8 says where the crop was taken.
    row = torch.arange(9.0).expand(5000, 1, 1, 9) / 8
    (found,), _, _ = Augment(crop_padding=1).apply([row], chances)
    counts = (found[:, 0, 0, 4] * 8).round().long().bincount(minlength=9)
    assert counts[:3].sum() == counts[6:].sum() == 0
    # 5000 / 3, give or take four standard deviations of the binomial distribution.
    assert (counts[3:6] - 5000 / 3).abs().max() < 4 * math.sqrt(5000 * 2 / 9)


def test_rotation_and_scale_are_torchvisions_affine_away_from_the_border(images: Tensor) -> None:
    augment = Augment(rotation=30, scale=0.2)
    turns, sizes = [0.0, 0.25, 0.5, 0.6, 0.9, 0.5], [0.5, 0.5, 0.0, 0.9, 0.3, 0.5]
    found = apply(augment, images, draws(rotation=turns, scale=sizes))
    for i in range(N):
        angle, scale = 30 * (2 * turns[i] - 1), 1 + 0.2 * (2 * sizes[i] - 1)
        # torchvision's affine turns clockwise.
        moved, there = (
            TF.affine(x, -angle, [0, 0], scale, [0.0], InterpolationMode.BILINEAR)
            for x in (images[i].contiguous(), torch.ones(1, H, W))
        )
        inside = (there > 0.999).expand_as(moved)
        assert inside.float().mean() > 0.6
        torch.testing.assert_close(found[i][inside], moved[inside], atol=1e-4, rtol=0)
    torch.testing.assert_close(found[5], images[5], atol=1e-5, rtol=0)  # by 0 degrees, 1.0 times: as it was


def test_positive_angles_turn_counter_clockwise_and_the_outside_is_the_image_reflected() -> None:
    square = torch.rand(N, 1, 8, 8) * 2 - 1
    found = apply(Augment(rotation=180), square, draws(rotation=[0.75, 0.25, 0.5, 0.0, 0.75, 0.75]))
    for i, quarters in enumerate([1, -1, 0, 2, 1, 1]):
        torch.testing.assert_close(found[i], torch.rot90(square[i], quarters, (1, 2)), atol=1e-5, rtol=0)
    # At half the size about the centre, what is outside the image is its mirror image, each border pixel twice.
    wide = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 16, 16) / 16
    (small,), _, _ = Augment(scale=0.5).apply([wide], draws(scale=0.0)[:1])
    expected = [*(6.5 - 2 * i for i in range(4)), *(0.5 + 2 * i for i in range(8)), *(14.5 - 2 * i for i in range(4))]
    torch.testing.assert_close(small[0, 0, 8] * 16, torch.tensor(expected), atol=1e-4, rtol=0)


def test_jitter_crop_is_resize_and_crop(images: Tensor) -> None:
    factor = 1.1171875  # 20x28 becomes 22x31: 3 places down, 4 across
    down, right = [0, 1, 2, 0, 2, 1], [0, 1, 2, 3, 0, 3]
    chances = draws(jitter_y=[(k + 0.5) / 3 for k in down], jitter_x=[(k + 0.5) / 4 for k in right])
    found = apply(Augment(jitter_crop=factor), images, chances)
    for i in range(N):
        large = TF.resize(images[i].contiguous(), [22, 31], InterpolationMode.BILINEAR, antialias=False)
        torch.testing.assert_close(found[i], TF.crop(large, down[i], right[i], H, W), atol=1e-5, rtol=0)


def test_the_286_of_pix2pix() -> None:
    image = torch.rand(1, 3, 256, 256) * 2 - 1
    chances = draws(jitter_y=0.999, jitter_x=0.0)[:1]
    (found,), _, _ = Augment(jitter_crop=286 / 256).apply([image], chances)
    large = TF.resize(image[0], [286, 286], InterpolationMode.BILINEAR, antialias=False)
    torch.testing.assert_close(found[0], TF.crop(large, 30, 0, 256, 256), atol=2e-4, rtol=0)


# --- colour ---

COLOURS = [
    ("brightness", 0.4, lambda x, u: TF.adjust_brightness(x, 1 + 0.4 * (2 * u - 1))),
    ("contrast", 0.4, lambda x, u: TF.adjust_contrast(x, 1 + 0.4 * (2 * u - 1))),
    ("saturation", 1.0, lambda x, u: TF.adjust_saturation(x, 2 * u)),
    ("hue", 0.5, lambda x, u: TF.adjust_hue(x, u - 0.5)),
]


@pytest.mark.parametrize(("name", "reach", "reference"), COLOURS, ids=[name for name, *_ in COLOURS])
def test_colours_are_torchvisions(name: str, reach: float, reference, images: Tensor) -> None:
    chances = [0.0, 0.1, 0.5, 0.7, 0.999, 0.3]
    images[3, :, :5] = 0.25  # grey has no hue, black and white neither
    images[4, :, :5] = 1
    images[5, :, :5] = -1
    found = apply(Augment(**{name: reach}), images, draws(**{name: chances}))
    for i, chance in enumerate(chances):
        torch.testing.assert_close(unit(found[i]), reference(unit(images[i]), chance), atol=1e-5, rtol=0)


def test_all_colours_in_their_order_after_geometry(images: Tensor) -> None:
    augment = Augment(mirror=True, brightness=0.4, contrast=0.4, saturation=1, hue=0.5)
    found = apply(augment, images, draws(mirror=0.0, brightness=0.9, contrast=0.2, saturation=0.8, hue=0.6))
    for i in range(N):
        expected = TF.hflip(unit(images[i]))
        for (_, _, reference), chance in zip(COLOURS, (0.9, 0.2, 0.8, 0.6), strict=True):
            expected = reference(expected, chance)
        torch.testing.assert_close(unit(found[i]), expected, atol=1e-5, rtol=0)


def test_grey_images_keep_to_brightness_and_contrast(images: Tensor) -> None:
    grey = images[:, :1]
    assert torch.allclose(apply(Augment(saturation=1, hue=0.5), grey, draws(saturation=0.0, hue=0.9)), grey, atol=1e-6)
    found = apply(Augment(contrast=0.4), grey, draws(contrast=0.0))
    for i in range(N):
        torch.testing.assert_close(unit(found[i]), TF.adjust_contrast(unit(grey[i]), 0.6), atol=1e-5, rtol=0)


# --- what comes with the image ---


def test_boxes_and_keypoints_follow_a_mirror_and_a_crop() -> None:
    boxes = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).repeat(N, 1)
    keypoints = torch.tensor([[[0.1, 0.2, 1.0], [0.0, 0.0, 0.0], [0.95, 0.5, 1.0]]]).repeat(N, 1, 1)
    images = torch.zeros(N, 1, 20, 20)
    # A crop padded by 4: the last place takes the window 4 pixels lower (a fifth of 20) and to the right.
    augment = Augment(mirror=True, crop_padding=4)
    chances = draws(
        mirror=[0.9, 0.1, 0.9, 0.1, 0.9, 0.9],
        crop_y=[0.5, 0.5, 0.999, 0.5, 0.0, 0.5],
        crop_x=[0.5, 0.5, 0.5, 0.999, 0.0, 0.999],
    )
    _, boxes, keypoints = augment.apply([images], chances, boxes, keypoints)
    expected = [
        [0.1, 0.2, 0.3, 0.4],  # nothing
        [0.6, 0.2, 0.3, 0.4],  # mirrored: from 1 - 0.1 - 0.3
        [0.1, 0.0, 0.3, 0.4],  # up by 0.2
        [0.8, 0.2, 0.2, 0.4],  # left by 0.2, of which 0.1 is cut off, then mirrored
        [0.3, 0.4, 0.3, 0.4],  # down and right by 0.2
        [0.0, 0.2, 0.2, 0.4],
    ]
    torch.testing.assert_close(boxes, torch.tensor(expected), atol=1e-6, rtol=0)
    nothing = [0.0, 0.0, 0.0]
    seen = [
        [[0.1, 0.2, 1.0], nothing, [0.95, 0.5, 1.0]],
        [[0.9, 0.2, 1.0], nothing, [0.05, 0.5, 1.0]],
        [[0.1, 0.0, 1.0], nothing, [0.95, 0.3, 1.0]],
        [nothing, nothing, [0.25, 0.5, 1.0]],  # 0.1 - 0.2 is outside
        [[0.3, 0.4, 1.0], nothing, nothing],  # 0.95 + 0.2 is outside
        [nothing, nothing, [0.75, 0.5, 1.0]],
    ]
    found = keypoints.clone()
    found[2, 0, 1] = found[2, 0, 1].abs().round(decimals=5)
    torch.testing.assert_close(found, torch.tensor(seen), atol=1e-6, rtol=0)


def test_boxes_and_keypoints_follow_a_turn_of_a_wide_image() -> None:
    # 20 high, 40 wide. The point 10 to the right of the centre comes 10 above it: at y 0.5 - 10/20 = 0.
    keypoints = torch.tensor([[[0.75, 0.5, 1.0], [0.5, 0.75, 1.0], [0.0, 0.0, 1.0]]])
    # A box about the centre, 8 wide and 4 high, becomes 4 wide and 8 high.
    boxes = torch.tensor([[0.4, 0.4, 0.2, 0.2]])
    augment = Augment(rotation=180, scale=0.5)
    _, found_boxes, found = augment.apply(
        [torch.zeros(1, 1, 20, 40)], draws(rotation=0.75, scale=0.25)[:1], boxes, keypoints
    )
    assert found is not None
    assert found_boxes is not None
    # Scaled by 0.75 as well. (0, 0) is 20 left and 10 above; turned, 15 below and 7.5 left: outside.
    expected = [[0.5, 0.5 - 7.5 / 20, 1.0], [0.5 + 3.75 / 40, 0.5, 1.0], [0.0, 0.0, 0.0]]
    torch.testing.assert_close(found[0], torch.tensor(expected), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        found_boxes[0], torch.tensor([0.5 - 1.5 / 40, 0.5 - 3 / 20, 3 / 40, 6 / 20]), atol=1e-6, rtol=0
    )


def test_a_box_stays_about_what_it_was_about() -> None:
    # A white rectangle on black, moved in every way: its box is where the white is, to the blur of a pixel or so.
    images = torch.full((N, 1, 64, 64), -1.0)
    images[:, :, 26:34, 26:42] = 1
    boxes = torch.tensor([[26 / 64, 26 / 64, 16 / 64, 8 / 64]]).repeat(N, 1)
    keypoints = torch.tensor([[[34 / 64, 30 / 64, 1.0]]]).repeat(N, 1, 1)
    augment = Augment(mirror=True, crop_padding=4, rotation=40, scale=0.2, jitter_crop=1.2)
    (found,), moved, centres = augment.apply([images], draw_augmentation(3, 0, N), boxes, keypoints)
    assert moved is not None
    assert centres is not None
    for i in range(N):
        rows, columns = (found[i, 0] > 0).nonzero(as_tuple=True)
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        x, y, width, height = (moved[i] * 64).tolist()
        assert [x, y, x + width, y + height] == pytest.approx([float(s) for s in seen], abs=1.5)
        centre = [(columns.float().mean() + 0.5) / 64, (rows.float().mean() + 0.5) / 64]
        assert centres[i, 0, :2].tolist() == pytest.approx([float(c) for c in centre], abs=0.02)


def test_a_box_that_leaves_the_image_has_no_area() -> None:
    boxes = torch.tensor([[0.0, 0.0, 0.1, 0.1]])
    _, boxes, _ = Augment(crop_padding=10).apply(
        [torch.zeros(1, 1, 20, 20)], draws(crop_y=0.5, crop_x=0.999)[:1], boxes
    )
    torch.testing.assert_close(boxes, torch.tensor([[0.0, 0.0, 0.0, 0.1]]), atol=1e-6, rtol=0)


def test_a_partner_moves_with_the_image_and_keeps_its_colours(images: Tensor) -> None:
    augment = Augment(mirror=True, crop_padding=3, rotation=20, jitter_crop=1.1, brightness=0.5, hue=0.3)
    chances = draw_augmentation(0, 0, N)
    (both, partner), _, _ = augment.apply([images, images], chances)
    geometry = augment.model_copy(update={"brightness": 0.0, "hue": 0.0})
    assert torch.equal(partner, apply(geometry, images, chances))
    assert not torch.allclose(both, partner, atol=0.1)


# --- chances ---


def test_chances_are_uniform_and_of_the_index_alone() -> None:
    chances = torch.stack([draw_augmentation(7, index, 64) for index in range(100)])
    assert chances.shape == (100, 64, len(Draw))
    assert chances.min() >= 0
    assert chances.max() < 1
    # Mean 1/2, standard deviation 1/sqrt(12), each column by itself; four standard errors.
    assert (chances.mean((0, 1)) - 0.5).abs().max() < 4 / math.sqrt(12 * 6400)
    assert torch.equal(draw_augmentation(7, 31, 64), chances[31])
    assert not torch.equal(draw_augmentation(8, 31, 64), chances[31])


def test_one_augmentation_more_leaves_the_others_as_they_were(images: Tensor) -> None:
    chances = draw_augmentation(0, 0, N)
    mirrored = apply(Augment(mirror=True), images, chances)
    both = apply(Augment(mirror=True, brightness=0.5), images, chances)
    factors = 0.5 + chances[:, Draw.BRIGHTNESS].float()[:, None, None, None]
    torch.testing.assert_close(unit(both), (unit(mirrored) * factors).clamp(0, 1), atol=1e-5, rtol=0)


def test_a_worker_without_rows_gets_none(images: Tensor) -> None:
    (found,), _, _ = Augment(rotation=20, hue=0.1, mirror=True).apply([images[:0]], draws()[:0])
    assert found.shape == (0, 3, H, W)


# --- what is refused ---


def test_points_and_paddings_wider_than_the_image_are_refused() -> None:
    with pytest.raises(UserError, match=r"^points of a density cannot be augmented"):
        Augment(mirror=True).check(Columns(dtype="float32"), 1, 2)
    Augment().check(Columns(dtype="float32"), 1, 2)
    with pytest.raises(UserError, match=r"crop_padding=21 .* 20x28 .* at most 20$"):
        Augment(crop_padding=21).check(Columns(), 20, 28)
    Augment(crop_padding=20).check(Columns(), 20, 28)


@pytest.mark.parametrize(
    "values",
    [{"hue": 0.6}, {"scale": 1}, {"jitter_crop": 0.9}, {"crop_padding": -1}, {"flip": True}, {"rotation": "x"}],
)
def test_values_out_of_range_are_refused(values: dict) -> None:
    with pytest.raises(ValidationError):
        Augment.model_validate(values)


def test_all_is_off_by_default() -> None:
    assert not Augment().active
    assert Augment(hue=0.1).active
