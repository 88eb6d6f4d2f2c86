"""Differentiable augmentation: what D sees, real and fake alike, is changed at random, and G learns through the change.

It keeps D from memorising small data (Zhao et al. 2020, arXiv 2006.10738). Changing each image with probability p, and
steering p by how far D overfits, is the adaptive form (Karras et al. 2020, arXiv 2006.06676): below p = 0.8 or so the
changes do not leak into the samples.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ganlib.networks.base import Config

CHANCES = 10
"""Random numbers an image. Columns: brightness, saturation, contrast; translation down and right; cutout's centre down
and right; whether colour, translation and cutout are done at all."""


class DiffAugment(Config):
    """Which changes are made, each to an image with `probability` (where they begin, in the adaptive form).

    `colour`: brightness x + U[-0.5, 0.5), then saturation (distance from the pixel's mean over channels, times
    U[0, 2)), then contrast (distance from the image's mean, times U[0.5, 1.5)). `translation`: by up to an eighth of
    the size each way, zeros moving in. `cutout`: a square of half the size becomes zeros; parts may fall outside.
    """

    colour: bool = True
    translation: bool = True
    cutout: bool = True
    probability: float = Field(1.0, ge=0, le=1)

    def apply(self, images: Tensor, chances: Tensor, p: float | Tensor) -> Tensor:
        """Changed images, of the same shape and dtype: a function of each image and its own chances.

        images: float [n, C, H, W]; chances: U[0, 1) [n, CHANCES]; p: a number in [0, 1], or a scalar tensor. Can be
        differentiated in `images` any number of times; with p = 0 it is the identity.
        """
        if chances.shape != (len(images), CHANCES):
            raise ValueError(f"{len(images)} images want chances of [{len(images)}, {CHANCES}], not {[*chances.shape]}")
        done = (chances[:, 7:] < p).to(images.dtype)  # [n, 3]
        if self.colour:
            images = _change_colour(images, chances[:, :3].to(images.dtype), done[:, 0])
        if self.translation:
            images = _translate(images, chances[:, 3:5], done[:, 1])
        if self.cutout:
            images = _cut_out(images, chances[:, 5:7], done[:, 2])
        return images


def adapt(p: Tensor, signs: Tensor, target: float, speed_images: int) -> Tensor:
    """p, a scalar in [0, 1], after some images more: up where D overfits, down where it does not, by their number.

    speed_images: how many take it from 0 to 1. signs: [2], the sum of sign(D(real)) over those images, D's logits
    counted from where it is undecided, and how many they are. Their ratio is r_t = E[sign(D(real))] (Karras et al.
    2020, eq. 1): 0 where D does not know its training images, 1 where it knows them all. Their target is 0.6, their
    speed 500,000. Nothing waits for the device.
    """
    total, images = signs.double()
    direction = (total / images - target).sign()
    return (p + direction * images / speed_images).clamp(0, 1)


def _change_colour(images: Tensor, chances: Tensor, done: Tensor) -> Tensor:
    brightness, saturation, contrast = chances.T.reshape(3, -1, 1, 1, 1)
    done = done.view(-1, 1, 1, 1)
    images = images + done * (brightness - 0.5)
    images = images + done * (2 * saturation - 1) * (images - images.mean(1, keepdim=True))
    return images + done * (contrast - 0.5) * (images - images.mean((1, 2, 3), keepdim=True))


def _translate(images: Tensor, chances: Tensor, done: Tensor) -> Tensor:
    """y[i, j] = x[i - down, j - right], 0 outside; each shift uniform over -m ... m, m the rounded eighth."""
    n, channels, height, width = images.shape
    for axis, size in ((2, height), (3, width)):
        most = int(size / 8 + 0.5)
        shift = ((chances[:, axis - 2] * (2 * most + 1)).floor() - most) * done  # [n]
        source = torch.arange(size, device=images.device) - shift.long()[:, None]  # [n, size]
        inside = (source >= 0) & (source < size)
        shape = [n, 1, 1, 1]
        shape[axis] = size
        index = source.clamp(0, size - 1).view(shape).expand(n, channels, height, width)
        images = images.gather(axis, index) * inside.view(shape)
    return images


def _cut_out(images: Tensor, chances: Tensor, done: Tensor) -> Tensor:
    """Zeros in rows and columns centre - s // 2 ... centre - s // 2 + s - 1, s being half the size, rounded."""
    hole = done.bool().view(-1, 1, 1)
    for axis, size in ((1, images.shape[2]), (2, images.shape[3])):
        side = int(size / 2 + 0.5)
        # The centre is uniform over 0 ... size - 1, and size too where an even side has its centre between two pixels.
        first = (chances[:, axis - 1] * (size + 1 - side % 2)).floor() - side // 2  # [n]
        place = torch.arange(size, device=images.device)
        covered = (place >= first[:, None]) & (place < first[:, None] + side)  # [n, size]
        hole = hole & covered.unsqueeze(3 - axis)  # [n, H, 1], then [n, H, W]
    return images * ~hole[:, None]
