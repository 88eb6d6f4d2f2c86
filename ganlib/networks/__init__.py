"""The networks, by the name (`kind`) that a recipe gives them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ganlib.networks.avatars import AvatarsDiscriminatorConfig, AvatarsGeneratorConfig
from ganlib.networks.convnet import ConvDiscriminatorConfig, ConvGeneratorConfig
from ganlib.networks.dcgan import DCGANDiscriminatorConfig, DCGANGeneratorConfig
from ganlib.networks.mlp import MLPDiscriminatorConfig, MLPGeneratorConfig
from ganlib.networks.mnist import MnistDiscriminatorConfig, MnistGeneratorConfig
from ganlib.networks.r3gan import R3GANDiscriminatorConfig, R3GANGeneratorConfig
from ganlib.networks.resnet import ResnetDiscriminatorConfig, ResnetGeneratorConfig

AnyGenerator = Annotated[
    MLPGeneratorConfig
    | MnistGeneratorConfig
    | DCGANGeneratorConfig
    | AvatarsGeneratorConfig
    | ConvGeneratorConfig
    | ResnetGeneratorConfig
    | R3GANGeneratorConfig,
    Field(discriminator="kind"),
]
AnyDiscriminator = Annotated[
    MLPDiscriminatorConfig
    | MnistDiscriminatorConfig
    | DCGANDiscriminatorConfig
    | AvatarsDiscriminatorConfig
    | ConvDiscriminatorConfig
    | ResnetDiscriminatorConfig
    | R3GANDiscriminatorConfig,
    Field(discriminator="kind"),
]
