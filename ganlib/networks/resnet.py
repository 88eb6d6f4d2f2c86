"""Residual networks as in WGAN-GP (Gulrajani et al. 2017, arXiv 1704.00028, appendix C) and SNGAN (Miyato et al. 2018,
arXiv 1802.05957, appendix B.4): pre-activation blocks of two 3x3 convolutions around a learned 1x1 shortcut.

At 64x64 with width 64 the maps have the features of WGAN-GP's: 512 at 4x4, then 512, 256, 128 and 64.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ganlib.networks.base import (
    Discriminator,
    DiscriminatorConfig,
    GeneratorConfig,
    ImageShape,
    LayeredDiscriminator,
    Reshape,
    require_stages,
    stages,
)
from ganlib.networks.layers import BatchNorm, LayerNorm, MinibatchStd

Norm = Literal["none", "layer", "batch"]
NORMS: dict[Norm, type[nn.Module]] = {"none": nn.Identity, "layer": LayerNorm, "batch": BatchNorm}


class ResidualBlock(nn.Module):
    """What the two blocks share: their weights. Glorot-uniform, times sqrt(2) where a ReLU halves the power (SNGAN)."""

    def __init__(self, inputs: int, hidden: int, outputs: int, norm: Norm):
        super().__init__()
        # A batch norm takes the bias before it away again.
        biased = norm != "batch"
        self.norm1, self.norm2 = NORMS[norm](inputs), NORMS[norm](hidden)
        self.conv1 = nn.Conv2d(inputs, hidden, 3, 1, 1, bias=biased)
        self.conv2 = nn.Conv2d(hidden, outputs, 3, 1, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
        for layer, gain in ((self.conv1, math.sqrt(2)), (self.conv2, math.sqrt(2)), (self.shortcut, 1)):
            _initialise(layer, gain)


class UpBlock(ResidualBlock):
    """[N, in, H, W] -> [N, out, 2 H, 2 W]: batch norm, ReLU, nearest-neighbour upsampling, convolution; again."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, outputs, "batch")

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.interpolate(F.relu(self.norm1(x)), scale_factor=2, mode="nearest"))
        y = self.conv2(F.relu(self.norm2(y)))
        # 1x1 and nearest commute, and before it there are four times fewer pixels.
        return y + F.interpolate(self.shortcut(x), scale_factor=2, mode="nearest")


class DownBlock(ResidualBlock):
    """[N, in, H, W] -> [N, out, H / 2, W / 2]: norm, ReLU, convolution; again; means of 2x2 pixels."""

    def __init__(self, inputs: int, outputs: int, norm: Norm):
        super().__init__(inputs, inputs, outputs, norm)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        y = self.conv2(F.relu(self.norm2(y)))
        return F.avg_pool2d(y, 2) + self.shortcut(F.avg_pool2d(x, 2))


class ResnetGenerator(nn.Sequential):
    """[N, z] -> [N, C, S, S] in [-1, 1]: `width` features at full size, twice as many a halving, up to `widest`."""

    def __init__(self, latent_dim: int, size: int, channels: int, width: int, widest: int):
        first, doublings = stages(size)
        features = [min(width * 2**level, widest) for level in reversed(range(doublings + 1))]
        stem, last = nn.Linear(latent_dim, features[0] * first * first), nn.Conv2d(width, channels, 3, 1, 1)
        super().__init__(
            _initialise(stem),
            Reshape(features[0], first, first),
            *(UpBlock(inputs, outputs) for inputs, outputs in pairwise(features)),
            BatchNorm(width),
            nn.ReLU(inplace=True),
            _initialise(last),
            nn.Tanh(),
        )


class ResnetDiscriminator(LayeredDiscriminator):
    """[N, C, S, S] -> [N] logits: a convolution at full size, a block a halving, ReLU, a line over the whole last map.

    Features as the generator's. `minibatch_std` adds the batch's variety as one more of the last maps.
    """

    def __init__(self, size: int, channels: int, width: int, widest: int, norm: Norm, minibatch_std: bool = False):
        first, halvings = stages(size)
        features = [min(width * 2**level, widest) for level in range(halvings + 1)]
        variety = [MinibatchStd()] if minibatch_std else []
        super().__init__(
            _initialise(nn.Conv2d(channels, width, 3, 1, 1)),
            *(DownBlock(inputs, outputs, norm) for inputs, outputs in pairwise(features)),
            nn.ReLU(),
            *variety,
            nn.Flatten(),
            _initialise(nn.Linear((features[-1] + minibatch_std) * first * first, 1)),
        )


def _initialise(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Module:
    """Weights U(-a, a) with a = gain * sqrt(6 / (fan in + fan out)) (Glorot & Bengio 2010), biases 0."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ResnetGeneratorConfig(GeneratorConfig):
    """`width`: features at full size; `widest`: the most that any map has."""

    kind: Literal["resnet"]
    width: int = Field(64, ge=4, le=1024)
    widest: int = Field(512, ge=4, le=4096)

    def check(self, image: ImageShape) -> None:
        require_stages(self.kind, image)
        _check_widths(self.kind, self.width, self.widest)

    def build(self, latent_dim: int, image: ImageShape) -> nn.Module:
        return ResnetGenerator(latent_dim, image.height, image.channels, self.width, self.widest)


class ResnetDiscriminatorConfig(DiscriminatorConfig):
    """`width`, `widest`: as the generator's; `norm`: "layer" for a critic under a gradient penalty, or "none"."""

    kind: Literal["resnet"]
    width: int = Field(64, ge=4, le=1024)
    widest: int = Field(512, ge=4, le=4096)
    norm: Norm = "none"
    minibatch_std: bool = False

    def check(self, image: ImageShape) -> None:
        require_stages(self.kind, image)
        _check_widths(self.kind, self.width, self.widest)

    def build(self, image: ImageShape) -> Discriminator:
        return ResnetDiscriminator(image.height, image.channels, self.width, self.widest, self.norm, self.minibatch_std)


def _check_widths(network: str, width: int, widest: int) -> None:
    if width > widest:
        raise ValueError(f"network {network!r}: width ({width}) is more than widest ({widest})")
