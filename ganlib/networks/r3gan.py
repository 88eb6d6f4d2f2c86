"""The networks of R3GAN (Huang et al. 2024, arXiv 2501.05441, section 4 and appendix): a modernised ResNet, no norms.

- A stage a resolution, each of `blocks` bottlenecks: 1x1 up to `expansion` times the features, 3x3 in groups, 1x1 back.
- Fix-up initialisation (Zhang et al. 2019, arXiv 1901.09321): with L blocks in the network and m = 3 convolutions in
  each, the last one is 0 at the start and the others He-normal times L^(-1 / (2 m - 2)) = L^(-1/4). So each block
  begins as the identity, and how far a step moves the output does not grow with depth.
- Biases stand before the two activations (LeakyReLU 0.2) of each block and nowhere else.
- Between stages a 1x1 convolution where the number of features changes, and bilinear resampling: to half the size that
  is the mean of 2x2 pixels, so both are low-pass filters and nothing aliases.
- The first map is a learned basis of patterns, each scaled by a line of z; D's last is its counterpart, a learned
  pattern for each feature, and a line over their answers.

The paper's CIFAR-10 networks are width = widest = 768, those for 64x64 width 384 and widest 768; two blocks a stage,
groups of 16 features, expansion 2.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ganlib.networks.base import (
    Config,
    Discriminator,
    DiscriminatorConfig,
    GeneratorConfig,
    ImageShape,
    LayeredDiscriminator,
    fill_normal,
    require_stages,
    stages,
)
from ganlib.networks.layers import MinibatchStd

SLOPE = 0.2


class Bottleneck(nn.Module):
    """[N, F, H, W] -> the same: x + W3 a(W2 a(W1 x + b1) + b2), a being LeakyReLU; `blocks`: the whole network's L."""

    def __init__(self, features: int, expansion: int, group_size: int, blocks: int):
        super().__init__()
        hidden = features * expansion
        self.expand = nn.Conv2d(features, hidden, 1)
        self.mix = nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden // group_size)
        self.contract = nn.Conv2d(hidden, features, 1, bias=False)
        gain = math.sqrt(2 / (1 + SLOPE**2)) * blocks**-0.25
        for layer in (self.expand, self.mix):
            _initialise(layer, gain)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.contract.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.expand(x), SLOPE, inplace=True)
        y = F.leaky_relu(self.mix(y), SLOPE, inplace=True)
        return x + self.contract(y)


