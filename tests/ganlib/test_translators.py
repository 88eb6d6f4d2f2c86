"""U-Net, encoder-decoder and PatchGAN: shapes, parameters, what a logit sees, the forward pass written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganlib.networks.base import ImageShape
from ganlib.networks.layers import BatchNorm, Dropout
from ganlib.networks.patch import PatchDiscriminatorConfig
from ganlib.networks.unet import UNet, UNetConfig


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_at_256_they_have_the_authors_parameters() -> None:
    image = ImageShape(256, 256, 3)
    down = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 4 * 512 * 512)
    norms = 2 * ((128 + 256 + 4 * 512) + (4 * 512 + 256 + 128 + 64))
    up = 16 * (512 * 512 + 3 * 1024 * 512 + 1024 * 256 + 512 * 128 + 256 * 64 + 128 * 3) + 3
    without_skips = 16 * (4 * 512 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3) + 3
    assert down + norms + up == 54_413_955
    with torch.device("meta"):
        assert parameters(UNetConfig().build(image)) == 54_413_955
        assert parameters(UNetConfig(norm="instance").build(image)) == 54_413_955
        decoder = UNetConfig(kind="encoder-decoder").build(image)
        assert parameters(decoder) == down + norms + without_skips == 39_075_459
        assert parameters(PatchDiscriminatorConfig().build(6)) == 2_768_705
        assert parameters(PatchDiscriminatorConfig(norm="instance").build(3)) == 2_764_737
        pixel = PatchDiscriminatorConfig(layers=0).build(6)
        assert parameters(pixel) == (6 * 64 + 64) + 64 * 128 + 2 * 128 + (128 + 1)


@pytest.mark.parametrize("size", [16, 32, 64, 128, 256, 512])
@pytest.mark.parametrize("kind", ["unet", "encoder-decoder"])
def test_an_image_gives_one_of_its_shape(size: int, kind: str) -> None:
    image = ImageShape(size, size, 3)
    config = UNetConfig.model_validate({"kind": kind, "width": 4})
    config.check(image)
    with torch.device("meta"):
        assert config.build(image)(torch.empty(2, 3, size, size)).shape == (2, 3, size, size)


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_forward_pass_is_the_papers(skips: bool, norm: str) -> None:
    """On 16x16 images at width 4: features 4, 8, 16, 32, and back; written out in float64."""
    torch.manual_seed(0)
    network = UNet(3, 4, 4, skips, norm, 0.5).double().eval()
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1
    for layer in network.modules():
        if isinstance(layer, BatchNorm):
            layer.running_mean.uniform_(-0.1, 0.1)
            layer.running_var.uniform_(0.5, 2)

    def normed(y: Tensor, layer: nn.Module) -> Tensor:
        if isinstance(layer, BatchNorm):
            mean, var = layer.running_mean.view(1, -1, 1, 1), layer.running_var.view(1, -1, 1, 1)
        else:
            assert isinstance(layer, nn.InstanceNorm2d)
            mean, var = y.mean((2, 3), keepdim=True), y.var((2, 3), keepdim=True, correction=0)
        return (y - mean) / (var + 1e-5).sqrt() * layer.weight.view(1, -1, 1, 1) + layer.bias.view(1, -1, 1, 1)

    down, up = list(network.down), list(network.up)
    a = F.conv2d(x, down[0].weight, stride=2, padding=1)  # [2, 4, 8, 8]
    b = normed(F.conv2d(F.leaky_relu(a, 0.2), down[1][1].weight, stride=2, padding=1), down[1][2])  # [2, 8, 4, 4]
    c = normed(F.conv2d(F.leaky_relu(b, 0.2), down[2][1].weight, stride=2, padding=1), down[2][2])  # [2, 16, 2, 2]
    y = F.conv2d(F.leaky_relu(c, 0.2), down[3][1].weight, stride=2, padding=1)
    assert y.shape == (2, 32, 1, 1)
    for block, skip in zip(up[:3], (c, b, a), strict=True):
        y = normed(F.conv_transpose2d(y.clamp(min=0), block[1].weight, stride=2, padding=1), block[2])
        y = torch.cat([skip, y], 1) if skips else y
    last = up[3][1]
    expected = F.conv_transpose2d(y.clamp(min=0), last.weight, last.bias, stride=2, padding=1).tanh()
    torch.testing.assert_close(network(x), expected)


def test_dropout_is_in_the_first_three_blocks_of_the_way_up() -> None:
    network = UNetConfig(width=4).build(ImageShape(64, 64, 1))
    assert isinstance(network, UNet)
    dropped = [any(isinstance(layer, Dropout) and layer.p == 0.5 for layer in block.modules()) for block in network.up]
    assert dropped == [True, True, True, False, False, False]
    assert not any(isinstance(layer, Dropout) for layer in network.down.modules())
    none = UNetConfig(width=4, dropout=0).build(ImageShape(64, 64, 1))
    assert not any(isinstance(layer, Dropout) for layer in none.modules())


def test_weights_begin_at_the_papers_scale() -> None:
    torch.manual_seed(0)
    network = UNetConfig(width=16, norm="instance").build(ImageShape(32, 32, 3))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.weight.numel() > 10_000:
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        if isinstance(layer, nn.InstanceNorm2d):
            assert 0.9 < layer.weight.mean().item() < 1.1
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.5)
            assert not layer.bias.any()


@pytest.mark.parametrize(("layers", "side"), [(0, 1), (1, 16), (2, 34), (3, 70), (4, 142)])
def test_a_logit_is_of_a_patch_of_that_side(layers: int, side: int) -> None:
    torch.manual_seed(0)
    config = PatchDiscriminatorConfig(layers=layers, width=4, norm="none")
    size = 2 * side + 2**layers * 4
    x = torch.randn(1, 1, size, size, requires_grad=True)
    logits = config.build(1)(x)
    middle = logits.shape[-1] // 2
    (slope,) = torch.autograd.grad(logits[0, 0, middle, middle], x)
    for axis in (0, 1):
        seen = slope[0, 0].abs().sum(axis).nonzero()
        assert seen.max() - seen.min() + 1 == side == config.patch
    # A whole-image judge at 256: the paper's 286.
    assert PatchDiscriminatorConfig(layers=5).patch == 286


@pytest.mark.parametrize(("layers", "side"), [(0, 32), (1, 14), (2, 6), (3, 2)])
def test_patches_of_a_32x32_image(layers: int, side: int) -> None:
    logits = PatchDiscriminatorConfig(layers=layers, width=4).build(3)(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 1, side, side)


def test_an_image_is_judged_beside_what_is_given() -> None:
    network = PatchDiscriminatorConfig(width=4, layers=1, norm="instance").build(5).eval()
    x, given = torch.randn(2, 3, 16, 16), torch.randn(2, 2, 16, 16)
    torch.testing.assert_close(network(x, given), network(torch.cat([given, x], 1)))
    assert not torch.equal(network(x, given), network(x, -given))


@pytest.mark.parametrize("size", [20, 24, 8])
def test_a_size_that_cannot_be_halved_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"cannot be done to {size}x{size}; take a power of two"):
        UNetConfig().check(ImageShape(size, size, 3))


def test_depths_and_layers_that_leave_nothing_are_refused() -> None:
    image = ImageShape(32, 32, 3)
    UNetConfig(depth=3).check(ImageShape(24, 24, 3))
    with pytest.raises(ValueError, match="halves square images, of 16x16 and more, 6 times"):
        UNetConfig(depth=6).check(image)
    with pytest.raises(ValueError, match="halves square images"):
        UNetConfig(depth=1).check(image)
    PatchDiscriminatorConfig(layers=3).check(image)
    with pytest.raises(ValueError, match="4 layers leaves nothing of 32x32 images; give it fewer layers"):
        PatchDiscriminatorConfig(layers=4).check(image)
