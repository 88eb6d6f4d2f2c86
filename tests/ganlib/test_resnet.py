"""The residual networks: parameters counted by hand, blocks as the papers write them, first statistics by formula."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ganlib.networks.base import ImageShape
from ganlib.networks.layers import BatchNorm
from ganlib.networks.resnet import (
    DownBlock,
    Norm,
    ResidualBlock,
    ResnetDiscriminator,
    ResnetDiscriminatorConfig,
    ResnetGenerator,
    ResnetGeneratorConfig,
    UpBlock,
)

from .numerics import assert_differentiates_twice


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_generator_parameters() -> None:
    # 16 = 4 * 2 * 2: maps of 4x4x8, 8x8x8, 16x16x4.
    first = 5 * 8 * 16 + 8 * 16
    up8 = (16 + 9 * 8 * 8) + (16 + 9 * 8 * 8 + 8) + 8 * 8
    up4 = (16 + 9 * 8 * 4) + (8 + 9 * 4 * 4 + 4) + 8 * 4
    assert parameters(ResnetGenerator(5, 16, 3, width=4, widest=8)) == first + up8 + up4 + 8 + (9 * 4 * 3 + 3)


def test_discriminator_parameters() -> None:
    down4 = (9 * 4 * 4 + 4) + (9 * 4 * 8 + 8) + 4 * 8
    down8 = 2 * (9 * 8 * 8 + 8) + 8 * 8
    plain = (9 * 3 * 4 + 4) + down4 + down8
    norms = 2 * (4 + 4) + 2 * (8 + 8)
    biases = 4 + 8  # the ones that a batch norm takes away
    build = ResnetDiscriminator
    assert parameters(build(16, 3, 4, 8, "none")) == plain + 8 * 16 + 1
    assert parameters(build(16, 3, 4, 8, "layer")) == plain + norms + 8 * 16 + 1
    assert parameters(build(16, 3, 4, 8, "batch")) == plain + norms - biases + 8 * 16 + 1
    assert parameters(build(16, 3, 4, 8, "none", minibatch_std=True)) == plain + 9 * 16 + 1


def test_features_at_64_are_those_of_wgan_gp() -> None:
    with torch.device("meta"):
        generator = ResnetGeneratorConfig(kind="resnet").build(128, ImageShape(64, 64, 3))
        discriminator = ResnetDiscriminatorConfig(kind="resnet").build(ImageShape(64, 64, 3))
    ups = [layer.shortcut for layer in generator.modules() if isinstance(layer, UpBlock)]
    downs = [layer.shortcut for layer in discriminator.modules() if isinstance(layer, DownBlock)]
    assert [(x.in_channels, x.out_channels) for x in ups] == [(512, 512), (512, 256), (256, 128), (128, 64)]
    assert [(x.in_channels, x.out_channels) for x in downs] == [(64, 128), (128, 256), (256, 512), (512, 512)]
    assert discriminator.feature_dim == 512 * 16


@pytest.mark.parametrize("size", [28, 32, 48, 64, 128])
@torch.no_grad()
def test_every_size_is_made_and_judged(size: int) -> None:
    fakes = ResnetGenerator(6, size, 1, 4, 8)(torch.randn(2, 6))
    assert fakes.shape == (2, 1, size, size)
    assert ResnetDiscriminator(size, 1, 4, 8, "layer")(fakes).shape == (2,)


def test_up_block_is_the_papers() -> None:
    """The 1x1 shortcut after the upsampling, norms by torch."""
    torch.manual_seed(0)
    block, x = UpBlock(3, 5).double(), torch.randn(4, 3, 6, 6, dtype=torch.float64)

    def twice(x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    y = F.conv2d(twice(F.relu(F.batch_norm(x, None, None, training=True))), block.conv1.weight, padding=1)
    y = F.conv2d(F.relu(F.batch_norm(y, None, None, training=True)), block.conv2.weight, block.conv2.bias, padding=1)
    torch.testing.assert_close(block(x), y + F.conv2d(twice(x), block.shortcut.weight))


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_down_block_is_the_papers(norm: Norm) -> None:
    """The 1x1 shortcut before the means of 2x2, layer norm by its formula."""
    torch.manual_seed(0)
    block, x = DownBlock(3, 5, norm).double(), torch.randn(4, 3, 6, 6, dtype=torch.float64)

    def normal(x: torch.Tensor) -> torch.Tensor:
        variance, mean = torch.var_mean(x, (1, 2, 3), correction=0, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() if norm == "layer" else x

    def halve(x: torch.Tensor) -> torch.Tensor:
        return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4

    y = F.conv2d(F.relu(normal(x)), block.conv1.weight, block.conv1.bias, padding=1)
    y = F.conv2d(F.relu(normal(y)), block.conv2.weight, block.conv2.bias, padding=1)
    torch.testing.assert_close(block(x), halve(y + F.conv2d(x, block.shortcut.weight)))


def test_first_weights() -> None:
    """U(-a, a), a = gain * sqrt(6 / (fan in + fan out)): gain sqrt(2) on the residual path, 1 elsewhere; biases 0."""
    torch.manual_seed(0)
    for network in (ResnetGenerator(16, 16, 3, 16, 32), ResnetDiscriminator(16, 3, 16, 32, "none")):
        residual = [x for block in network if isinstance(block, ResidualBlock) for x in (block.conv1, block.conv2)]
        layers = [x for x in network.modules() if isinstance(x, nn.Conv2d | nn.Linear)]
        assert len(layers) == 2 + 2 * 3
        for layer in layers:
            taps = layer.weight[0, 0].numel()
            fans = taps * (layer.weight.shape[0] + layer.weight.shape[1])
            bound = math.sqrt((2 if any(layer is x for x in residual) else 1) * 6 / fans)
            assert 0.97 * bound < layer.weight.abs().max() <= bound
            assert layer.bias is None or not layer.bias.any()


def border(size: int) -> float:
    """The share of a 3x3 convolution's taps that fall inside, mean over the places."""
    return ((3 - 2 / size) / 3) ** 2


