"""Our own convolutional pair: a batch-normalised generator against a discriminator without any norm.

It departs from DCGAN where that pays: the first map is a few pixels wide for any size (28 = 7 * 4, 48 = 6 * 8), and
the discriminator judges each image by itself, which a gradient penalty needs (Gulrajani et al. 2017, section 4;
Mescheder et al. 2018).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from ganlib.networks.base import DiscriminatorConfig, GeneratorConfig, ImageShape, Reshape
from ganlib.networks.layers import BatchNorm


def stages(size: int) -> tuple[int, int]:
    """(side of the first map, number of doublings) for `size`: the first map is 4 to 7 pixels wide.

    Raises ValueError where `size` has no such factorisation.
    """
    first, doublings = size, 0
    while first > 7 and first % 2 == 0:
        first, doublings = first // 2, doublings + 1
    if not 4 <= first <= 7 or doublings == 0:
        raise ValueError(
            "network 'convnet' makes sizes that are 4, 5, 6 or 7 times a power of two (16, 28, 48, 64, ...), "
            f"not {size}"
        )
    return first, doublings


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


class ConvDiscriminator(nn.Sequential):
    """[N, C, S, S] -> [N] logits.

    `width` features after the first halving, twice as many after each next, up to `widest`.
    """

    def __init__(self, size: int, channels: int, width: int, widest: int):
        first, halvings = stages(size)
        layers: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 3, 1, 1), nn.LeakyReLU(0.2)]
        inputs = width
        for level in range(1, halvings):
            outputs = min(width * 2**level, widest)
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
            inputs = outputs
        super().__init__(
            *layers,
            nn.Conv2d(inputs, inputs, 3, 1, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Flatten(),
            nn.Linear(inputs * first * first, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze(1)


class ConvGeneratorConfig(GeneratorConfig):
    """`width`: features of the last hidden map; `widest`: the most that any map has."""

    kind: Literal["convnet"]
    width: int = Field(64, ge=4, le=1024)
    widest: int = Field(512, ge=4, le=4096)

    def check(self, image: ImageShape) -> None:
        _check(image)

    def build(self, latent_dim: int, image: ImageShape) -> nn.Module:
        return ConvGenerator(latent_dim, image.height, image.channels, self.width, self.widest)


class ConvDiscriminatorConfig(DiscriminatorConfig):
    """`width`: features of the first map; `widest`: the most that any map has."""

    kind: Literal["convnet"]
    width: int = Field(64, ge=4, le=1024)
    widest: int = Field(512, ge=4, le=4096)

    def check(self, image: ImageShape) -> None:
        _check(image)

    def build(self, image: ImageShape) -> nn.Module:
        return ConvDiscriminator(image.height, image.channels, self.width, self.widest)


def _check(image: ImageShape) -> None:
    if image.height != image.width:
        raise ValueError(f"network 'convnet' makes square images, not {image.height}x{image.width}")
    stages(image.height)
