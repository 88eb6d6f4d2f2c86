"""StarGAN's discriminator (Choi et al. 2018, arXiv 1711.09020, table 5): one body, two heads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from ganlib.networks.base import Config, ImageShape


class StarGANDiscriminator(nn.Module):
    """float [N, C, S, S] -> (logits of patches [N, 1, s, s], logits of domains [N, D]), s = S / 2^layers.

    Convolutions 4x4 of stride 2 with LeakyReLU 0.01, features doubling from `width` on, no norm. At S = 128, width 64,
    6 layers, 3 channels and 5 domains: 44,762,048 parameters.
    """

    def __init__(self, size: int, channels: int, domains: int, width: int = 64, layers: int = 6):
        super().__init__()
        body: list[nn.Module] = []
        features = channels
        for i in range(layers):
            body += [nn.Conv2d(features, width * 2**i, 4, 2, 1), nn.LeakyReLU(0.01, inplace=True)]
            features = width * 2**i
        self.body = nn.Sequential(*body)
        self.source = nn.Conv2d(features, 1, 3, 1, 1, bias=False)
        self.domains = nn.Conv2d(features, domains, size // 2**layers, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(images)
        return self.source(features), self.domains(features).flatten(1)


class StarGANDiscriminatorConfig(Config):
    """`width` is the features of the first layer, `layers` how often the size is halved."""

    kind: Literal["stargan"] = "stargan"
    width: int = Field(64, ge=4, le=1024)
    layers: int = Field(6, ge=1, le=8)

    def check(self, image: ImageShape) -> None:
        """Raises ValueError where such an image cannot be halved so often."""
        if image.height != image.width or image.height % 2**self.layers:
            raise ValueError(
                f"network {self.kind!r} of {self.layers} layers judges square images of a multiple of "
                f"{2**self.layers} pixels, not {image.height}x{image.width}"
            )

    def build(self, image: ImageShape, domains: int) -> StarGANDiscriminator:
        return StarGANDiscriminator(image.height, image.channels, domains, self.width, self.layers)
