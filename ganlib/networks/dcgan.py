"""DCGAN (Radford et al. 2015, arXiv 1511.06434), SYSTEMS.md A4: 4x4 convolutions, batch norm in both nets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from ganlib.networks.base import (
    Discriminator,
    DiscriminatorConfig,
    GeneratorConfig,
    ImageShape,
    initialise_normal,
    require_shape,
    stages,
)
from ganlib.networks.layers import BatchNorm

SIZES = (16, 28, 32, 48, 64, 128, 256)


class DCGANGenerator(nn.Module):
    """[N, z] -> [N, C, S, S] in [-1, 1]; S a power of two from 16, or 28 or 48.

    The first map is 4x4 pixels (7x7 for 28, 6x6 for 48) of so many features that, halved at each doubling of the size,
    `width` are left before the last one. At S = 64, width 64, 3 channels and z = 100: 3,576,704 parameters.
    """

    def __init__(self, latent_dim: int, size: int, channels: int, width: int = 64):
        super().__init__()
        first, doublings = stages(size)
        features = width * 2 ** (doublings - 1)
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent_dim, features, first, 1, 0, bias=False),  # first x first
            BatchNorm(features),
            nn.ReLU(inplace=True),
        ]
        while features > width:
            layers += [
                nn.ConvTranspose2d(features, features // 2, 4, 2, 1, bias=False),  # twice the size
                BatchNorm(features // 2),
                nn.ReLU(inplace=True),
            ]
            features //= 2
        layers += [nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        initialise_normal(self, std=0.02, norm_std=0.02)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z[:, :, None, None])


class WholeConv(nn.Conv2d):
    """The convolution of a whole k x k map to one number, on the map flattened: [N, C * k * k] -> [N, 1]."""

    def __init__(self, features: int, side: int):
        super().__init__(features, 1, side, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(len(x), self.in_channels, *self.kernel_size)).flatten(1)


class DCGANDiscriminator(Discriminator):
    """[N, C, S, S] -> [N] logits; S as the generator's. At S = 64, width 64 and 3 channels: 2,765,568 parameters."""

    def __init__(self, size: int, channels: int, width: int = 64):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
        first, halvings = stages(size)
        features = width
        for _ in range(halvings - 1):
            layers += [
                nn.Conv2d(features, features * 2, 4, 2, 1, bias=False),  # half the size
                BatchNorm(features * 2),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            features *= 2
        layers.append(WholeConv(features, first))
        self.layers = nn.Sequential(*layers)
        initialise_normal(self, std=0.02, norm_std=0.02)

    @property
    def head(self) -> nn.Module:
        return self.layers[-1]

    def features(self, x: Tensor) -> Tensor:
        for layer in list(self.layers)[:-1]:
            x = layer(x)
        return x.flatten(1)


class DCGANGeneratorConfig(GeneratorConfig):
    """`width` is f of the paper's picture: the features of the last hidden layer."""

    kind: Literal["dcgan"]
    width: int = Field(64, ge=4, le=1024)

    def check(self, image: ImageShape) -> None:
        require_shape(self.kind, image, SIZES)

    def build(self, latent_dim: int, image: ImageShape) -> nn.Module:
        return DCGANGenerator(latent_dim, image.height, image.channels, self.width)


class DCGANDiscriminatorConfig(DiscriminatorConfig):
    """`width` is the features of the first layer."""

    kind: Literal["dcgan"]
    width: int = Field(64, ge=4, le=1024)

    def check(self, image: ImageShape) -> None:
        require_shape(self.kind, image, SIZES)

    def build(self, image: ImageShape) -> Discriminator:
        return DCGANDiscriminator(image.height, image.channels, self.width)
