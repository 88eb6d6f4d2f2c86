"""Layers against their definitions: TensorFlow's SAME convolutions in plain loops, torch's batch norm, dropout, layer
norm and minibatch standard deviation in numpy, spectral norm against numpy's singular values."""

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganlib.draws import Draws
from ganlib.networks.avatars import AvatarsDiscriminator
from ganlib.networks.base import Discriminator
from ganlib.networks.convnet import ConvDiscriminator
from ganlib.networks.dcgan import DCGANDiscriminator
from ganlib.networks.layers import (
    BatchNorm,
    Dropout,
    LayerNorm,
    MinibatchStd,
    SameConv2d,
    SameConvTranspose2d,
    bind_draws,
    judges_each_alone,
    with_spectral_norm,
)
from ganlib.networks.r3gan import R3GANDiscriminator
from ganlib.networks.resnet import ResnetDiscriminator

SIZES = [
    (5, 1, 7, 7),
    (5, 2, 14, 14),
    (5, 2, 7, 9),
    (4, 2, 8, 8),
    (3, 2, 6, 5),
    (3, 1, 5, 4),
    (2, 2, 6, 6),
    (5, 3, 9, 12),
]
"""(kernel, stride, height, width)"""


def same_padding_before(length: int, kernel: int, stride: int) -> int:
    """TensorFlow's documentation of padding="SAME": the smaller half of the padding comes first."""
    rest = length % stride
    total = max(kernel - stride, 0) if rest == 0 else max(kernel - rest, 0)
    return total // 2


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """y[n, o, i, j] = b[o] + sum_cpq w[o, c, p, q] x[n, c, s i + p - before, s j + q - before], x being 0 outside."""
    count, _, height, width = x.shape
    outputs, _, kernel, _ = weight.shape
    top, left = same_padding_before(height, kernel, stride), same_padding_before(width, kernel, stride)
    y = np.zeros((count, outputs, math.ceil(height / stride), math.ceil(width / stride))) + bias[:, None, None]
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            for p in range(kernel):
                for q in range(kernel):
                    row, column = stride * i + p - top, stride * j + q - left
                    if 0 <= row < height and 0 <= column < width:
                        y[:, :, i, j] += x[:, :, row, column] @ weight[:, :, p, q].T
    return y


@pytest.mark.parametrize(("kernel", "stride", "height", "width"), SIZES)
def test_same_convolution_is_tensorflows(kernel: int, stride: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    layer = SameConv2d(3, 4, kernel, stride).double()
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    assert layer.bias is not None
    expected = convolve(x.numpy(), layer.weight.detach().numpy(), layer.bias.detach().numpy(), stride)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("kernel", "stride", "height", "width"), [size for size in SIZES if size[2] % size[1] == 0])
def test_transposed_convolution_is_the_gradient_of_the_convolution(
    kernel: int, stride: int, height: int, width: int
) -> None:
    """<conv x, y> = <x, conv^T y> for any x and y, with the same weights and no biases; SAME as in the loops above."""
    if width % stride:
        width -= width % stride
    torch.manual_seed(0)
    transpose = SameConvTranspose2d(4, 3, kernel, stride, bias=False).double()
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    y = torch.randn(2, 4, height // stride, width // stride, dtype=torch.float64)
    forward = convolve(x.numpy(), transpose.weight.detach().numpy(), np.zeros(4), stride)
    backward = transpose(y)
    assert backward.shape == x.shape
    assert np.sum(forward * y.numpy()) == pytest.approx((x * backward).sum().item(), rel=1e-12)


def test_bias_of_the_transposed_convolution_is_on_every_pixel() -> None:
    layer = SameConvTranspose2d(2, 3, 5, 2)
    assert layer.bias is not None
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([1.0, 2, 3]))
        made = layer(torch.randn(1, 2, 4, 4))
    assert made.shape == (1, 3, 8, 8)
    assert (made == torch.tensor([1.0, 2, 3]).view(1, 3, 1, 1)).all()


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3, 4)], ids=["vectors", "maps"])
@pytest.mark.parametrize(("momentum", "eps"), [(0.1, 1e-5), (0.01, 1e-3)])
def test_batch_norm_of_one_worker_is_torchs(shape: tuple[int, ...], momentum: float, eps: float) -> None:
    torch.manual_seed(0)
    ours = BatchNorm(5, momentum, eps)
    theirs = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(5, eps, momentum)
    with torch.no_grad():
        for norm in (ours, theirs):
            norm.weight.copy_(torch.linspace(0.5, 1.5, 5))
            norm.bias.copy_(torch.linspace(-1, 1, 5))
    for _ in range(3):
        values = torch.randn(shape) * 3 + 1
        seed = torch.randn(shape)
        results: list[tuple[Tensor, ...]] = []
        for norm in (ours, theirs):
            x = values.clone().requires_grad_(True)
            y = norm(x)
            results.append((y, *torch.autograd.grad((y * seed).sum(), [x, norm.weight, norm.bias])))
        for mine, reference in zip(*results, strict=True):
            torch.testing.assert_close(mine, reference)
    assert theirs.running_mean is not None
    assert theirs.running_var is not None
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(values), theirs(values))