@torch.no_grad()
def test_first_images_have_the_spread_that_the_formula_gives() -> None:
    """Glorot gives the last convolution variance 2 w / (w + C) * 1 / 2 from ReLU(N(0, 1)); tanh of such a normal."""
    width, channels, size = 32, 3, 32
    spreads = []
    for seed in range(4):
        torch.manual_seed(seed)
        images = ResnetGenerator(64, size, channels, width, 64)(torch.randn(64, 64))
        spreads.append(images.square().mean().item())
    variance = width / (width + channels) * border(size)
    at, weight = np.polynomial.hermite_e.hermegauss(60)
    expected = (np.tanh(math.sqrt(variance) * at) ** 2 * weight).sum() / weight.sum()
    assert math.sqrt(np.mean(spreads)) == pytest.approx(math.sqrt(expected), rel=0.1)


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
@torch.no_grad()
def test_first_logits_lie_between_bounds(norm: Norm) -> None:
    """E[logit^2] over weights: a gain of sqrt(2) makes up for ReLU, means of four keep 1/4 of the power of what is
    uncorrelated and all of what is equal."""
    width, widest, channels, size = 8, 32, 3, 32
    squares = []
    for seed in range(40):
        torch.manual_seed(seed)
        network = ResnetDiscriminator(size, channels, width, widest, norm)
        squares.append(network(torch.randn(8, channels, size, size)).square().mean().item())
    features = [8, 16, 32, 32]
    bounds = []
    for pooled, edges in ((1 / 4, True), (1, False)):
        power = 2 * channels / (channels + width) * (border(size) if edges else 1)
        for level, (inputs, outputs) in enumerate(pairwise(features)):
            kept = border(size >> level) ** 2 if edges else 1
            residual = (power if norm == "none" else 1) * kept
            power = pooled * 2 * inputs / (inputs + outputs) * (residual + power)
        bounds.append(power)
    # Forty networks know the mean of a square to some sqrt(2 / 40) of it.
    assert bounds[0] / 1.7 < np.mean(squares) < bounds[1] * 1.7


def test_a_critic_can_be_differentiated_twice() -> None:
    torch.manual_seed(0)
    network = ResnetDiscriminator(8, 1, 2, 4, "layer").double()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    assert_differentiates_twice(network, x, "1.conv1.weight", rel=1e-5)


def test_norms_are_the_ones_asked_for() -> None:
    batch = ResnetDiscriminator(16, 3, 4, 8, "batch")
    assert len([x for x in batch.modules() if isinstance(x, BatchNorm)]) == 4
    layer = ResnetDiscriminator(16, 3, 4, 8, "layer")
    assert len([x for x in layer.modules() if isinstance(x, nn.GroupNorm)]) == 4


def test_impossible_configs_are_refused() -> None:
    config = ResnetGeneratorConfig(kind="resnet")
    with pytest.raises(ValueError, match=r"network 'resnet': the size has to be 4, 5, 6 or 7 times .* not 36"):
        config.check(ImageShape(36, 36, 3))
    with pytest.raises(ValueError, match="'resnet' makes square images, not 64x32"):
        config.check(ImageShape(64, 32, 3))
    with pytest.raises(ValueError, match=r"width \(64\) is more than widest \(32\)"):
        ResnetDiscriminatorConfig(kind="resnet", widest=32).check(ImageShape(32, 32, 3))
