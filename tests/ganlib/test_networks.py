"""The networks: parameters counted by hand, shapes, first weights, and the sizes that they refuse."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from ganlib.networks import AnyDiscriminator, AnyGenerator
from ganlib.networks.avatars import AvatarsDiscriminator, AvatarsGenerator
from ganlib.networks.base import Discriminator, DiscriminatorConfig, GeneratorConfig, ImageShape, stages
from ganlib.networks.convnet import (
    ConvDiscriminator,
    ConvDiscriminatorConfig,
    ConvGenerator,
    ConvGeneratorConfig,
)
from ganlib.networks.dcgan import DCGANDiscriminator, DCGANDiscriminatorConfig, DCGANGenerator, DCGANGeneratorConfig
from ganlib.networks.layers import BatchNorm
from ganlib.networks.mlp import (
    Maxout,
    MLPDiscriminator,
    MLPDiscriminatorConfig,
    MLPGenerator,
    MLPGeneratorConfig,
)
from ganlib.networks.mnist import (
    MnistDiscriminatorConfig,
    MnistGeneratorConfig,
    MnistLargeDiscriminator,
    MnistLargeGenerator,
    MnistSmallDiscriminator,
    MnistSmallGenerator,
)

MNIST = ImageShape(28, 28, 1)
GENERATORS: TypeAdapter[Any] = TypeAdapter(AnyGenerator)
DISCRIMINATORS: TypeAdapter[Any] = TypeAdapter(AnyDiscriminator)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def weighted(network: nn.Module) -> list[nn.Conv2d | nn.ConvTranspose2d | nn.Linear]:
    return [x for x in network.modules() if isinstance(x, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]


def test_a1_parameters() -> None:
    generator = MLPGenerator(100, MNIST, (1200, 1200))
    assert parameters(generator) == 101 * 1200 + 1201 * 1200 + 1201 * 784
    discriminator = MLPDiscriminator(MNIST, (240, 240), 5, 0.2, 0.5)
    assert parameters(discriminator) == 785 * 240 * 5 + 241 * 240 * 5 + 241


def test_a2_parameters_are_those_of_its_authors() -> None:
    assert parameters(MnistLargeGenerator(100)) == 2_305_473
    assert parameters(MnistLargeDiscriminator()) == 212_865


def test_a3_parameters() -> None:
    linear, norm = 100 * 7 * 7 * 128, 2 * 7 * 7 * 128
    assert parameters(MnistSmallGenerator(100)) == linear + norm + 25 * 128 * 64 + 2 * 64 + (25 * 64 + 1)
    assert parameters(MnistSmallDiscriminator()) == (25 * 64 + 64) + (7 * 7 * 64 + 1)


def test_a4_parameters_are_those_of_its_authors() -> None:
    assert parameters(DCGANGenerator(100, 64, 3, 64)) == 3_576_704
    assert parameters(DCGANDiscriminator(64, 3, 64)) == 2_765_568


def test_a5_parameters() -> None:
    maps = 25 * (512 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    biases, norms = 512 * 9 + 256 + 128 + 64 + 3, 2 * (512 + 256 + 128)
    assert parameters(AvatarsGenerator(100)) == 100 * 512 * 9 + maps + biases + norms
    biases = 64 + 128 + 256 + 512 + 1
    assert parameters(AvatarsDiscriminator()) == maps + biases + norms + 512 * 9


def test_convnet_parameters() -> None:
    # 28 = 7 * 2 * 2: maps of 7x7x16, 14x14x8, 14x14x4 that are 28x28x1 with four pixels in a place.
    generator = ConvGenerator(10, 28, 1, width=8, widest=512)
    assert parameters(generator) == 10 * 16 * 49 + 2 * 16 + 16 * 16 * 8 + 2 * 8 + (9 * 8 * 4 + 4)
    # Four pixels in a place, 14x14x8, 7x7x12 by `widest`, one convolution more, a line.
    discriminator = ConvDiscriminator(28, 1, width=8, widest=12)
    assert parameters(discriminator) == (9 * 4 * 8 + 8) + (16 * 8 * 12 + 12) + (9 * 12 * 12 + 12) + (12 * 49 + 1)


def test_convnet_parameters_with_minibatch_std() -> None:
    """One map more before the last convolution, of 12 features out: 9 * 12 weights."""
    plain, more = ConvDiscriminator(28, 1, 8, 12), ConvDiscriminator(28, 1, 8, 12, minibatch_std=True)
    assert parameters(more) - parameters(plain) == 9 * 12


def test_dcgan_parameters_at_28_and_48() -> None:
    # 7x7x16, 14x14x8, 28x28x1; without biases.
    assert parameters(DCGANGenerator(10, 28, 1, 8)) == 10 * 16 * 49 + 2 * 16 + 16 * 8 * 16 + 2 * 8 + 8 * 1 * 16
    assert parameters(DCGANDiscriminator(28, 1, 8)) == 1 * 8 * 16 + 8 * 16 * 16 + 2 * 16 + 16 * 49
    # 6x6x32, 12x12x16, 24x24x8, 48x48x3.
    maps, norms = 16 * (32 * 16 + 16 * 8 + 8 * 3), 2 * (16 + 32)
    assert parameters(DCGANGenerator(10, 48, 3, 8)) == 10 * 32 * 36 + maps + norms + 2 * 8
    assert parameters(DCGANDiscriminator(48, 3, 8)) == maps + norms + 32 * 36


def test_mlp_parameters_for_points() -> None:
    points = ImageShape(1, 2, 1)
    generator = MLPGeneratorConfig(kind="mlp", widths=(128, 128, 128), output="linear", initial="fan-in")
    assert parameters(generator.build(2, points)) == 3 * 128 + 2 * 129 * 128 + 129 * 2
    discriminator = MLPDiscriminatorConfig(
        kind="mlp", widths=(128, 128, 128), pieces=1, input_dropout=0, hidden_dropout=0, initial="fan-in"
    )
    assert parameters(discriminator.build(points)) == 3 * 128 + 2 * 129 * 128 + 129


@pytest.mark.parametrize(
    ("generator", "discriminator", "image"),
    [
        ({"kind": "mlp"}, {"kind": "mlp"}, ImageShape(12, 12, 3)),
        ({"kind": "mnist-large"}, {"kind": "mnist-large"}, MNIST),
        ({"kind": "mnist-small"}, {"kind": "mnist-small"}, ImageShape(28, 28, 3)),
        ({"kind": "dcgan", "width": 8}, {"kind": "dcgan", "width": 8}, ImageShape(64, 64, 3)),
        ({"kind": "dcgan", "width": 8}, {"kind": "dcgan", "width": 8}, ImageShape(16, 16, 1)),
        ({"kind": "avatars"}, {"kind": "avatars"}, ImageShape(48, 48, 3)),
        ({"kind": "convnet", "width": 8}, {"kind": "convnet", "width": 8}, MNIST),
        ({"kind": "convnet", "width": 8}, {"kind": "convnet", "width": 8}, ImageShape(80, 80, 3)),
        ({"kind": "dcgan", "width": 8}, {"kind": "dcgan", "width": 8}, MNIST),
        ({"kind": "dcgan", "width": 8}, {"kind": "dcgan", "width": 8}, ImageShape(48, 48, 3)),
        ({"kind": "dcgan", "width": 4}, {"kind": "dcgan", "width": 4}, ImageShape(256, 256, 3)),
        ({"kind": "resnet", "width": 8}, {"kind": "resnet", "width": 8}, MNIST),
        ({"kind": "resnet", "width": 8}, {"kind": "resnet", "width": 8, "norm": "layer"}, ImageShape(32, 32, 3)),
        ({"kind": "resnet", "width": 4}, {"kind": "resnet", "width": 4, "norm": "batch"}, ImageShape(48, 48, 3)),
        ({"kind": "r3gan", "width": 16, "output": "tanh"}, {"kind": "r3gan", "width": 16}, MNIST),
        ({"kind": "r3gan", "width": 16, "output": "tanh"}, {"kind": "r3gan", "width": 16}, ImageShape(48, 48, 3)),
    ],
)
@torch.no_grad()
def test_shapes_and_ranges(generator: dict[str, Any], discriminator: dict[str, Any], image: ImageShape) -> None:
    torch.manual_seed(0)
    ours, theirs = GENERATORS.validate_python(generator), DISCRIMINATORS.validate_python(discriminator)
    ours.check(image)
    theirs.check(image)
    fakes: Tensor = ours.build(100, image)(torch.randn(3, 100))
    assert fakes.shape == (3, image.channels, image.height, image.width)
    assert fakes.abs().max() <= 1
    assert len(fakes.unique()) > 100  # neither constant nor saturated
    judge: Discriminator = theirs.build(image).eval()
    logits = judge(fakes)
    assert logits.shape == (3,)
    assert len(logits.unique()) == 3
    # A logit is a line of the features.
    features = judge.features(fakes)
    assert features.shape == (3, judge.feature_dim)
    torch.testing.assert_close(judge.head(features).squeeze(1), logits)
    at_zero = judge.head(torch.zeros_like(features))
    torch.testing.assert_close(judge.head(2 * features) - at_zero, 2 * (judge.head(features) - at_zero))


@torch.no_grad()
def test_dcgans_head_is_the_convolution_of_the_whole_map() -> None:
    """sum over c, i and j of w[c, i, j] x[c, i, j], its weight of the shape [1, 8 f, 4, 4] that A4's has."""
    network = DCGANDiscriminator(64, 3, 4)
    assert network.state_dict()["layers.11.weight"].shape == (1, 32, 4, 4)
    assert network.feature_dim == 32 * 16
    x = torch.randn(5, 32, 4, 4)
    weight = network.state_dict()["layers.11.weight"][0]
    torch.testing.assert_close(network.head(x.flatten(1)).squeeze(1), (x * weight).sum((1, 2, 3)))