def test_batch_norm_in_bf16_keeps_its_statistics_in_float32() -> None:
    torch.manual_seed(0)
    norm, x = BatchNorm(4), torch.randn(64, 4, 3, 3) + 100
    y = norm(x.bfloat16())
    assert y.dtype == torch.bfloat16
    assert norm.running_mean.dtype == torch.float32
    # 0.1 of the mean; bf16 near 100 is a multiple of 0.5, whose rounding errors average out.
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean((0, 2, 3)), atol=0.005, rtol=0)


def test_dropout_scales_what_it_keeps() -> None:
    layer = Dropout(0.3)
    bind_draws(nn.Sequential(layer), Draws(0, 8, (0, 8), "cpu"))
    x = torch.ones(8, 16, 20, 20)
    y = layer(x)
    assert y.unique().tolist() == pytest.approx([0, 1 / 0.7])
    # The share kept has a standard deviation of sqrt(0.3 * 0.7 / 51200) = 0.002.
    assert abs((y > 0).float().mean().item() - 0.7) < 5 * 0.00203
    # Each image and each of its maps has a mask of its own.
    assert len((y > 0).flatten(2).flatten(0, 1).unique(dim=0)) == 8 * 16
    assert layer.eval()(x) is x
    assert Dropout(0)(x) is x


def test_dropout_without_draws_uses_torchs_generator() -> None:
    layer, x = Dropout(0.5), torch.ones(4, 100)
    torch.manual_seed(7)
    ours = layer(x)
    torch.manual_seed(7)
    torch.testing.assert_close(ours, nn.functional.dropout(x, 0.5))


def test_each_dropout_of_a_step_has_a_mask_of_its_own() -> None:
    draws = Draws(0, 4, (0, 4), "cpu")
    first, second = Dropout(0.5), Dropout(0.5)
    bind_draws(nn.Sequential(nn.Sequential(first), second), draws)
    x = torch.ones(4, 200)
    a, b = first(x), second(x)
    assert not torch.equal(a, b)
    draws.at(0)
    assert torch.equal(first(x), a)
    assert torch.equal(second(x), b)


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 3, 4)], ids=["vectors", "maps"])
def test_layer_norm_is_over_the_whole_image(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = LayerNorm(6).double()
    gain, bias = np.linspace(0.5, 1.5, 6), np.linspace(-1, 1, 6)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(gain))
        layer.bias.copy_(torch.from_numpy(bias))
    x = 3 * torch.randn(shape, dtype=torch.float64) + 2
    values = x.numpy().reshape(5, -1)
    expected = (values - values.mean(1)[:, None]) / np.sqrt(values.var(1)[:, None] + 1e-5)
    per_channel = (1, 6) + (1,) * (len(shape) - 2)
    expected = expected.reshape(shape) * gain.reshape(per_channel) + bias.reshape(per_channel)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-12)
    assert torch.autograd.gradgradcheck(layer, (x[:2].requires_grad_(True),))


def variety(x: np.ndarray, groups: list[slice]) -> np.ndarray:
    """[N], Karras et al. 2018: deviation over the group at each place, their mean."""
    found = np.zeros(len(x))
    for rows in groups:
        found[rows] = np.sqrt(x[rows].var(0) + 1e-8).mean()
    return found


@pytest.mark.parametrize(
    ("rows", "groups"),
    [
        (8, [slice(0, 4), slice(4, 8)]),
        (3, [slice(0, 3)]),
        (1, [slice(0, 1)]),
        (11, [slice(0, 6), slice(6, 11)]),
        (14, [slice(0, 5), slice(5, 10), slice(10, 14)]),
    ],
)
def test_minibatch_std(rows: int, groups: list[slice]) -> None:
    torch.manual_seed(0)
    x = torch.randn(rows, 3, 4, 5, dtype=torch.float64)
    y = MinibatchStd()(x)
    assert y.shape == (rows, 4, 4, 5)
    assert torch.equal(y[:, :3], x)
    expected = variety(x.numpy(), groups)[:, None, None] * np.ones((rows, 4, 5))
    np.testing.assert_allclose(y[:, 3].numpy(), expected, rtol=1e-12)


