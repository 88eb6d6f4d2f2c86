"""DCGAN (Radford et al. 2015, arXiv 1511.06434), SYSTEMS.md A4: 4x4 convolutions, batch norm in both nets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from ganlib.networks.base import (
    DiscriminatorConfig,
    GeneratorConfig,
    ImageShape,
    initialise_normal,
    require_shape,
)
from ganlib.networks.layers import BatchNorm

SIZES = (16, 32, 64, 128, 256)


class DCGANGenerator(nn.Module):
    """[N, z] -> [N, C, S, S] in [-1, 1]; S a power of two from 16.

    4x4 pixels of `width * S / 8` features, halved at each doubling of the size. At S = 64, width 64, 3 channels and
    z = 100: 3,576,704 parameters.
    """

    def __init__(self, latent_dim: int, size: int, channels: int, width: int = 64):
        super().__init__()
        features = width * size // 8
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent_dim, features, 4, 1, 0, bias=False),  # 4x4
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


class DCGANDiscriminator(nn.Module):
    """[N, C, S, S] -> [N] logits. At S = 64, width 64 and 3 channels: 2,765,568 parameters."""

    def __init__(self, size: int, channels: int, width: int = 64):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
        features = width
        while features < width * size // 8:
            layers += [
                nn.Conv2d(features, features * 2, 4, 2, 1, bias=False),  # half the size
                BatchNorm(features * 2),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            features *= 2
        layers.append(nn.Conv2d(features, 1, 4, 1, 0, bias=False))
        self.layers = nn.Sequential(*layers)
        initialise_normal(self, std=0.02, norm_std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).view(-1)


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

    def build(self, image: ImageShape) -> nn.Module:
        return DCGANDiscriminator(image.height, image.channels, self.width)
