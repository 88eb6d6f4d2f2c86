"""The convolutional encoder of SYSTEMS.md A8: images to features."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from ganlib.networks.base import Config, ImageShape, initialise_glorot

Width = Annotated[int, Field(ge=1, le=4096)]


class ConvEncoder(nn.Sequential):
    """[N, C, H, W] -> [N, features], none below 0.

    A stage a width: convolution 3x3, ReLU, and the largest of each 2x2 pixels; then a linear layer and ReLU. The source
    of A8 says neither how its convolutions are padded nor how it initialises: they are Keras' defaults here, as in A2,
    no padding and Glorot-uniform weights. At 28x28x1, widths (32, 64) and 128 features: 223,744 parameters.
    """

    def __init__(self, image: ImageShape, widths: tuple[int, ...], features: int):
        layers: list[nn.Module] = []
        inputs = image.channels
        for outputs in widths:
            layers += [nn.Conv2d(inputs, outputs, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
            inputs = outputs
        height, width = (_pooled(side, len(widths)) for side in (image.height, image.width))
        flat = inputs * height * width
        super().__init__(*layers, nn.Flatten(), nn.Linear(flat, features), nn.ReLU(inplace=True))
        initialise_glorot(self)


def _pooled(side: int, stages: int) -> int:
    """What so many stages leave of a map's side."""
    for _ in range(stages):
        side = (side - 2) // 2
    return side


class ConvEncoderConfig(Config):
    """`widths`: features of the map after each stage; `features`: how many come out. The defaults are A8's."""

    kind: Literal["convnet"] = "convnet"
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)] = (32, 64)
    features: int = Field(128, ge=1, le=65536)

    def check(self, image: ImageShape) -> None:
        """Raises ValueError, with the reason, where nothing is left of an image after the last stage."""
        if _pooled(min(image.height, image.width), len(self.widths)) < 1:
            raise ValueError(
                f"the encoder's {len(self.widths)} stages leave nothing of {image.height}x{image.width} images; "
                "give it fewer widths"
            )

    def build(self, image: ImageShape) -> nn.Module:
        return ConvEncoder(image, self.widths, self.features)
