"""What every network and its config have in common, and how weights are drawn."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

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

    has_batch_norm: ClassVar[bool] = True
    """Whether a class can be told to it through its norms (`conditional.py`)."""

    def check(self, image: ImageShape) -> None:
        """Raises ValueError, with the reason, when the network cannot make images of this shape."""

    def build(self, latent_dim: int, image: ImageShape) -> nn.Module:
        raise NotImplementedError


class DiscriminatorConfig(Config):
    """Config of a network [N, C, H, W] in [-1, 1] -> [N] logits."""

    takes_spectral_norm: ClassVar[bool] = True
    """False where first weights are zero: they have no norm to be divided by (`layers.with_spectral_norm`)."""

    def check(self, image: ImageShape) -> None:
        """Raises ValueError, with the reason, when the network cannot judge images of this shape."""

    def build(self, image: ImageShape) -> Discriminator:
        raise NotImplementedError


class Discriminator(nn.Module):
    """[N, C, H, W] in [-1, 1] -> [N] logits, which are a linear map, `head`, of `features`.

    The features are what a projection discriminator compares with a class (`conditional.py`).
    """

    @property
    def head(self) -> nn.Module:
        """[N, feature_dim] -> [N, 1]."""
        raise NotImplementedError

    @property
    def feature_dim(self) -> int:
        """How many features there are: the numbers that `head` weighs."""
        weight = self.head.weight
        assert isinstance(weight, Tensor)
        return weight.numel()

    def features(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, feature_dim]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x)).squeeze(1)


class LayeredDiscriminator(Discriminator, nn.Sequential):
    """A discriminator that is its layers in order, the last of them its head."""

    @property
    def head(self) -> nn.Module:
        return self[-1]

    def features(self, x: Tensor) -> Tensor:
        for layer in list(self)[:-1]:
            x = layer(x)
        return x


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


def stages(size: int) -> tuple[int, int]:
    """(side of the first map, number of doublings) for `size`: the first map is 4 to 7 pixels wide.

    Raises ValueError where `size` has no such factorisation.
    """
    first, doublings = size, 0
    while first > 7 and first % 2 == 0:
        first, doublings = first // 2, doublings + 1
    if not 4 <= first <= 7 or doublings == 0:
        raise ValueError(f"the size has to be 4, 5, 6 or 7 times a power of two (16, 28, 48, 64, ...), not {size}")
    return first, doublings


def require_stages(network: str, image: ImageShape) -> None:
    """Raises ValueError unless `image` is square and of a size that `stages` can factor."""
    if image.height != image.width:
        raise ValueError(f"network {network!r} makes square images, not {image.height}x{image.width}")
    try:
        stages(image.height)
    except ValueError as error:
        raise ValueError(f"network {network!r}: {error}") from error


def fill_normal(tensor: Tensor, std: float) -> Tensor:
    """Fills `tensor` from N(0, std^2) and returns it; on the meta device there is nothing to fill."""
    # There torch's `normal_` would import its compiler first, which takes seconds.
    return tensor if tensor.is_meta else nn.init.normal_(tensor, 0.0, std)


def initialise_normal(module: nn.Module, std: float = 0.02, norm_std: float = 0.0) -> nn.Module:
    """Convolutions and linear layers N(0, std), norms N(1, norm_std), all biases 0 (Radford et al. 2015)."""
    if any(parameter.is_meta for parameter in module.parameters()):
        return module  # there is nothing to fill, and torch's `normal_` would import its compiler for it: seconds
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, BatchNorm | nn.InstanceNorm2d) and layer.weight is not None:
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
