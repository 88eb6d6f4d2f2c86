"""Multilayer perceptrons, the networks of the first GAN (Goodfellow et al. 2014), SYSTEMS.md A1."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from ganlib.networks.base import DiscriminatorConfig, GeneratorConfig, ImageShape, Reshape
from ganlib.networks.layers import Dropout

Widths = tuple[Annotated[int, Field(ge=1, le=65536)], ...]


class Maxout(nn.Module):
    """[N, in] -> [N, out], each the largest of `pieces` linear maps (Goodfellow et al. 2013, arXiv 1302.4389)."""

    def __init__(self, inputs: int, outputs: int, pieces: int):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs * pieces)
        self.outputs, self.pieces = outputs, pieces

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).view(-1, self.outputs, self.pieces).amax(2)


def _initialise_uniform(module: nn.Module, half_range: float) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.uniform_(layer.weight, -half_range, half_range)
            nn.init.zeros_(layer.bias)


class MLPGenerator(nn.Sequential):
    """[N, z] -> [N, C, H, W] in [-1, 1] through ReLU layers of the given widths; weights U(-0.05, 0.05)."""

    def __init__(self, latent_dim: int, image: ImageShape, widths: Widths):
        layers: list[nn.Module] = []
        for inputs, outputs in zip((latent_dim, *widths), widths, strict=False):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
        pixels = image.height * image.width * image.channels
        last = nn.Linear((latent_dim, *widths)[-1], pixels)
        super().__init__(*layers, last, nn.Tanh(), Reshape(image.channels, image.height, image.width))
        _initialise_uniform(self, 0.05)


class MLPDiscriminator(nn.Sequential):
    """[N, C, H, W] -> [N] logits through maxout layers with dropout before each; weights U(-0.005, 0.005)."""

    def __init__(self, image: ImageShape, widths: Widths, pieces: int, input_dropout: float, hidden_dropout: float):
        inputs = image.height * image.width * image.channels
        layers: list[nn.Module] = [nn.Flatten(), Dropout(input_dropout)]
        for outputs in widths:
            layers += [Maxout(inputs, outputs, pieces), Dropout(hidden_dropout)]
            inputs = outputs
        super().__init__(*layers, nn.Linear(inputs, 1))
        _initialise_uniform(self, 0.005)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze(1)


class MLPGeneratorConfig(GeneratorConfig):
    """Widths of the hidden layers, from the latent to the image."""

    kind: Literal["mlp"]
    widths: Widths = (1200, 1200)

    def build(self, latent_dim: int, image: ImageShape) -> nn.Module:
        return MLPGenerator(latent_dim, image, self.widths)


class MLPDiscriminatorConfig(DiscriminatorConfig):
    """Widths of the hidden layers, from the image to the logit; `pieces` linear maps a maxout unit (1: none)."""

    kind: Literal["mlp"]
    widths: Widths = (240, 240)
    pieces: int = Field(5, ge=1, le=64)
    input_dropout: float = Field(0.2, ge=0, lt=1)
    hidden_dropout: float = Field(0.5, ge=0, lt=1)

    def build(self, image: ImageShape) -> nn.Module:
        return MLPDiscriminator(image, self.widths, self.pieces, self.input_dropout, self.hidden_dropout)