def test_minibatch_std_can_be_differentiated_twice() -> None:
    x = torch.randn(5, 2, 2, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(MinibatchStd(2), (x,))
    assert torch.autograd.gradgradcheck(MinibatchStd(2), (x,))


def test_minibatch_std_of_slices_that_groups_divide_is_that_of_the_batch() -> None:
    x = torch.randn(16, 2, 3, 3)
    layer = MinibatchStd()
    torch.testing.assert_close(torch.cat([layer(x[:8]), layer(x[8:])]), layer(x))
    assert not torch.allclose(torch.cat([layer(x[:6]), layer(x[6:])]), layer(x))


def test_minibatch_std_in_bf16_takes_its_sums_in_float32() -> None:
    """Beside 100 a deviation of 1 is lost in bf16's squares and means (steps of 0.5), not in float32's."""
    torch.manual_seed(0)
    x = (torch.randn(8, 16, 4, 4) + 100).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = MinibatchStd()(x)
    assert y.dtype == torch.bfloat16
    expected = variety(x.double().numpy(), [slice(0, 4), slice(4, 8)])
    np.testing.assert_allclose(y[:, -1, 0, 0].double().numpy(), expected, rtol=2**-8)


def test_which_discriminators_judge_each_image_alone() -> None:
    assert judges_each_alone(ConvDiscriminator(16, 1, 4, 8))
    assert judges_each_alone(ResnetDiscriminator(16, 1, 4, 8, "layer"))
    assert not judges_each_alone(ResnetDiscriminator(16, 1, 4, 8, "batch"))
    assert not judges_each_alone(ConvDiscriminator(16, 1, 4, 8, minibatch_std=True))
    assert not judges_each_alone(nn.Sequential(Dropout(0.1)))


SPECTRAL: list[Callable[[], Discriminator]] = [
    lambda: DCGANDiscriminator(16, 3, 4),
    lambda: AvatarsDiscriminator(1),
    lambda: ConvDiscriminator(16, 3, 4, 8),
    lambda: ResnetDiscriminator(16, 3, 4, 8, "none"),
]


@pytest.mark.parametrize("build", SPECTRAL, ids=["dcgan", "avatars", "convnet", "resnet"])
def test_spectral_norm_divides_by_the_largest_singular_value(build: Callable[[], Discriminator]) -> None:
    torch.manual_seed(0)
    network = build()
    first = {name: x.clone() for name, x in network.state_dict().items()}
    network = with_spectral_norm(network)
    layers = {name: x for name, x in network.named_modules() if isinstance(x, nn.Conv2d | nn.Linear)}
    assert layers
    for layer in layers.values():
        # Reading a weight in training mode is one step of power iteration.
        for _ in range(300 if layer.weight.numel() < 100_000 else 0):
            _ = layer.weight
    network.eval()
    for name, layer in layers.items():
        weight = first[f"{name}.weight"].numpy()
        largest = np.linalg.svd(weight.reshape(len(weight), -1).astype(np.float64), compute_uv=False)[0]
        # 15 steps alone, of the large ones, come within some percent.
        tolerance = 1e-3 if weight.size < 100_000 else 0.1
        np.testing.assert_allclose(layer.weight.detach().numpy(), weight / largest, rtol=tolerance, atol=1e-6)


def test_spectral_norm_steps_in_training_alone_and_is_saved() -> None:
    torch.manual_seed(0)
    network = with_spectral_norm(ConvDiscriminator(16, 1, 4, 8))
    x = torch.randn(2, 1, 16, 16)
    before = copy.deepcopy(network.state_dict())
    network(x)
    assert any(not torch.equal(before[name], value) for name, value in network.state_dict().items())
    network.eval()
    judged, before = network(x), copy.deepcopy(network.state_dict())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())

    torch.manual_seed(1)
    other = with_spectral_norm(ConvDiscriminator(16, 1, 4, 8))
    other.load_state_dict(before)
    assert torch.equal(other.eval()(x), judged)
    twin = copy.deepcopy(network)
    assert torch.equal(twin(x), judged)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert torch.equal(twin(x), judged)  # it shares nothing
    assert not torch.equal(network(x), judged)


def test_spectral_norm_refuses_weights_that_are_zero() -> None:
    with pytest.raises(ValueError, match=r"cannot divide by the norm of 1\.contract\.weight"):
        with_spectral_norm(R3GANDiscriminator(16, 1, 8, 8, 1, 4, 1))


def test_spectral_norm_leaves_what_has_no_numbers() -> None:
    with torch.device("meta"):
        network = with_spectral_norm(ConvDiscriminator(16, 1, 4, 8))
    assert next(network.parameters()).is_meta
