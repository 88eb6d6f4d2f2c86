"""The two convolutional MNIST networks of SYSTEMS.md, A2 ("large") and A3 ("small"), as Keras builds them:
"same" padding, LeakyReLU 0.3, batch norm with momentum 0.99 and eps 1e-3, Glorot-uniform weights."""

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
    initialise_glorot,
    require_shape,
)
from ganlib.networks.layers import BatchNorm, Dropout, SameConv2d, SameConvTranspose2d


def _norm_and_activation(features: int) -> list[nn.Module]:
    return [BatchNorm(features, momentum=0.01, eps=1e-3), nn.LeakyReLU(0.3)]


class MnistLargeGenerator(nn.Sequential):
    """A2: [N, z] -> [N, 1, 28, 28] in [-1, 1]. 2,305,473 parameters at z = 100."""

    def __init__(self, latent_dim: int, channels: int = 1):
        super().__init__(
            nn.Linear(latent_dim, 256 * 7 * 7, bias=False),
            *_norm_and_activation(256 * 7 * 7),
            Reshape(256, 7, 7),
            SameConvTranspose2d(256, 128, 5, stride=1, bias=False),  # 7x7
            *_norm_and_activation(128),
            SameConvTranspose2d(128, 64, 5, stride=2, bias=False),  # 14x14
            *_norm_and_activation(64),
            SameConvTranspose2d(64, channels, 5, stride=2),  # 28x28
            nn.Tanh(),
        )
        initialise_glorot(self)


class MnistLargeDiscriminator(LayeredDiscriminator):
    """A2: [N, 1, 28, 28] -> [N] logits. 212,865 parameters."""

    def __init__(self, channels: int = 1):
        super().__init__(
            SameConv2d(channels, 64, 5, stride=2),  # 14x14
            nn.LeakyReLU(0.3),
            Dropout(0.3),
            SameConv2d(64, 128, 5, stride=2),  # 7x7
            nn.LeakyReLU(0.3),
            Dropout(0.3),
            nn.Flatten(),
            nn.Linear(128 * 7 * 7, 1),
        )
        initialise_glorot(self)


class MnistSmallGenerator(nn.Sequential):
    """A3: [N, z] -> [N, 1, 28, 28] in [-1, 1]."""

    def __init__(self, latent_dim: int, channels: int = 1):
        super().__init__(
            nn.Linear(latent_dim, 128 * 7 * 7, bias=False),
            *_norm_and_activation(128 * 7 * 7),
            Reshape(128, 7, 7),
            SameConvTranspose2d(128, 64, 5, stride=2, bias=False),  # 14x14
            *_norm_and_activation(64),
            SameConvTranspose2d(64, channels, 5, stride=2),  # 28x28
            nn.Tanh(),
        )
        initialise_glorot(self)


class MnistSmallDiscriminator(LayeredDiscriminator):
    """A3: [N, 1, 28, 28] -> [N] logits."""

    def __init__(self, channels: int = 1):
        super().__init__(
            SameConv2d(channels, 64, 5, stride=2),  # 14x14
            nn.LeakyReLU(0.3),
            nn.MaxPool2d(2),  # 7x7
            Dropout(0.3),
            nn.Flatten(),
            nn.Linear(64 * 7 * 7, 1),
        )
        initialise_glorot(self)


class MnistGeneratorConfig(GeneratorConfig):
    """The generator of A2 ("large") or A3 ("small")."""

    kind: Literal["mnist-large", "mnist-small"]

    def check(self, image: ImageShape) -> None:
        require_shape(self.kind, image, (28,))

    def build(self, latent_dim: int, image: ImageShape) -> nn.Module:
        network = MnistLargeGenerator if self.kind == "mnist-large" else MnistSmallGenerator
        return network(latent_dim, image.channels)


class MnistDiscriminatorConfig(DiscriminatorConfig):
    """The discriminator of A2 ("large") or A3 ("small")."""

    kind: Literal["mnist-large", "mnist-small"]

    def check(self, image: ImageShape) -> None:
        require_shape(self.kind, image, (28,))

    def build(self, image: ImageShape) -> Discriminator:
        network = MnistLargeDiscriminator if self.kind == "mnist-large" else MnistSmallDiscriminator
        return network(image.channels)