@torch.no_grad()
def test_points_are_images_of_one_row() -> None:
    torch.manual_seed(0)
    points = ImageShape(1, 2, 1)
    made = MLPGenerator(3, points, (), output="linear", initial="fan-in")
    z = 100 * torch.randn(50, 3)
    expected = z @ made.get_parameter("0.weight").T + made.get_parameter("0.bias")
    torch.testing.assert_close(made(z), expected.view(50, 1, 1, 2))
    assert expected.abs().max() > 1  # nothing squashes it
    judge = MLPDiscriminator(points, (7,), 1, 0, 0, initial="fan-in")
    hidden, line = weighted(judge)
    x = torch.randn(50, 1, 1, 2)
    assert hidden.bias is not None
    assert line.bias is not None
    y = x.view(50, 2) @ hidden.weight.T + hidden.bias
    y = torch.where(y > 0, y, 0.2 * y) @ line.weight.T + line.bias
    torch.testing.assert_close(judge(x), y[:, 0])


def test_an_image_of_the_first_map_is_made_of_the_whole_latent() -> None:
    """Each latent moves each pixel of an untrained generator: nothing is cut off by a reshape or a crop."""
    for generator in (MnistLargeGenerator(4).eval(), AvatarsGenerator(4).eval(), ConvGenerator(4, 28, 1, 4, 8).eval()):
        base, moved = torch.zeros(1, 4), torch.eye(4)
        with torch.no_grad():
            assert ((generator(moved) - generator(base)) != 0).flatten(1).float().mean(1).min() > 0.9


