"""The cartoon-avatar networks of SYSTEMS.md A5: 48x48, 5x5 "same" convolutions, as TensorFlow's DCGANs build them."""

from __future__ import annotations

from typing import Literal

from torch import nn

from ganlib.networks.base import (
    Discriminator,
    DiscriminatorConfig,
    GeneratorConfig,
    ImageShape,
    LayeredDiscriminator,
    Reshape,
    initialise_normal,
    require_shape,
)
from ganlib.networks.layers import BatchNorm, SameConv2d, SameConvTranspose2d


class AvatarsGenerator(nn.Sequential):
    """[N, z] -> [N, C, 48, 48] in [-1, 1]: 3 -> 6 -> 12 -> 24 -> 48 pixels, no batch norm before the last layer."""

    def __init__(self, latent_dim: int, channels: int = 3):
        super().__init__(
            nn.Linear(latent_dim, 512 * 3 * 3),
            Reshape(512, 3, 3),
            BatchNorm(512),
            nn.ReLU(inplace=True),
            SameConvTranspose2d(512, 256, 5, stride=2),
            BatchNorm(256),
            nn.ReLU(inplace=True),
            SameConvTranspose2d(256, 128, 5, stride=2),
            BatchNorm(128),
            nn.ReLU(inplace=True),
            SameConvTranspose2d(128, 64, 5, stride=2),
            nn.ReLU(inplace=True),
            SameConvTranspose2d(64, channels, 5, stride=2),
            nn.Tanh(),
        )
        initialise_normal(self, std=0.02)


class AvatarsDiscriminator(LayeredDiscriminator):
    """[N, C, 48, 48] -> [N] logits."""

    def __init__(self, channels: int = 3):
        super().__init__(
            SameConv2d(channels, 64, 5, stride=2),  # 24x24
            nn.LeakyReLU(0.2, inplace=True),
            SameConv2d(64, 128, 5, stride=2),  # 12x12
            BatchNorm(128),
            nn.LeakyReLU(0.2, inplace=True),
            SameConv2d(128, 256, 5, stride=2),  # 6x6
            BatchNorm(256),
            nn.LeakyReLU(0.2, inplace=True),
            SameConv2d(256, 512, 5, stride=2),  # 3x3
            BatchNorm(512),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Flatten(),
            nn.Linear(512 * 3 * 3, 1),
        )
        initialise_normal(self, std=0.02)


class AvatarsGeneratorConfig(GeneratorConfig):
    """The generator of A5."""

    kind: Literal["avatars"]

    def check(self, image: ImageShape) -> None:
        require_shape(self.kind, image, (48,))

    def build(self, latent_dim: int, image: ImageShape) -> nn.Module:
        return AvatarsGenerator(latent_dim, image.channels)


class AvatarsDiscriminatorConfig(DiscriminatorConfig):
    """The discriminator of A5."""

    kind: Literal["avatars"]

    def check(self, image: ImageShape) -> None:
        require_shape(self.kind, image, (48,))

    def build(self, image: ImageShape) -> Discriminator:
        return AvatarsDiscriminator(image.channels)
