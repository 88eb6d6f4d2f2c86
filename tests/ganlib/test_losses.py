"""Objectives against their formulas in D = sigmoid(a), written out in float64; penalties against closed forms."""

import math

import pytest
import torch
from torch import Tensor, nn

from ganlib.losses import (
    GENERATOR_LOSSES,
    discriminator_cross_entropy,
    generator_minimax,
    generator_non_saturating,
    r1_penalty,
)


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(64, dtype=torch.float64) * 3, torch.randn(64, dtype=torch.float64) * 3


def test_losses_are_the_formulas_of_the_paper(logits: tuple[Tensor, Tensor]) -> None:
    real, fake = logits
    d_real, d_fake = ([1 / (1 + math.exp(-a)) for a in side.tolist()] for side in logits)
    value = sum(map(math.log, d_real)) / 64 + sum(math.log(1 - d) for d in d_fake) / 64
    assert discriminator_cross_entropy(real, fake).item() == pytest.approx(-value, rel=1e-12)
    assert generator_minimax(fake).item() == pytest.approx(sum(math.log(1 - d) for d in d_fake) / 64, rel=1e-12)
    assert generator_non_saturating(fake).item() == pytest.approx(-sum(map(math.log, d_fake)) / 64, rel=1e-12)


def test_losses_at_the_optimum() -> None:
    """At D = 1/2 everywhere the discriminator's loss is log 4 (the paper's V = -log 4)."""
    half = torch.zeros(8)
    assert discriminator_cross_entropy(half, half).item() == pytest.approx(math.log(4))
    assert generator_minimax(half).item() == pytest.approx(-math.log(2))
    assert generator_non_saturating(half).item() == pytest.approx(math.log(2))


def test_the_gradient_of_the_discriminators_loss_is_the_error_of_its_judgement(logits: tuple[Tensor, Tensor]) -> None:
    """d/da -log sigmoid(a) = D - 1 on real images, d/da -log(1 - sigmoid(a)) = D on fakes."""
    real, fake = (side.requires_grad_(True) for side in logits)
    by_real, by_fake = torch.autograd.grad(discriminator_cross_entropy(real, fake), [real, fake])
    torch.testing.assert_close(by_real * 64, 1 / (1 + torch.exp(-real)) - 1)
    torch.testing.assert_close(by_fake * 64, 1 / (1 + torch.exp(-fake)))


def test_only_the_saturating_form_loses_its_gradient_where_the_discriminator_is_sure() -> None:
    """At D = sigmoid(-20), 2e-9, the slopes are -D and D - 1 (Goodfellow et al. 2014, section 3)."""
    slopes = {}
    for name, loss in GENERATOR_LOSSES.items():
        sure = torch.full((1,), -20.0, dtype=torch.float64, requires_grad=True)
        slopes[name] = torch.autograd.grad(loss(sure), sure)[0].item()
    d = math.exp(-20) / (1 + math.exp(-20))
    assert slopes == {"minimax": pytest.approx(-d), "non-saturating": pytest.approx(d - 1)}


@pytest.mark.parametrize("extreme", [500.0, -500.0])
def test_losses_stay_finite_where_sigmoid_and_log_would_not(extreme: float) -> None:
    sure, wrong = torch.full((4,), extreme), torch.full((4,), -extreme)
    assert discriminator_cross_entropy(sure, wrong).item() == pytest.approx(max(-extreme, 0) * 2, abs=1e-6)
    assert generator_minimax(sure).item() == pytest.approx(-max(extreme, 0), abs=1e-6)
    assert generator_non_saturating(sure).item() == pytest.approx(max(-extreme, 0), abs=1e-6)


def test_a_loss_of_patches_is_the_mean_over_all_of_them() -> None:
    patches = torch.arange(24.0).view(2, 1, 3, 4) / 10
    for loss in GENERATOR_LOSSES.values():
        torch.testing.assert_close(loss(patches), torch.stack([loss(one) for one in patches.flatten()]).mean())


def test_r1_of_a_linear_discriminator_is_the_squared_norm_of_its_weights() -> None:
    """D(x) = <w, x> + b has the gradient w at each x, so the penalty is |w|^2, whose own gradient is 2 w."""
    torch.manual_seed(0)
    layer = nn.Linear(3 * 4 * 4, 1)
    discriminator = nn.Sequential(nn.Flatten(), layer)
    penalty = r1_penalty(discriminator, torch.randn(5, 3, 4, 4))
    assert penalty.item() == pytest.approx(layer.weight.square().sum().item())
    penalty.backward()
    torch.testing.assert_close(layer.weight.grad, 2 * layer.weight.detach())


def test_r1_of_a_quadratic_discriminator_is_four_times_the_mean_square() -> None:
    """D(x) = |x|^2 has the gradient 2 x: the penalty is the mean over images of 4 |x|^2."""
    x = torch.randn(6, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    found = r1_penalty(lambda images: images.square().flatten(1).sum(1), x)
    assert found.item() == pytest.approx(4 * x.square().sum().item() / 6)


def test_r1_is_differentiated_twice() -> None:
    """Its gradient for the weights of a network of convolutions, against finite differences in float64."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, 2, 1), nn.Softplus(), nn.Conv2d(3, 2, 3), nn.Softplus(), nn.Flatten(), nn.Linear(2, 1)
    ).double()
    x = torch.randn(3, 1, 6, 6, dtype=torch.float64)
    names = [name for name, _ in network.named_parameters()]
    values = [(3 * value.detach()).requires_grad_(True) for value in network.parameters()]

    def penalty(*weights: Tensor) -> Tensor:
        def judge(images: Tensor) -> Tensor:
            judged: Tensor = torch.func.functional_call(network, dict(zip(names, weights, strict=True)), images)
            return judged

        return r1_penalty(judge, x)

    gradients = torch.autograd.grad(penalty(*values), values[:-1])
    assert min(gradient.abs().max() for gradient in gradients) > 0.1  # far above the tolerance of the comparison
    # The penalty is summed in float32, so that a finite difference of 1e-3 has an error of some 1e-4.
    assert torch.autograd.gradcheck(penalty, values, eps=1e-3, atol=1e-3, rtol=1e-2)


def test_r1_leaves_the_images_and_their_graph_alone() -> None:
    x = torch.randn(2, 1, 4, 4, requires_grad=True)
    made = x * 2
    r1_penalty(nn.Sequential(nn.Flatten(), nn.Linear(16, 1)), made).backward()
    assert x.grad is None