def test_glorot_weights_of_the_mnist_networks() -> None:
    """Keras' GlorotUniform: U(-a, a), a = sqrt(6 / (fan in + fan out)), a convolution's fans times its 25 positions."""
    torch.manual_seed(0)
    fans: dict[type[nn.Module], list[tuple[int, int]]] = {
        MnistLargeGenerator: [(100, 12544), (25 * 256, 25 * 128), (25 * 128, 25 * 64), (25 * 64, 25 * 1)],
        MnistLargeDiscriminator: [(25 * 1, 25 * 64), (25 * 64, 25 * 128), (6272, 1)],
        MnistSmallGenerator: [(100, 6272), (25 * 128, 25 * 64), (25 * 64, 25 * 1)],
        MnistSmallDiscriminator: [(25 * 1, 25 * 64), (3136, 1)],
    }
    for network, expected in fans.items():
        built = network() if "Discriminator" in network.__name__ else network(100)
        layers = weighted(built)
        assert len(layers) == len(expected)
        for layer, (fan_in, fan_out) in zip(layers, expected, strict=True):
            bound, count = math.sqrt(6 / (fan_in + fan_out)), layer.weight.numel()
            assert 0.99 * bound < layer.weight.abs().max() <= bound
            # A uniform variable's square has mean a^2 / 3 and standard deviation a^2 * sqrt(4 / 45).
            error = abs(layer.weight.square().mean().item() / bound**2 - 1 / 3)
            assert error < 5 * math.sqrt(4 / 45 / count)
            assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize(
    ("build", "norm_std"),
    [
        (lambda: DCGANGenerator(100, 64, 3, 64), 0.02),
        (lambda: DCGANDiscriminator(64, 3, 64), 0.02),
        (lambda: AvatarsGenerator(100), 0.0),
        (lambda: AvatarsDiscriminator(), 0.0),
    ],
    ids=["dcgan-g", "dcgan-d", "avatars-g", "avatars-d"],
)
def test_normal_weights(build: Callable[[], nn.Module], norm_std: float) -> None:
    """Mean 0 and standard deviation 0.02, within five standard errors; norms around 1; biases 0."""
    torch.manual_seed(0)
    network = build()
    for layer in weighted(network):
        count = layer.weight.numel()
        assert abs(layer.weight.mean().item()) < 5 * 0.02 / math.sqrt(count)
        assert abs(layer.weight.std().item() / 0.02 - 1) < 5 / math.sqrt(2 * count)
        assert layer.bias is None or not layer.bias.any()
    norms = [layer for layer in network.modules() if isinstance(layer, BatchNorm)]
    gains = torch.cat([norm.weight for norm in norms])
    assert len(norms) == 3 + isinstance(network, DCGANGenerator)
    assert abs(gains.mean().item() - 1) <= 5 * norm_std / math.sqrt(len(gains))
    assert abs(gains.std().item() - norm_std) <= 5 * norm_std / math.sqrt(2 * len(gains))
    assert not torch.cat([norm.bias for norm in norms]).any()


