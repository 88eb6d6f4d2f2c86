"""The networks of CycleGAN and StarGAN: counts by hand, layers written out, what they are refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganlib.networks.base import ImageShape
from ganlib.networks.patch import PatchDiscriminatorConfig
from ganlib.networks.residual_translator import ResidualTranslatorConfig, with_domains
from ganlib.networks.stargan import StarGANDiscriminatorConfig

STARGAN = ResidualTranslatorConfig(blocks=6, kernel=4, padding="zeros", affine=True, init="torch")


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_authors_counts() -> None:
    rgb256, rgb128 = ImageShape(256, 256, 3), ImageShape(128, 128, 3)
    with torch.device("meta"):
        block = 2 * (9 * 256 * 256 + 256)
        ends = 49 * 3 * 64 + 64 + 49 * 64 * 3 + 3
        strided = 9 * (64 * 128 + 128 * 256) * 2 + 128 + 256 + 128 + 64
        assert parameters(ResidualTranslatorConfig().build(rgb256)) == ends + strided + 9 * block == 11_378_179
        assert parameters(ResidualTranslatorConfig(blocks=6).build(rgb128)) == ends + strided + 6 * block
        # No biases; gains and biases of the norms; 5 more channels at the input.
        block = 2 * (9 * 256 * 256 + 2 * 256)
        ends = 49 * 8 * 64 + 2 * 64 + 49 * 64 * 3
        strided = 16 * (64 * 128 + 128 * 256) * 2 + 2 * (128 + 256 + 128 + 64)
        assert parameters(STARGAN.build(rgb128, domains=5)) == ends + strided + 6 * block == 8_430_528
        body = sum(16 * a * b + b for a, b in ((3, 64), (64, 128), (128, 256), (256, 512), (512, 1024), (1024, 2048)))
        heads = 9 * 2048 + 4 * 2048 * 5
        assert parameters(StarGANDiscriminatorConfig().build(rgb128, 5)) == body + heads == 44_762_048
        patch = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 64 + 128 + 256 + 512 + 1
        assert parameters(PatchDiscriminatorConfig(norm="instance").build(3)) == patch == 2_764_737


def norm(x: Tensor) -> Tensor:
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def test_cyclegans_generator_layer_by_layer() -> None:
    """c7s1-4, d8, d16, R16, u8, u4, c7s1-3 in float64, reflection by hand."""
    torch.manual_seed(0)
    network = ResidualTranslatorConfig(width=4, blocks=1).build(ImageShape(12, 12, 3)).double()
    for p in network.parameters():
        nn.init.normal_(p, 0, 0.2)
    x = torch.rand(2, 3, 12, 12, dtype=torch.float64) * 2 - 1
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    first, down1, down2, r1, r2, up1, up2, last = convolutions

    def reflect(y: Tensor, n: int) -> Tensor:
        y = torch.cat([y[..., 1 : n + 1].flip(-1), y, y[..., -n - 1 : -1].flip(-1)], -1)
        return torch.cat([y[..., 1 : n + 1, :].flip(-2), y, y[..., -n - 1 : -1, :].flip(-2)], -2)

    y = norm(F.conv2d(reflect(x, 3), first.weight, first.bias)).clamp(min=0)
    y = norm(F.conv2d(y, down1.weight, down1.bias, 2, 1)).clamp(min=0)
    y = norm(F.conv2d(y, down2.weight, down2.bias, 2, 1)).clamp(min=0)
    assert y.shape == (2, 16, 3, 3)
    inner = norm(F.conv2d(reflect(y, 1), r1.weight, r1.bias)).clamp(min=0)
    y = y + norm(F.conv2d(reflect(inner, 1), r2.weight, r2.bias))
    for up in (up1, up2):
        # The gradient of a stride-2 convolution of padding 1 from twice the size.
        size = 2 * y.shape[-1]
        y = torch.nn.grad.conv2d_input((2, up.out_channels, size, size), up.weight, y, 2, 1)
        y = norm(y + up.bias[:, None, None]).clamp(min=0)
    y = torch.tanh(F.conv2d(reflect(y, 3), last.weight, last.bias))
    torch.testing.assert_close(network(x), y)


def test_weights_are_drawn_as_the_authors_do() -> None:
    torch.manual_seed(1)
    network = ResidualTranslatorConfig(width=32, blocks=1).build(ImageShape(16, 16, 3))
    weights = torch.cat([p.flatten() for p in network.parameters() if p.dim() == 4])
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)
    assert not any(p.any() for p in network.parameters() if p.dim() == 1)


def test_domains_are_spread_over_the_image_and_told_to_the_generator() -> None:
    torch.manual_seed(2)
    images, domains = torch.rand(2, 3, 8, 8), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    told = with_domains(images, domains)
    assert torch.equal(told[:, :3], images)
    assert torch.equal(told[0, 3], torch.ones(8, 8))
    assert not told[0, 4].any()
    network = STARGAN.model_copy(update={"width": 4, "blocks": 1}).build(ImageShape(8, 8, 3), 2)
    made = network(images, domains)
    assert made.shape == (2, 3, 8, 8)
    torch.testing.assert_close(network(images[1:], domains[1:]), made[1:])
    assert (network(images, domains.flip(1)) - made).abs().max() > 1e-3


def test_stargans_discriminator_has_two_heads_on_one_body() -> None:
    torch.manual_seed(3)
    network = StarGANDiscriminatorConfig(width=4, layers=3).build(ImageShape(16, 16, 1), 5).double()
    x = torch.rand(2, 1, 16, 16, dtype=torch.float64)
    y = x
    for layer in network.body[::2]:
        y = F.conv2d(y, layer.weight, layer.bias, 2, 1)
        y = torch.where(y > 0, y, 0.01 * y)
    assert y.shape == (2, 16, 2, 2)
    patches, domains = network(x)
    torch.testing.assert_close(patches, F.conv2d(F.pad(y, (1, 1, 1, 1)), network.source.weight))
    torch.testing.assert_close(domains, torch.einsum("nchw,dchw->nd", y, network.domains.weight))


def test_images_that_they_cannot_make_or_judge() -> None:
    with pytest.raises(ValueError, match="multiples of 4 and at least 8, not 18x18"):
        ResidualTranslatorConfig().check(ImageShape(18, 18, 3))
    with pytest.raises(ValueError, match="of 6 layers judges square images of a multiple of 64 pixels, not 48x48"):
        StarGANDiscriminatorConfig().check(ImageShape(48, 48, 3))
