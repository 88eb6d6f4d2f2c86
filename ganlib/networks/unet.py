"""U-Net and encoder-decoder, image to image (Isola et al. 2016, arXiv 1611.07004, section 3.2.1, appendix 6.1.1)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ganlib.networks.base import Config, ImageShape, initialise_normal
from ganlib.networks.layers import BatchNorm, Dropout

DROPPED = 3
"""Blocks after the bottleneck whose maps are dropped out: CD512-CD512-CD512 of the paper."""


class UNet(nn.Module):
    """[N, C, S, S] in [-1, 1] -> the same shape and range.

    `depth` convolutions 4x4 of stride 2, of width * min(2^i, 8) features, and as many transposed ones back; LeakyReLU
    0.2 on the way down, ReLU on the way up, tanh last; a norm on all but the first map, the bottleneck and the image.
    With `skips` each block of the way up but the first is shown the map of its size from the way down beside its own.
    `dropout`: the share of numbers left out in the first three blocks of the way up; there is no other chance.

    At depth 8 and width 64 on 3 channels: 54,413,955 parameters; without skips 39,075,459.
    """

    def __init__(
        self, channels: int, depth: int, width: int, skips: bool, norm: Literal["batch", "instance"], dropout: float
    ):
        super().__init__()
        self.skips = skips
        features = [width * min(2**level, 8) for level in range(depth)]

        def normed(count: int) -> nn.Module:
            return BatchNorm(count) if norm == "batch" else nn.InstanceNorm2d(count, affine=True)

        self.down = nn.ModuleList([nn.Conv2d(channels, features[0], 4, 2, 1, bias=False)])
        for level in range(1, depth):
            # No ReLU works in place: the map before it is kept for the way up.
            block = [nn.LeakyReLU(0.2), nn.Conv2d(features[level - 1], features[level], 4, 2, 1, bias=False)]
            # The bottleneck may be a single pixel, of which nothing would be left when its own mean is taken off.
            self.down.append(nn.Sequential(*block, *([] if level == depth - 1 else [normed(features[level])])))
        self.up = nn.ModuleList()
        for block_index, level in enumerate(reversed(range(1, depth))):
            inputs = features[level] * (2 if skips and block_index > 0 else 1)
            outputs = features[level - 1]
            layers = [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), normed(outputs)]
            if dropout and block_index < DROPPED:
                layers.append(Dropout(dropout))
            self.up.append(nn.Sequential(*layers))
        last = nn.ConvTranspose2d(features[0] * (2 if skips else 1), channels, 4, 2, 1)
        self.up.append(nn.Sequential(nn.ReLU(), last, nn.Tanh()))
        initialise_normal(self, std=0.02, norm_std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []
        for down in self.down:
            x = down(x)
            maps.append(x)  # [N, features[i], S / 2^(i + 1), ...]
        for position, up in enumerate(self.up):
            if self.skips and position > 0:
                x = torch.cat([maps[-1 - position], x], 1)
            x = up(x)
        return x


class UNetConfig(Config):
    """kind: "encoder-decoder" is the same without skips. width: features of the first map.

    depth: how often an image is halved; 0: until one pixel is left. norm: "instance", here with gains and biases, is
    what batch norm is at the paper's batch of one, where a test image is normalised by its own statistics too.
    """

    kind: Literal["unet", "encoder-decoder"] = "unet"
    width: int = Field(64, ge=4, le=1024)
    depth: int = Field(0, ge=0, le=10)
    norm: Literal["batch", "instance"] = "batch"
    dropout: float = Field(0.5, ge=0, lt=1)

    def check(self, image: ImageShape) -> None:
        """Raises ValueError, with the reason, when the network cannot make images of this shape."""
        size, depth = image.height, self._depth(image)
        if image.height != image.width or size < 16 or depth < 2 or size % 2**depth:
            raise ValueError(
                f"network {self.kind!r} halves square images, of 16x16 and more, {max(depth, 2)} times, which cannot "
                f"be done to {image.height}x{image.width}; take a power of two as the size, or another depth (2 up)"
            )

    def build(self, image: ImageShape) -> nn.Module:
        skips = self.kind == "unet"
        return UNet(image.channels, self._depth(image), self.width, skips, self.norm, self.dropout)

    def _depth(self, image: ImageShape) -> int:
        return self.depth or image.height.bit_length() - 1
