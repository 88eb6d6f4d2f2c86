"""What every network's config has in common, and how weights are drawn."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from ganlib.networks.layers import BatchNorm


class ImageShape(NamedTuple):
    """Size of one image in pixels and channels."""

    height: int
    width: int
    channels: int


class Config(BaseModel):
    """A part of the recipe: unknown fields are errors, values are finite and never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class GeneratorConfig(Config):
    """Config of a network [N, latent_dim] -> [N, C, H, W] in [-1, 1]."""

    def check(self, image: ImageShape) -> None:
        """Raises ValueError, with the reason, when the network cannot make images of this shape."""

    def build(self, latent_dim: int, image: ImageShape) -> nn.Module:
        raise NotImplementedError


class DiscriminatorConfig(Config):
    """Config of a network [N, C, H, W] in [-1, 1] -> [N] logits."""

    def check(self, image: ImageShape) -> None:
        """Raises ValueError, with the reason, when the network cannot judge images of this shape."""

    def build(self, image: ImageShape) -> nn.Module:
        raise NotImplementedError


def require_shape(
    network: str, image: ImageShape, heights: tuple[int, ...], channels: tuple[int, ...] = (1, 3)
) -> None:
    """Raises ValueError unless `image` is square, of one of `heights` and of one of `channels`."""
    if image.height != image.width or image.height not in heights or image.channels not in channels:
        sizes = ", ".join(f"{h}x{h}" for h in heights)
        raise ValueError(
            f"network {network!r} makes {sizes} images of {' or '.join(map(str, channels))} channels, "
            f"not {image.height}x{image.width}x{image.channels}"
        )


def initialise_normal(module: nn.Module, std: float = 0.02, norm_std: float = 0.0) -> nn.Module:
    """Convolutions and linear layers N(0, std), norms N(1, norm_std), all biases 0 (Radford et al. 2015)."""
    if any(parameter.is_meta for parameter in module.parameters()):
        return module  # there is nothing to fill, and torch's `normal_` would import its compiler for it: seconds
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, BatchNorm):
            nn.init.normal_(layer.weight, 1.0, norm_std)
            nn.init.zeros_(layer.bias)
    return module


def initialise_glorot(module: nn.Module) -> nn.Module:
    """Keras' defaults: weights U(-a, a) with a = sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010), biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


class Reshape(nn.Module):
    """[N, C * H * W] -> [N, C, H, W]."""

    def __init__(self, channels: int, height: int, width: int):
        super().__init__()
        self.shape = (channels, height, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(-1, *self.shape)