class Resample(nn.Module):
    """[N, in, H, W] -> [N, out, H', W'], twice the size ("up") or half ("down"), bilinear; the 1x1 on the small map."""

    def __init__(self, inputs: int, outputs: int, way: Literal["up", "down"]):
        super().__init__()
        self.way = way
        self.linear: nn.Module = nn.Identity()
        if inputs != outputs:
            self.linear = _initialise(nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "down":
            return self.linear(F.avg_pool2d(x, 2))
        return F.interpolate(self.linear(x), scale_factor=2, mode="bilinear", align_corners=False)


class GeneratorBasis(nn.Module):
    """[N, z] -> [N, F, side, side]: pattern f of the basis, N(0, 1) at the start, times (W z)_f."""

    def __init__(self, latent_dim: int, features: int, side: int):
        super().__init__()
        self.basis = nn.Parameter(fill_normal(torch.empty(1, features, side, side), 1.0))
        self.linear = _initialise(nn.Linear(latent_dim, features, bias=False))

    def forward(self, z: Tensor) -> Tensor:
        return self.basis * self.linear(z)[:, :, None, None]


class R3GANGenerator(nn.Sequential):
    """[N, z] -> [N, C, S, S]: `width` features at full size, twice as many a halving, up to `widest`.

    The output is linear, as the paper's, and leaves [-1, 1] where it has not learned better; "tanh" keeps it there.
    """

    def __init__(
        self,
        latent_dim: int,
        size: int,
        channels: int,
        width: int,
        widest: int,
        blocks: int,
        group_size: int,
        expansion: int,
        output: Literal["linear", "tanh"] = "linear",
    ):
        first, doublings = stages(size)
        features = [min(width * 2**level, widest) for level in reversed(range(doublings + 1))]
        total = blocks * len(features)
        layers: list[nn.Module] = [GeneratorBasis(latent_dim, features[0], first)]
        layers += [Bottleneck(features[0], expansion, group_size, total) for _ in range(blocks)]
        for inputs, outputs in pairwise(features):
            layers.append(Resample(inputs, outputs, "up"))
            layers += [Bottleneck(outputs, expansion, group_size, total) for _ in range(blocks)]
        layers.append(_initialise(nn.Conv2d(width, channels, 1, bias=False)))
        if output == "tanh":
            layers.append(nn.Tanh())
        super().__init__(*layers)


class R3GANDiscriminator(LayeredDiscriminator):
    """[N, C, S, S] -> [N] logits; the generator's mirror image. `minibatch_std` adds the batch's variety at the end."""

    def __init__(
        self,
        size: int,
        channels: int,
        width: int,
        widest: int,
        blocks: int,
        group_size: int,
        expansion: int,
        minibatch_std: bool = False,
    ):
        first, halvings = stages(size)
        features = [min(width * 2**level, widest) for level in range(halvings + 1)]
        total = blocks * len(features)
        layers: list[nn.Module] = [_initialise(nn.Conv2d(channels, width, 1, bias=False))]
        for inputs, outputs in pairwise(features):
            layers += [Bottleneck(inputs, expansion, group_size, total) for _ in range(blocks)]
            layers.append(Resample(inputs, outputs, "down"))
        layers += [Bottleneck(features[-1], expansion, group_size, total) for _ in range(blocks)]
        last = features[-1]
        if minibatch_std:
            layers.append(MinibatchStd())
            last += 1
        super().__init__(
            *layers,
            _initialise(nn.Conv2d(last, last, first, groups=last, bias=False)),  # 1x1: a pattern a feature
            nn.Flatten(),
            _initialise(nn.Linear(last, 1, bias=False)),
        )


def _initialise(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Module:
    """Weights N(0, gain^2 / fan in) (He et al. 2015)."""
    fan_in = layer.weight[0].numel()
    fill_normal(layer.weight, gain / math.sqrt(fan_in))
    return layer


class _Sizes(Config):
    """`width`: features at full size; `widest`: the most between blocks; `blocks` a stage; `group_size` of the 3x3."""

    kind: Literal["r3gan"]
    width: int = Field(64, ge=4, le=4096)
    widest: int = Field(256, ge=4, le=4096)
    blocks: int = Field(2, ge=1, le=16)
    group_size: int = Field(16, ge=1, le=4096)
    expansion: int = Field(2, ge=1, le=8)

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        return self.width, self.widest, self.blocks, self.group_size, self.expansion

    def check(self, image: ImageShape) -> None:
        require_stages(self.kind, image)
        if self.width > self.widest:
            raise ValueError(f"network 'r3gan': width ({self.width}) is more than widest ({self.widest})")
        for level in range(stages(image.height)[1] + 1):
            hidden = min(self.width * 2**level, self.widest) * self.expansion
            if hidden % self.group_size:
                raise ValueError(
                    f"network 'r3gan': {hidden} features (expansion {self.expansion}) do not divide into groups of "
                    f"{self.group_size}; change width, widest, expansion or group_size"
                )


class R3GANGeneratorConfig(_Sizes, GeneratorConfig):
    """Its sizes, and whether a tanh bounds what comes out."""

    has_batch_norm: ClassVar[bool] = False
    output: Literal["linear", "tanh"] = "linear"

    def build(self, latent_dim: int, image: ImageShape) -> nn.Module:
        return R3GANGenerator(latent_dim, image.height, image.channels, *self.sizes, self.output)


class R3GANDiscriminatorConfig(_Sizes, DiscriminatorConfig):
    """Its sizes, and whether it is shown how far a batch's images differ."""

    takes_spectral_norm: ClassVar[bool] = False
    minibatch_std: bool = False

    def build(self, image: ImageShape) -> Discriminator:
        return R3GANDiscriminator(image.height, image.channels, *self.sizes, self.minibatch_std)
