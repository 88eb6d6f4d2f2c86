"""PatchGAN (Isola et al. 2016, arXiv 1611.07004, section 3.2.2 and appendix 6.1.2): a judgement of each patch.

Image-to-image methods use it: pix2pix on the input and the output together, CycleGAN on the output alone.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ganlib.networks.base import Config, ImageShape, initialise_normal
from ganlib.networks.layers import BatchNorm


class PatchDiscriminator(nn.Sequential):
    """[N, C, H, W] in [-1, 1] -> logits [N, 1, h, w], each of a patch; patches overlap.

    `layers` convolutions 4x4 of stride 2, one more of stride 1, and a last one to the logit; `width` features after the
    first, twice as many after each next, up to 8 * width; LeakyReLU 0.2, a norm on all but the first and the last. With
    3 layers (70x70) and width 64 it is C64-C128-C256-C512. With none it judges each pixel: C64-C128, all 1x1.

    Parameters at width 64 and 3 layers: 2,768,705 with batch norm on 6 channels, 2,764,737 with instance norm on 3.
    """

    def __init__(self, channels: int, width: int, layers: int, norm: Literal["batch", "instance", "none"]):
        # kernel, stride and padding of each convolution but the last.
        shapes = [(4, 2, 1)] * layers + [(4, 1, 1)] if layers else [(1, 1, 0)] * 2
        stack: list[nn.Module] = []
        inputs = channels
        for level, shape in enumerate(shapes):
            outputs = width * min(2**level, 8)
            normed = level > 0 and norm != "none"
            # A batch norm's own bias comes after it; CycleGAN's instance norm has none, and its convolutions have one.
            stack.append(nn.Conv2d(inputs, outputs, *shape, bias=not (normed and norm == "batch")))
            if normed:
                stack.append(BatchNorm(outputs) if norm == "batch" else nn.InstanceNorm2d(outputs))
            stack.append(nn.LeakyReLU(0.2, inplace=True))
            inputs = outputs
        kernel, padding = (4, 1) if layers else (1, 0)
        super().__init__(*stack, nn.Conv2d(inputs, 1, kernel, 1, padding))
        initialise_normal(self, std=0.02, norm_std=0.02)

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:
        """`given`: images [N, C', H, W] that x is judged beside, put before it, channel on channel."""
        return super().forward(torch.cat([*given, x], 1) if given else x)


class PatchDiscriminatorConfig(Config):
    """`width`: features of the first map; `layers`: how often it is halved: 0 judges pixels, 3 patches of 70x70.

    norm: "instance" is without gains and biases, as CycleGAN has it.
    """

    kind: Literal["patch"] = "patch"
    width: int = Field(64, ge=4, le=1024)
    layers: int = Field(3, ge=0, le=8)
    norm: Literal["batch", "instance", "none"] = "batch"

    @property
    def patch(self) -> int:
        """The side, in pixels, of the patch that a logit is a function of: 1, 16, 34, 70, 142, 286, ..."""
        side = 1
        for kernel, stride in [(4, 1), (4, 1)] + [(4, 2)] * self.layers if self.layers else []:
            side = (side - 1) * stride + kernel
        return side

    def check(self, image: ImageShape) -> None:
        """Raises ValueError, with the reason, where the last maps would have no pixel, or one alone to normalise."""
        last = min(image.height, image.width) >> self.layers
        if self.layers and last < 3:
            raise ValueError(
                f"a patch discriminator of {self.layers} layers leaves nothing of {image.height}x{image.width} images; "
                "give it fewer layers"
            )

    def build(self, channels: int) -> nn.Module:
        """`channels`: of all that it is shown together."""
        return PatchDiscriminator(channels, self.width, self.layers, self.norm)