def test_convnet_weights_are_torchs() -> None:
    """U(-a, a), a = 1 / sqrt(fan in), biases too, norms 1 and 0. torch counts a transposed convolution's outputs.

    32 = 4 * 2 * 2 * 2: maps of 4x4x32, 8x8x16, 16x16x8 that are 32x32x3, four pixels in a place; and back.
    """
    torch.manual_seed(0)
    generator = ConvGenerator(50, 32, 3, width=8, widest=512)
    discriminator = ConvDiscriminator(32, 3, width=8, widest=512)
    fans = {generator: [50, 16 * 16, 16 * 8, 9 * 8], discriminator: [9 * 12, 16 * 8, 16 * 16, 9 * 32, 32 * 16]}
    for network, expected in fans.items():
        layers = weighted(network)
        assert len(layers) == len(expected)
        for layer, fan_in in zip(layers, expected, strict=True):
            bound, count = 1 / math.sqrt(fan_in), layer.weight.numel()
            assert 0.98 * bound < layer.weight.abs().max() <= bound
            # A uniform variable's square has mean a^2 / 3 and standard deviation a^2 * sqrt(4 / 45).
            error = abs(layer.weight.square().mean().item() / bound**2 - 1 / 3)
            assert error < 5 * math.sqrt(4 / 45 / count)
            if layer.bias is not None:
                assert layer.bias.abs().max() <= bound
                assert layer.bias.any()
    for norm in (layer for layer in generator.modules() if isinstance(layer, BatchNorm)):
        assert (norm.weight == 1).all()
        assert not norm.bias.any()


