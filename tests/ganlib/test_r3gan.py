"""R3GAN's networks: parameters counted by hand, the block and the stems by formula, the fix-up start, statistics."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ganlib.networks.base import ImageShape
from ganlib.networks.r3gan import (
    Bottleneck,
    GeneratorBasis,
    R3GANDiscriminator,
    R3GANDiscriminatorConfig,
    R3GANGenerator,
    R3GANGeneratorConfig,
    Resample,
)

from .numerics import assert_differentiates_twice

TINY = (8, 16, 1, 4, 2)
"""width, widest, blocks, group_size, expansion"""


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def bottleneck(features: int, hidden: int, group: int) -> int:
    return (features * hidden + hidden) + (9 * group * hidden + hidden) + hidden * features


def test_parameters() -> None:
    # 16 = 4 * 2 * 2: maps of 4x4x16, 8x8x16, 16x16x8; the one change of features is a 1x1 of its own.
    blocks = 2 * bottleneck(16, 32, 4) + bottleneck(8, 16, 4)
    assert parameters(R3GANGenerator(5, 16, 3, *TINY)) == (16 * 16 + 5 * 16) + blocks + 16 * 8 + 8 * 3
    assert parameters(R3GANDiscriminator(16, 3, *TINY)) == 3 * 8 + blocks + 8 * 16 + (16 * 16 + 16)
    assert parameters(R3GANDiscriminator(16, 3, *TINY, minibatch_std=True)) == parameters(
        R3GANDiscriminator(16, 3, *TINY)
    ) + (16 + 1)


def test_parameters_of_the_papers_cifar_networks() -> None:
    """768 features, four stages of two blocks, 1536 within them in 96 groups of 16."""
    config = {"kind": "r3gan", "width": 768, "widest": 768, "blocks": 2, "group_size": 16, "expansion": 2}
    with torch.device("meta"):
        generator = R3GANGeneratorConfig.model_validate(config).build(64, ImageShape(32, 32, 3))
        discriminator = R3GANDiscriminatorConfig.model_validate(config).build(ImageShape(32, 32, 3))
    blocks = 8 * bottleneck(768, 1536, 16)
    assert parameters(generator) == 768 * 16 + 64 * 768 + blocks + 768 * 3
    assert parameters(discriminator) == 3 * 768 + blocks + 768 * 16 + 768
    assert [layer.mix.groups for layer in generator.modules() if isinstance(layer, Bottleneck)] == [96] * 8


@pytest.mark.parametrize("size", [28, 32, 48, 64, 128, 256])
@torch.no_grad()
def test_every_size_is_made_and_judged(size: int) -> None:
    fakes = R3GANGenerator(6, size, 1, 4, 8, 1, 4, 1)(torch.randn(2, 6))
    assert fakes.shape == (2, 1, size, size)
    assert R3GANDiscriminator(size, 1, 4, 8, 1, 4, 1, minibatch_std=True)(fakes).shape == (2,)


@torch.no_grad()
def test_bottleneck_is_its_formula() -> None:
    """At one pixel a 3x3 convolution is its middle tap, a matrix of blocks on the diagonal."""
    torch.manual_seed(0)
    block = Bottleneck(4, 2, 2, 1).double()
    for parameter in block.parameters():
        parameter.copy_(torch.randn_like(parameter))
    x = np.random.default_rng(0).standard_normal((5, 4))
    weights = {name: p.numpy() for name, p in block.named_parameters()}
    middle = np.zeros((8, 8))
    for group in range(4):
        rows = slice(2 * group, 2 * group + 2)
        middle[rows, rows] = weights["mix.weight"][rows, :, 1, 1]

    def leaky(y: np.ndarray) -> np.ndarray:
        return np.where(y > 0, y, 0.2 * y)

    y = leaky(x @ weights["expand.weight"][:, :, 0, 0].T + weights["expand.bias"])
    y = leaky(y @ middle.T + weights["mix.bias"])
    expected = x + y @ weights["contract.weight"][:, :, 0, 0].T
    np.testing.assert_allclose(block(torch.from_numpy(x)[:, :, None, None]).numpy()[:, :, 0, 0], expected, rtol=1e-10)


def upsampling(size: int) -> np.ndarray:
    """[2 size, size]: bilinear, pixels' centres in place: 3/4 of the nearer pixel, 1/4 of the next, edges repeated."""
    matrix = np.zeros((2 * size, size))
    for i in range(size):
        matrix[2 * i, i] += 0.75
        matrix[2 * i, max(i - 1, 0)] += 0.25
        matrix[2 * i + 1, i] += 0.75
        matrix[2 * i + 1, min(i + 1, size - 1)] += 0.25
    return matrix


@torch.no_grad()
def test_resampling_is_bilinear() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    matrix = upsampling(5)
    np.testing.assert_allclose(Resample(3, 3, "up")(x).numpy(), matrix @ x.numpy() @ matrix.T, atol=1e-12)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    halves = x.numpy().reshape(2, 3, 3, 2, 3, 2).mean((3, 5))
    np.testing.assert_allclose(Resample(3, 3, "down")(x).numpy(), halves, atol=1e-12)
    change = Resample(3, 2, "down").double()
    weight = change.state_dict()["linear.weight"].numpy()[:, :, 0, 0]
    np.testing.assert_allclose(change(x).numpy(), np.einsum("oc,ncij->noij", weight, halves), atol=1e-12)


