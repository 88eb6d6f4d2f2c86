"""Images from texts: GAN-CLS, SYSTEMS.md C1 (Reed et al. 2016, arXiv 1605.05396, section 4)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganlib.methods.base import DataShape
from ganlib.methods.noise_to_image import check_networks
from ganlib.methods.text_game import TextGame, TextGameConfig
from ganlib.networks import AnyDiscriminator, AnyGenerator
from ganlib.networks.base import Discriminator, ImageShape, stages
from ganlib.networks.text import TextConfig, Told, comparison, short_form

MAPPED = ("dcgan", "convnet", "resnet")
"""Discriminators whose features are a last map, `stages(height)` wide, which a text can be laid beside."""


class GanClsConfig(TextGameConfig):
    """What decides a run of this method, but for its optimizers.

    matching: how D compares an image with a text. "concatenation": the text's short form, repeated over the last map,
    beside it, then a 1x1 convolution and one of the whole map, as in the paper. "projection": <W code, features> added
    to the logit (Miyato & Koyama 2018, arXiv 1802.05637), which needs less.
    """

    kind: Literal["gan-cls"]
    generator: AnyGenerator
    discriminator: AnyDiscriminator
    matching: Literal["concatenation", "projection"] = "projection"

    def check(self, data: DataShape) -> None:
        super().check(data)
        check_networks(self, self.generator, self.discriminator, data)
        if self.matching == "concatenation" and self.discriminator.kind not in MAPPED:
            raise ValueError(
                f"network {self.discriminator.kind!r} has no last map to lay a text beside; "
                f"take method.matching=projection, or a discriminator of kind {', '.join(MAPPED)}"
            )

    def build(self, data: DataShape) -> TextGame:
        network = self.generator.build(self.latent.dim + self.short, data.image)
        generator = TextGenerator(Told(self.text, short_form(self.text.dim, self.short)), network)
        judge = self.discriminator.build(data.image)
        discriminator: nn.Module
        if self.matching == "projection":
            discriminator = TextProjection(self.text, judge)
        else:
            discriminator = TextBesideMap(self.text, judge, self.short, data.image)
        return TextGame(self, generator, discriminator)


class TextGenerator(nn.Module):
    """([N, z], text) -> [N, C, H, W] in [-1, 1]: the text's short form is concatenated to z."""

    def __init__(self, told: Told, network: nn.Module):
        super().__init__()
        self.told, self.network = told, network

    def forward(self, z: Tensor, text: Tensor) -> Tensor:
        return self.network(torch.cat([z, self.told(text)], dim=1))


class TextProjection(nn.Module):
    """([N, C, H, W], text) -> [N] logits: head(phi(x)) + <W code, phi(x)>, phi being `network.features`."""

    def __init__(self, text: TextConfig, network: Discriminator):
        super().__init__()
        self.network, self.told = network, Told(text, comparison(text.dim, network.feature_dim))

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        features = self.network.features(x)
        return self.network.head(features).squeeze(1) + (self.told(text) * features).sum(1)


class TextBesideMap(nn.Module):
    """([N, C, H, W], text) -> [N] logits: the short form repeated over the last map (Reed et al. 2016, section 4.1).

    A 1x1 convolution on the two together, LeakyReLU, and the network's own head.
    """

    def __init__(self, text: TextConfig, network: Discriminator, short: int, image: ImageShape):
        super().__init__()
        self.side = stages(image.height)[0]
        features = network.feature_dim // self.side**2
        self.network, self.told = network, Told(text, short_form(text.dim, short))
        self.join = nn.Conv2d(features + short, features, 1)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        maps = self.network.features(x).reshape(len(x), -1, self.side, self.side)
        spread = self.told(text).to(maps.dtype)[:, :, None, None].expand(-1, -1, self.side, self.side)
        joined = F.leaky_relu(self.join(torch.cat([maps, spread], dim=1)), 0.2)
        return self.network.head(joined.flatten(1)).squeeze(1)