def test_mlp_weights_fill_their_ranges() -> None:
    for network, bound in ((MLPGenerator(100, MNIST, (64,)), 0.05), (MLPDiscriminator(MNIST, (64,), 2, 0, 0), 0.005)):
        first = weighted(network)[0]
        assert 0.99 * bound < first.weight.abs().max() <= bound


def test_mlp_weights_of_any_depth_fill_theirs() -> None:
    """U(-a, a), a = 1 / sqrt(fan in), biases too."""
    torch.manual_seed(0)
    generator = MLPGenerator(9, MNIST, (100, 100, 100), initial="fan-in")
    discriminator = MLPDiscriminator(ImageShape(1, 1, 1), (100, 100), 1, 0, 0, initial="fan-in")
    for network, fans in ((generator, (9, 100, 100, 100)), (discriminator, (1, 100, 100))):
        for layer, fan_in in zip(weighted(network), fans, strict=True):
            assert layer.bias is not None
            assert 0.95 / math.sqrt(fan_in) < layer.weight.abs().max() <= 1 / math.sqrt(fan_in)
            if layer.bias.numel() > 1:
                assert 0.8 / math.sqrt(fan_in) < layer.bias.abs().max() <= 1 / math.sqrt(fan_in)


def test_batch_norm_settings_of_the_sources() -> None:
    """Keras' momentum 0.99 and eps 1e-3 (A2, A3); A5's 0.9 and 1e-5. torch's is the weight of the new value."""
    for network, momentum, eps in ((MnistLargeGenerator(10), 0.01, 1e-3), (AvatarsGenerator(10), 0.1, 1e-5)):
        norms = [layer for layer in network.modules() if isinstance(layer, BatchNorm)]
        assert norms
        assert {(norm.momentum, norm.eps) for norm in norms} == {(momentum, eps)}


def test_maxout_is_the_largest_of_its_linear_maps() -> None:
    layer = Maxout(2, 2, 3)
    with torch.no_grad():
        layer.linear.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [0, 0], [-1, 0], [0, -1], [0, 0]]))
        layer.linear.bias.copy_(torch.tensor([0.0, 0, 0.5, 0, 0, 0]))
        found = layer(torch.tensor([[2.0, 3], [-2, -3]]))
    assert found.tolist() == [[3, 0], [0.5, 3]]


def test_stages_factor_the_size() -> None:
    assert {size: stages(size) for size in (8, 16, 28, 48, 64, 80, 96, 256)} == {
        8: (4, 1), 16: (4, 2), 28: (7, 2), 48: (6, 3), 64: (4, 4), 80: (5, 4), 96: (6, 4), 256: (4, 6),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "image", "said"),
    [
        (MnistGeneratorConfig(kind="mnist-large"), ImageShape(32, 32, 1), "28x28 images .* not 32x32x1"),
        (MnistDiscriminatorConfig(kind="mnist-small"), ImageShape(32, 32, 3), "28x28 images .* not 32x32x3"),
        (DCGANGeneratorConfig(kind="dcgan"), ImageShape(40, 40, 3), "16x16, 28x28, 32x32, 48x48.* not 40x40x3"),
        (DCGANDiscriminatorConfig(kind="dcgan"), ImageShape(64, 32, 3), "not 64x32x3"),
        (DCGANGeneratorConfig(kind="dcgan"), ImageShape(64, 64, 4), "1 or 3 channels, not 64x64x4"),
        (ConvGeneratorConfig(kind="convnet"), ImageShape(36, 36, 3), "4, 5, 6 or 7 times a power of two.* not 36"),
        (ConvDiscriminatorConfig(kind="convnet"), ImageShape(64, 32, 3), "square images, not 64x32"),
    ],
)
def test_impossible_sizes_are_refused(
    config: GeneratorConfig | DiscriminatorConfig, image: ImageShape, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        config.check(image)