@torch.no_grad()
def test_stems_are_patterns_weighed() -> None:
    torch.manual_seed(0)
    stem = GeneratorBasis(7, 3, 4)
    z = torch.randn(2, 7)
    patterns, lines = stem.basis[0].numpy(), stem.get_parameter("linear.weight").numpy()
    expected = np.einsum("fij,nf->nfij", patterns, z.numpy() @ lines.T)
    np.testing.assert_allclose(stem(z).numpy(), expected, rtol=1e-5, atol=1e-6)
    judge = R3GANDiscriminator(16, 3, *TINY)
    patterns, lines = judge.get_parameter("6.weight").numpy()[:, 0], judge.get_parameter("8.weight").numpy()[0]
    x = torch.randn(2, 16, 4, 4)
    features = np.einsum("nfij,fij->nf", x.numpy(), patterns)
    found = judge[-2](judge[-3](x))
    np.testing.assert_allclose(found.numpy(), features, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(judge.head(found)[:, 0].numpy(), features @ lines, rtol=1e-4, atol=1e-5)
    assert judge.feature_dim == 16


def test_first_weights_are_fix_ups() -> None:
    """Of L = 8 blocks: He-normal for LeakyReLU 0.2 times L^(-1/4), the last convolution and the biases 0."""
    torch.manual_seed(0)
    network = R3GANGenerator(64, 32, 3, 64, 64, 2, 16, 2)
    blocks = [layer for layer in network if isinstance(layer, Bottleneck)]
    assert len(blocks) == 8
    gain = math.sqrt(2 / 1.04) * 8**-0.25
    for block in blocks:
        assert not block.contract.weight.any()
        assert block.contract.bias is None
        for layer, fan_in in ((block.expand, 64), (block.mix, 16 * 9)):
            assert layer.bias is not None
            assert not layer.bias.any()
            count = layer.weight.numel()
            assert layer.weight.std().item() * math.sqrt(fan_in) == pytest.approx(gain, rel=5 / math.sqrt(2 * count))
    biased = {name.split(".")[1] for name, _ in network.named_parameters() if name.endswith("bias")}
    assert biased == {"expand", "mix"}


@torch.no_grad()
def test_first_images_have_the_spread_of_white_noise_interpolated() -> None:
    """Blocks are the identity, 1x1 convolutions keep the power; bilinear upsampling of a white 4x4 map is a matrix."""
    matrix = upsampling(16) @ upsampling(8) @ upsampling(4)
    expected = (matrix**2).sum(1).mean() ** 2
    found = []
    for seed in range(12):
        torch.manual_seed(seed)
        images = R3GANGenerator(32, 32, 3, 32, 64, 1, 16, 1)(torch.randn(64, 32))
        found.append(images.square().mean().item())
    assert np.mean(found) == pytest.approx(expected, rel=0.2)
    assert 0.3 < math.sqrt(expected) < 1


@torch.no_grad()
def test_first_logits_have_the_spread_of_white_noise_averaged() -> None:
    """Three means of four leave 4^-3 of the power."""
    found = []
    for seed in range(60):
        torch.manual_seed(seed)
        logits = R3GANDiscriminator(32, 3, 16, 32, 1, 16, 1)(torch.randn(16, 3, 32, 32))
        found.append(logits.square().mean().item())
    # Sixty networks know the mean of a square to some sqrt(2 / 60) of it.
    assert np.mean(found) == pytest.approx(4**-3, rel=0.5)


def test_a_discriminator_can_be_differentiated_twice() -> None:
    torch.manual_seed(0)
    network = R3GANDiscriminator(8, 1, 2, 4, 1, 2, 1, minibatch_std=True).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    assert_differentiates_twice(network, torch.randn(2, 1, 8, 8, dtype=torch.float64), "1.mix.weight")


@torch.no_grad()
def test_maps_stay_channels_last() -> None:
    """From the stem to the last convolution, so that no kernel copies."""
    generator = R3GANGenerator(6, 32, 3, 8, 16, 1, 4, 2).to(memory_format=torch.channels_last)
    discriminator = R3GANDiscriminator(32, 3, 8, 16, 1, 4, 2).to(memory_format=torch.channels_last)
    kept: list[bool] = []
    for network in (generator, discriminator):
        for layer in network:
            if isinstance(layer, Bottleneck | Resample | GeneratorBasis):
                layer.register_forward_hook(
                    lambda module, inputs, y: kept.append(y.is_contiguous(memory_format=torch.channels_last))
                )
    discriminator(generator(torch.randn(4, 6)))
    assert len(kept) == 1 + 2 * (4 + 3)
    assert all(kept)


def test_impossible_configs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"network 'r3gan': the size has to be 4, 5, 6 or 7 times .* not 36"):
        R3GANGeneratorConfig(kind="r3gan").check(ImageShape(36, 36, 3))
    with pytest.raises(ValueError, match=r"width \(64\) is more than widest \(32\)"):
        R3GANGeneratorConfig(kind="r3gan", widest=32).check(ImageShape(32, 32, 3))
    with pytest.raises(ValueError, match=r"72 features \(expansion 1\) do not divide into groups of 16"):
        R3GANDiscriminatorConfig(kind="r3gan", width=48, widest=72, expansion=1).check(ImageShape(32, 32, 3))
