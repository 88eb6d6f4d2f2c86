"""Images to images of the same size through residual blocks: the generators of CycleGAN and of StarGAN.

CycleGAN's (Zhu et al. 2017, arXiv 1703.10593, section 4 and appendix 7.2, after Johnson et al. 2016): c7s1-64, d128,
d256, residual blocks of 256, u128, u64, c7s1-3. StarGAN's (Choi et al. 2018, arXiv 1711.09020, table 4) is the same but
for the kernels of its strided layers, its padding and its norms, and is told a domain.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ganlib.networks.base import Config, ImageShape, initialise_normal

Padding = Literal["reflect", "zeros"]


class ResidualBlock(nn.Module):
    """x + IN(conv(ReLU(IN(conv(x))))), 3x3, [N, C, H, W] -> the same."""

    def __init__(self, features: int, padding: Padding, affine: bool):
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(features, features, 3, 1, padding, affine),
            nn.ReLU(inplace=True),
            *_convolution(features, features, 3, 1, padding, affine),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class ResidualTranslator(nn.Module):
    """float [N, C, H, W] in [-1, 1] (and domains [N, D]) -> [N, C, H, W] in [-1, 1]; H and W multiples of 4, from 8 on.

    Domains are spread over the image and stand beside its channels (StarGAN, section 3). At width 64, 3 channels and
    9 blocks CycleGAN's has 11,378,179 parameters; StarGAN's, of 6 blocks, with 5 domains, 8,430,528.
    """

    def __init__(self, config: ResidualTranslatorConfig, channels: int, domains: int = 0):
        super().__init__()
        width, padding, affine = config.width, config.padding, config.affine
        layers = [*_convolution(channels + domains, width, 7, 1, padding, affine), nn.ReLU(inplace=True)]
        for features in (width, 2 * width):  # half the size, then a quarter
            layers += [*_convolution(features, 2 * features, config.kernel, 2, "zeros", affine), nn.ReLU(inplace=True)]
        layers += [ResidualBlock(4 * width, padding, affine) for _ in range(config.blocks)]
        for features in (4 * width, 2 * width):
            # A kernel of 3 lacks a row and a column of twice the size.
            up = nn.ConvTranspose2d(features, features // 2, config.kernel, 2, 1, 4 - config.kernel, bias=not affine)
            layers += [up, nn.InstanceNorm2d(features // 2, affine=affine), nn.ReLU(inplace=True)]
        last = nn.Conv2d(width, channels, 7, 1, 3, bias=not affine, padding_mode=padding)
        self.layers = nn.Sequential(*layers, last, nn.Tanh())
        if config.init == "normal":
            initialise_normal(self, std=0.02)

    def forward(self, images: Tensor, domains: Tensor | None = None) -> Tensor:
        return self.layers(images if domains is None else with_domains(images, domains))


def with_domains(images: Tensor, domains: Tensor) -> Tensor:
    """[N, C, H, W] and [N, D] -> [N, C + D, H, W]: each domain's number everywhere on a channel of its own."""
    maps = domains.to(images.dtype)[:, :, None, None].expand(-1, -1, *images.shape[2:])
    return torch.cat([images, maps], 1)


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int, padding: Padding, affine: bool
) -> list[nn.Module]:
    """A convolution that keeps the size, or halves it, and its instance norm (Ulyanov et al. 2016)."""
    # A norm's own bias makes the convolution's one too many.
    pad = (kernel - 1) // 2
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, pad, bias=not affine, padding_mode=padding),
        nn.InstanceNorm2d(outputs, affine=affine),
    ]


class ResidualTranslatorConfig(Config):
    """The defaults are CycleGAN's at 256. width: the features of the first layer, a quarter of the blocks'.

    kernel: of the strided layers. padding: of the others. affine: whether the norms have gains and biases; the
    convolutions before them then have no bias. init: "normal" draws weights from N(0, 0.02) and sets biases to 0,
    "torch" leaves them as torch draws them.
    """

    kind: Literal["residual"] = "residual"
    width: int = Field(64, ge=4, le=1024)
    blocks: int = Field(9, ge=1, le=64)
    kernel: Literal[3, 4] = 3
    padding: Padding = "reflect"
    affine: bool = False
    init: Literal["normal", "torch"] = "normal"

    def check(self, image: ImageShape) -> None:
        """Raises ValueError where the sides are not multiples of 4, or too short."""
        if image.height % 4 or image.width % 4 or min(image.height, image.width) < 8:
            raise ValueError(
                f"network {self.kind!r} makes images whose sides are multiples of 4 and at least 8, "
                f"not {image.height}x{image.width}"
            )

    def build(self, image: ImageShape, domains: int = 0) -> ResidualTranslator:
        return ResidualTranslator(self, image.channels, domains)
