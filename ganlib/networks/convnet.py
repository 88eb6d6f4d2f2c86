"""Our own convolutional pair: a batch-normalised generator against a discriminator without any norm.

It departs from DCGAN where that pays: the first map is a few pixels wide for any size (28 = 7 * 4, 48 = 6 * 8), and
the discriminator judges each image by itself, which a gradient penalty needs (Gulrajani et al. 2017, section 4;
Mescheder et al. 2018).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import Field
from torch import nn

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
from ganlib.networks.layers import BatchNorm, MinibatchStd


class ConvGenerator(nn.Sequential):
    """[N, z] -> [N, C, S, S] in [-1, 1].

    `width` features at half the full size, twice as many at each halving below, up to `widest`.
    """

    def __init__(self, latent_dim: int, size: int, channels: int, width: int, widest: int):
        first, doublings = stages(size)
        features = [min(width * 2**level, widest) for level in reversed(range(doublings))]
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, features[0] * first * first, bias=False),
            Reshape(features[0], first, first),
            BatchNorm(features[0]),
            nn.ReLU(inplace=True),
        ]
        for inputs, outputs in pairwise(features):
            layers += [
                nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False),
                BatchNorm(outputs),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers, nn.Conv2d(features[-1], 4 * channels, 3, 1, 1), nn.PixelShuffle(2), nn.Tanh())


class ConvDiscriminator(LayeredDiscriminator):
    """[N, C, S, S] -> [N] logits.

    `width` features after the first halving, twice as many after each next, up to `widest`. `minibatch_std` adds the
    batch's variety to the last map, before its convolution.
    """

    def __init__(self, size: int, channels: int, width: int, widest: int, minibatch_std: bool = False):
        first, halvings = stages(size)
        layers: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 3, 1, 1), nn.LeakyReLU(0.2)]
        inputs = width
        for level in range(1, halvings):
            outputs = min(width * 2**level, widest)
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
            inputs = outputs
        if minibatch_std:
            layers.append(MinibatchStd())
        super().__init__(
            *layers,
            nn.Conv2d(inputs + minibatch_std, inputs, 3, 1, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Flatten(),
            nn.Linear(inputs * first * first, 1),
        )


class ConvGeneratorConfig(GeneratorConfig):
    """`width`: features of the last hidden map; `widest`: the most that any map has."""

    kind: Literal["convnet"]
    width: int = Field(64, ge=4, le=1024)
    widest: int = Field(512, ge=4, le=4096)

    def check(self, image: ImageShape) -> None:
        require_stages(self.kind, image)

    def build(self, latent_dim: int, image: ImageShape) -> nn.Module:
        return ConvGenerator(latent_dim, image.height, image.channels, self.width, self.widest)


class ConvDiscriminatorConfig(DiscriminatorConfig):
    """`width`: features of the first map; `widest`: the most that any map has; `minibatch_std`: sees the variety."""

    kind: Literal["convnet"]
    width: int = Field(64, ge=4, le=1024)
    widest: int = Field(512, ge=4, le=4096)
    minibatch_std: bool = False

    def check(self, image: ImageShape) -> None:
        require_stages(self.kind, image)

    def build(self, image: ImageShape) -> Discriminator:
        return ConvDiscriminator(image.height, image.channels, self.width, self.widest, self.minibatch_std)
