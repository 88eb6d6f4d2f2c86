"""Class conditioning: norms and projection by formula, any network, copies, what is saved, what is refused."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from pydantic import TypeAdapter
from torch import Tensor, nn

from ganlib.networks import AnyDiscriminator, AnyGenerator
from ganlib.networks.base import ImageShape
from ganlib.networks.conditional import (
    ConditionalBatchNorm,
    ConditionalGenerator,
    CurrentLabels,
    How,
    ProjectionDiscriminator,
    build_conditional_generator,
    check_conditioning,
)
from ganlib.networks.convnet import ConvDiscriminator, ConvGenerator
from ganlib.networks.layers import BatchNorm, with_spectral_norm
from ganlib.networks.mlp import MLPGenerator

GENERATORS: TypeAdapter[Any] = TypeAdapter(AnyGenerator)
DISCRIMINATORS: TypeAdapter[Any] = TypeAdapter(AnyDiscriminator)
KINDS: list[tuple[dict[str, Any], ImageShape]] = [
    ({"kind": "mlp", "widths": [16]}, ImageShape(8, 8, 1)),
    ({"kind": "mnist-large"}, ImageShape(28, 28, 1)),
    ({"kind": "mnist-small"}, ImageShape(28, 28, 1)),
    ({"kind": "dcgan", "width": 4}, ImageShape(16, 16, 3)),
    ({"kind": "avatars"}, ImageShape(48, 48, 3)),
    ({"kind": "convnet", "width": 4}, ImageShape(16, 16, 3)),
    ({"kind": "resnet", "width": 4}, ImageShape(16, 16, 3)),
    ({"kind": "r3gan", "width": 16}, ImageShape(16, 16, 3)),
]
WAYS: tuple[tuple[How, int], ...] = (("embedding", 4), ("batch-norm", 0))
LABELS = torch.tensor([2, 0, 2, 1, 0, 2])


def shuffle(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3, 4)], ids=["vectors", "maps"])
@torch.no_grad()
def test_conditional_batch_norm_is_its_formula(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    current = CurrentLabels()
    norm = ConditionalBatchNorm(5, 3, current, momentum=0.2, eps=1e-3).double()
    shuffle(norm)
    current.labels = LABELS
    x = 2 * torch.randn(shape, dtype=torch.float64) + 3
    axes = (0, *range(2, len(shape)))
    values, wide = x.numpy(), (slice(None), slice(None)) + (None,) * (len(shape) - 2)
    mean, variance = values.mean(axes, keepdims=True), values.var(axes, keepdims=True)
    gain, bias = norm.weight.numpy()[LABELS][wide], norm.bias.numpy()[LABELS][wide]
    expected = (values - mean) / np.sqrt(variance + 1e-3) * gain + bias
    np.testing.assert_allclose(norm(x).numpy(), expected, rtol=1e-9)
    count = values.size / 5
    np.testing.assert_allclose(norm.running_mean, 0.2 * mean.ravel(), rtol=1e-9)
    np.testing.assert_allclose(norm.running_var, 0.8 + 0.2 * variance.ravel() * count / (count - 1), rtol=1e-9)
    norm.eval()
    mean, variance = (b.numpy().reshape(mean.shape) for b in (norm.running_mean, norm.running_var))
    np.testing.assert_allclose(norm(x).numpy(), (values - mean) / np.sqrt(variance + 1e-3) * gain + bias, rtol=1e-9)


def test_conditional_batch_norm_is_synchronised(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second worker that has the same rows doubles every sum, and changes nothing but the unbiased variance."""
    torch.manual_seed(0)
    current = CurrentLabels()
    norm = ConditionalBatchNorm(5, 3, current)
    shuffle(norm)
    x, seed = torch.randn(6, 5, 3, 3, requires_grad=True), torch.randn(6, 5, 3, 3)
    current.labels = LABELS

    def run() -> list[Tensor]:
        y = norm(x)
        return [y, *torch.autograd.grad((y * seed).sum(), [norm.weight, norm.bias])]

    alone = run()
    calls: list[Tensor] = []
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda total: calls.append(total.mul_(2)))
    for ours, theirs in zip(run(), alone, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert len(calls) >= 2


@pytest.mark.parametrize(("config", "image"), KINDS, ids=[config["kind"] for config, _ in KINDS])
@torch.no_grad()
def test_any_generator_by_embedding(config: dict[str, Any], image: ImageShape) -> None:
    torch.manual_seed(0)
    generator = build_conditional_generator(GENERATORS.validate_python(config), 7, image, 3, "embedding", 5).eval()
    z = torch.randn(6, 7)
    made = generator(z, LABELS)
    assert made.shape == (6, image.channels, image.height, image.width)
    assert generator.embedding is not None
    vectors = generator.embedding.weight[LABELS]
    torch.testing.assert_close(made, generator.network(torch.cat([z, vectors], 1)))
    other = generator(z, (LABELS + 1) % 3)
    assert (made - other).abs().flatten(1).amax(1).min() > 0


@pytest.mark.parametrize(("config", "image"), KINDS, ids=[config["kind"] for config, _ in KINDS])
@torch.no_grad()
def test_any_generator_with_batch_norm_by_batch_norm(config: dict[str, Any], image: ImageShape) -> None:
    torch.manual_seed(0)
    parsed = GENERATORS.validate_python(config)
    plain = parsed.build(7, image)
    norms = [layer for layer in plain.modules() if isinstance(layer, BatchNorm)]
    assert parsed.has_batch_norm == bool(norms)
    if not norms:
        with pytest.raises(ValueError, match=f"'{config['kind']}' has no batch norm"):
            build_conditional_generator(parsed, 7, image, 3, "batch-norm")
        return
    # Where all norms are at 1 and 0, the class changes nothing, and the network is what it was.
    for layer in norms:
        layer.weight.fill_(1)
        layer.bias.zero_()
    generator = ConditionalGenerator(copy.deepcopy(plain), 3, "batch-norm")
    z = torch.randn(6, 7)
    torch.testing.assert_close(generator(z, LABELS), plain(z), rtol=1e-4, atol=1e-5)
    count = sum(p.numel() for p in generator.parameters()) - sum(p.numel() for p in plain.parameters())
    assert count == sum(2 * (3 - 1) * layer.running_mean.numel() for layer in norms)
    swapped = [layer for layer in generator.modules() if isinstance(layer, BatchNorm)]
    assert all(isinstance(layer, ConditionalBatchNorm) for layer in swapped)
    assert [(x.momentum, x.eps) for x in swapped] == [(x.momentum, x.eps) for x in norms]
    shuffle(generator)
    generator.eval()
    assert (generator(z, LABELS) - generator(z, (LABELS + 1) % 3)).abs().flatten(1).amax(1).min() > 0


def test_each_class_learns_from_its_own_images() -> None:
    for how, dim in WAYS:
        generator = ConditionalGenerator(ConvGenerator(3 + dim, 16, 1, 4, 8), 4, how, dim)
        generator(torch.randn(6, 3), LABELS).square().sum().backward()
        named = dict(generator.named_parameters())
        table = named["embedding.weight" if how == "embedding" else "network.2.bias"]
        assert table.grad is not None
        assert table.grad.abs().sum(1).gt(0).tolist() == [True, True, True, False]


@torch.no_grad()
def test_a_copy_has_labels_of_its_own() -> None:
    """The moving average is made by copy.deepcopy, and samples in the middle of training."""
    torch.manual_seed(0)
    generator = ConditionalGenerator(ConvGenerator(3, 16, 1, 4, 8), 3, "batch-norm")
    shuffle(generator)
    generator.eval()
    twin = copy.deepcopy(generator)
    assert twin.current is not generator.current
    for network in (generator, twin):
        norms = [x for x in network.modules() if isinstance(x, ConditionalBatchNorm)]
        assert norms
        assert all(x.current is network.current for x in norms)
    z = torch.randn(6, 3)
    made = generator(z, LABELS)
    assert torch.equal(twin(z, LABELS), made)
    shuffle(twin)
    assert not torch.equal(twin(z, LABELS), made)
    assert torch.equal(generator(z, LABELS), made)
    assert generator.current.labels is None


@torch.no_grad()
def test_what_is_saved_is_what_is_loaded() -> None:
    for how, dim in WAYS:
        one, other = (ConditionalGenerator(ConvGenerator(3 + dim, 16, 1, 4, 8), 3, how, dim) for _ in range(2))
        shuffle(one)
        other.load_state_dict(one.state_dict())
        z = torch.randn(6, 3)
        assert torch.equal(one.eval()(z, LABELS), other.eval()(z, LABELS))
        assert len(list(one.buffers())) == 4  # of two norms; the labels are none


def test_norms_without_labels_say_so() -> None:
    generator = ConditionalGenerator(ConvGenerator(3, 16, 1, 4, 8), 3, "batch-norm")
    with pytest.raises(RuntimeError, match="inside ConditionalGenerator"):
        generator.network(torch.randn(6, 3))


@pytest.mark.parametrize(("config", "image"), KINDS, ids=[config["kind"] for config, _ in KINDS])
@torch.no_grad()
def test_projection_is_equation_3(config: dict[str, Any], image: ImageShape) -> None:
    torch.manual_seed(0)
    if config["kind"] == "mlp":
        config = {"kind": "mlp", "widths": [16], "pieces": 2}
    network = DISCRIMINATORS.validate_python(config).build(image)
    judge = ProjectionDiscriminator(network, 3).eval()
    x = torch.randn(6, image.channels, image.height, image.width)
    features, rows = network.features(x).double().numpy(), judge.embedding.weight.double().numpy()[LABELS]
    assert features.shape == (6, network.feature_dim)
    expected = network(x).double().numpy() + (features * rows).sum(1)
    np.testing.assert_allclose(judge(x, LABELS).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_first_embeddings() -> None:
    """z's own N(0, 1) in G; in D, N(0, 1 / F) over F features."""
    torch.manual_seed(0)
    network = ConvDiscriminator(16, 1, 4, 64)
    for table, std in (
        (ProjectionDiscriminator(network, 50).embedding, 1 / math.sqrt(8 * 16)),
        (ConditionalGenerator(MLPGenerator(10, ImageShape(8, 8, 1), ()), 500, "embedding", 10).embedding, 1.0),
    ):
        assert table is not None
        assert table.weight.requires_grad
        count = table.weight.numel()
        assert table.weight.std().item() / std == pytest.approx(1, abs=5 / math.sqrt(2 * count))
        assert abs(table.weight.mean().item()) < 5 * std / math.sqrt(count)


def test_projection_under_a_gradient_penalty() -> None:
    """The embedding's gradient of E[|grad_x D|^2], against finite differences."""
    torch.manual_seed(0)
    judge = ProjectionDiscriminator(ConvDiscriminator(8, 1, 2, 4), 3).double()
    x = torch.randn(6, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    weight = judge.embedding.weight

    def slope() -> Tensor:
        (gradient,) = torch.autograd.grad(judge(x, LABELS).sum(), x, create_graph=True)
        return gradient.square().sum()

    (found,) = torch.autograd.grad(slope(), weight)
    with torch.no_grad():
        weight[1, 3] += 1e-6
    more = slope().item()
    with torch.no_grad():
        weight[1, 3] -= 2e-6
    assert found[1, 3].item() == pytest.approx((more - slope().item()) / 2e-6, rel=1e-5)


@torch.no_grad()
def test_spectral_norm_takes_the_embedding_too() -> None:
    torch.manual_seed(0)
    judge = ProjectionDiscriminator(ConvDiscriminator(8, 1, 2, 4), 3)
    first = judge.embedding.weight.numpy().copy()
    with_spectral_norm(judge)
    for _ in range(100):
        judge(torch.randn(6, 1, 8, 8), LABELS)
    largest = np.linalg.svd(first.astype(np.float64), compute_uv=False)[0]
    np.testing.assert_allclose(judge.eval().embedding.weight.numpy(), first / largest, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("config", "image"), KINDS, ids=[config["kind"] for config, _ in KINDS])
def test_configs_know_whether_spectral_norm_fits(config: dict[str, Any], image: ImageShape) -> None:
    parsed = DISCRIMINATORS.validate_python(config)
    network = parsed.build(image)
    if parsed.takes_spectral_norm:
        with_spectral_norm(network)
    else:
        with pytest.raises(ValueError, match="spectral norm cannot divide"):
            with_spectral_norm(network)


def test_impossible_conditioning_is_refused() -> None:
    mlp = GENERATORS.validate_python({"kind": "mlp"})
    with pytest.raises(ValueError, match="network 'mlp' has no batch norm to be told the class through"):
        check_conditioning(mlp, "batch-norm", 0)
    with pytest.raises(ValueError, match="at least one number a class"):
        check_conditioning(mlp, "embedding", 0)
    check_conditioning(mlp, "embedding", 1)
    with pytest.raises(ValueError, match="wants a generator with batch norm"):
        ConditionalGenerator(MLPGenerator(10, ImageShape(8, 8, 1), (4,)), 3, "batch-norm")
