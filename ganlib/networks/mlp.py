"""Multilayer perceptrons, the networks of the first GAN (Goodfellow et al. 2014), SYSTEMS.md A1."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from ganlib.networks.base import (
    Discriminator,
    DiscriminatorConfig,
    GeneratorConfig,
    ImageShape,
    LayeredDiscriminator,
    Reshape,
)
from ganlib.networks.layers import Dropout

Widths = tuple[Annotated[int, Field(ge=1, le=65536)], ...]
Initial = Literal["narrow", "fan-in"]
"""First weights: "narrow" are U(-0.05, 0.05) in G and U(-0.005, 0.005) in D, biases 0, which fit the first GAN's wide
layers; "fan-in" are U(-a, a) with a = 1 / sqrt(fan in), biases too (torch's own), for any width and depth."""


class Maxout(nn.Module):
    """[N, in] -> [N, out], each the largest of `pieces` linear maps (Goodfellow et al. 2013, arXiv 1302.4389)."""

    def __init__(self, inputs: int, outputs: int, pieces: int):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs * pieces)
        self.outputs, self.pieces = outputs, pieces

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).view(-1, self.outputs, self.pieces).amax(2)


def _initialise(module: nn.Module, initial: Initial, half_range: float) -> None:
    """torch has drawn fan-in weights when it made the layers."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear) and initial == "narrow":
            nn.init.uniform_(layer.weight, -half_range, half_range)
            nn.init.zeros_(layer.bias)


class MLPGenerator(nn.Sequential):
    """[N, z] -> [N, C, H, W] through ReLU layers of the given widths; in [-1, 1] but for a linear `output`.

    Points of d dimensions are images of 1 x d pixels and one channel, and want a linear output.
    """

    def __init__(
        self,
        latent_dim: int,
        image: ImageShape,
        widths: Widths,
        output: Literal["tanh", "linear"] = "tanh",
        initial: Initial = "narrow",
    ):
        layers: list[nn.Module] = []
        for inputs, outputs in zip((latent_dim, *widths), widths, strict=False):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
        layers.append(nn.Linear((latent_dim, *widths)[-1], image.height * image.width * image.channels))
        if output == "tanh":
            layers.append(nn.Tanh())
        super().__init__(*layers, Reshape(image.channels, image.height, image.width))
        _initialise(self, initial, 0.05)


class MLPDiscriminator(LayeredDiscriminator):
    """[N, C, H, W] -> [N] logits through maxout layers with dropout before each.

    With one piece a unit, a layer is linear and LeakyReLU 0.2.
    """

    def __init__(
        self,
        image: ImageShape,
        widths: Widths,
        pieces: int,
        input_dropout: float,
        hidden_dropout: float,
        initial: Initial = "narrow",
    ):
        inputs = image.height * image.width * image.channels
        layers: list[nn.Module] = [nn.Flatten(), Dropout(input_dropout)]
        for outputs in widths:
            if pieces == 1:
                layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2, inplace=True)]
            else:
                layers.append(Maxout(inputs, outputs, pieces))
            layers.append(Dropout(hidden_dropout))
            inputs = outputs
        super().__init__(*layers, nn.Linear(inputs, 1))
        _initialise(self, initial, 0.005)


class MLPGeneratorConfig(GeneratorConfig):
    """Widths of the hidden layers, from the latent to the image; `output` and first weights."""

    has_batch_norm: ClassVar[bool] = False
    kind: Literal["mlp"]
    widths: Widths = (1200, 1200)
    output: Literal["tanh", "linear"] = "tanh"
    initial: Initial = "narrow"

    def build(self, latent_dim: int, image: ImageShape) -> nn.Module:
        return MLPGenerator(latent_dim, image, self.widths, self.output, self.initial)


class MLPDiscriminatorConfig(DiscriminatorConfig):
    """Widths of the hidden layers, from the image to the logit; `pieces` linear maps a maxout unit (1: LeakyReLU)."""

    kind: Literal["mlp"]
    widths: Widths = (240, 240)
    pieces: int = Field(5, ge=1, le=64)
    input_dropout: float = Field(0.2, ge=0, lt=1)
    hidden_dropout: float = Field(0.5, ge=0, lt=1)
    initial: Initial = "narrow"

    def build(self, image: ImageShape) -> Discriminator:
        return MLPDiscriminator(image, self.widths, self.pieces, self.input_dropout, self.hidden_dropout, self.initial)
