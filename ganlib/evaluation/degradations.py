"""Images made worse in known ways and by known amounts: what a network has to see that is to judge images.

Severities are numbers from 0, hardly to be seen, to 1; what they are of a kind is said at its function.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TILES = 4
"""Along each side, when the tiles of an image change places."""
_BLUR, _NOISE = (0.3, 3.0), (0.005, 0.2)
"""Sigma, in pixels and in shares of the grey range, at severities 0 and 1; evenly by its logarithm between."""


def blurred(images: Tensor, severities: Tensor, generator: torch.Generator) -> Tensor:
    """By a Gaussian of sigma 0.3 to 3 pixels, the image's edge pixels going on beyond it."""
    n, channels, height, width = images.shape
    sigmas = _between(_BLUR, severities).repeat_interleave(channels)[:, None]
    reach = int(3 * _BLUR[1])
    places = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-(places**2) / (2 * sigmas**2))
    kernel = (kernel / kernel.sum(1, keepdim=True))[:, None]  # [n * C, 1, taps]
    flat = F.pad(images.reshape(1, n * channels, height, width), (reach,) * 4, mode="replicate")
    flat = F.conv2d(flat, kernel.unsqueeze(2), groups=n * channels)
    return F.conv2d(flat, kernel.unsqueeze(3), groups=n * channels).view(images.shape)


def noisy(images: Tensor, severities: Tensor, generator: torch.Generator) -> Tensor:
    """With N(0, sigma^2) added to every number, sigma from 0.005 to 0.2 of the grey range."""
    sigmas = 2 * _between(_NOISE, severities).view(-1, 1, 1, 1)  # of the range [-1, 1]
    return images + sigmas * torch.randn(images.shape, generator=generator)


def shuffled(images: Tensor, severities: Tensor, generator: torch.Generator) -> Tensor:
    """With tiles, of 4x4 that the image is cut into, in other places: the share of the severity, two at the least."""
    n, channels, height, width = images.shape
    high, wide = height // TILES, width // TILES
    cut = images[:, :, : TILES * high, : TILES * wide].reshape(n, channels, TILES, high, TILES, wide)
    tiles = cut.permute(0, 2, 4, 1, 3, 5).reshape(n, TILES**2, -1)
    # The first `moved` tiles of a random order go each to the next one's place.
    order = torch.rand(n, TILES**2, generator=generator).argsort(1)
    moved = (severities * TILES**2).ceil().clamp_min(2).long()[:, None]
    place = torch.arange(TILES**2).expand(n, -1)
    source = order.gather(1, torch.where(place < moved, (place + 1) % moved, place))
    whence = torch.empty_like(order).scatter_(1, order, source)
    tiles = tiles.gather(1, whence[:, :, None].expand_as(tiles))
    result = images.clone()
    result[:, :, : TILES * high, : TILES * wide] = (
        tiles.view(n, TILES, TILES, channels, high, wide)
        .permute(0, 3, 1, 4, 2, 5)
        .reshape(n, channels, TILES * high, -1)
    )
    return result


def mixed(images: Tensor, severities: Tensor, generator: torch.Generator) -> Tensor:
    """With another image of the batch shining through, by half the severity."""
    share = severities.view(-1, 1, 1, 1) / 2
    return images + share * (images.roll(1, 0) - images)


KINDS = (blurred, noisy, shuffled, mixed)


def degraded(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each image made worse in one way, the ways in turn, by a severity from U[0, 1).

    images: float32 [n, C, H, W] in [-1, 1], the whole steps of 8 bits. Returns images alike, and float32 [n, 4]: for
    each kind 0 where it was not done, else 1/4 + 3/4 of the severity, so that the least is not nothing.
    """
    severities = torch.rand(len(images), generator=generator)
    result, said = images.clone(), torch.zeros(len(images), len(KINDS))
    for number, kind in enumerate(KINDS):
        rows = slice(number, None, len(KINDS))
        if len(images[rows]):
            result[rows] = kind(images[rows], severities[rows], generator)
            said[rows, number] = 0.25 + 0.75 * severities[rows]
    # Numbers between the grey levels would give away what was done.
    return ((result.clamp(-1, 1) + 1) * 127.5).round_() / 127.5 - 1, said


def _between(ends: tuple[float, float], severities: Tensor) -> Tensor:
    return ends[0] * (ends[1] / ends[0]) ** severities
