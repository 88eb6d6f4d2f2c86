"""Objectives against their formulas, written out in numpy float64; their optima, slopes and refusals."""

import copy
import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ganlib.losses import OBJECTIVES, ObjectiveName

REAL = np.random.default_rng(0).normal(0.5, 3, 64)
FAKE = np.random.default_rng(1).normal(-0.5, 3, 64)


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


FORMULAS: dict[str, tuple[float, float]] = {
    "minimax": (
        -np.mean(np.log(sigmoid(REAL))) - np.mean(np.log(1 - sigmoid(FAKE))),
        np.mean(np.log(1 - sigmoid(FAKE))),
    ),
    "non-saturating": (
        -np.mean(np.log(sigmoid(REAL))) - np.mean(np.log(1 - sigmoid(FAKE))),
        -np.mean(np.log(sigmoid(FAKE))),
    ),
    "least-squares": (
        np.mean((REAL - 1) ** 2) / 2 + np.mean((FAKE - 0) ** 2) / 2,
        np.mean((FAKE - 1) ** 2) / 2,
    ),
    "hinge": (
        -np.mean(np.minimum(0, -1 + REAL)) - np.mean(np.minimum(0, -1 - FAKE)),
        -np.mean(FAKE),
    ),
    "wasserstein": (np.mean(FAKE) - np.mean(REAL), -np.mean(FAKE)),
    "relativistic": (
        -np.mean(np.log(sigmoid(REAL - FAKE))),
        -np.mean(np.log(sigmoid(FAKE - REAL))),
    ),
}
"""The values of D's and of G's loss, as their papers write them."""

NAMES = list(FORMULAS)


def tensors() -> tuple[Tensor, Tensor]:
    """REAL and FAKE, float64, as leaves."""
    return torch.tensor(REAL, requires_grad=True), torch.tensor(FAKE, requires_grad=True)


def test_there_are_formulas_for_all_objectives() -> None:
    assert set(OBJECTIVES) == set(NAMES) == set(ObjectiveName.__args__)
    assert all(objective.name == name for name, objective in OBJECTIVES.items())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(64,), (64, 1), (4, 1, 4, 4)], ids=str)
def test_both_sides_are_the_formulas_of_the_paper(name: ObjectiveName, shape: tuple[int, ...]) -> None:
    real, fake = (side.view(shape) for side in tensors())
    objective = OBJECTIVES[name]
    for found, expected in zip(
        (objective.discriminator(real, fake), objective.generator(fake, real)), FORMULAS[name], strict=True
    ):
        assert found.shape == ()
        assert found.dtype == torch.float64
        assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_of_patches_is_the_mean_over_all_of_them(name: ObjectiveName) -> None:
    real, fake = (side.detach().view(2, 2, 4, 4) for side in tensors())
    objective = OBJECTIVES[name]
    one_by_one = list(zip(real.flatten(), fake.flatten(), strict=True))
    judged = torch.stack([objective.discriminator(x, g) for x, g in one_by_one]).mean()
    torch.testing.assert_close(objective.discriminator(real, fake), judged)
    made = torch.stack([objective.generator(g, x) for x, g in one_by_one]).mean()
    torch.testing.assert_close(objective.generator(fake, real), made)


@pytest.mark.parametrize("name", NAMES)
def test_only_the_objective_that_says_so_needs_the_real_images(name: ObjectiveName) -> None:
    real, fake = tensors()
    objective = OBJECTIVES[name]
    if objective.needs_real:
        with pytest.raises(ValueError, match="real images"):
            objective.generator(fake, None)
    else:
        assert objective.generator(fake, None).item() == objective.generator(fake, real).item()
    (slope,) = torch.autograd.grad(objective.generator(fake, real), real, allow_unused=True)
    assert (slope is not None) == objective.needs_real


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_the_finite_differences(name: ObjectiveName) -> None:
    objective = OBJECTIVES[name]
    # Away from the corners of the hinge, at -1 and 1, where it has no derivative.
    assert min(np.abs(REAL - 1).min(), np.abs(FAKE + 1).min()) > 1e-3
    assert torch.autograd.gradcheck(objective.discriminator, tensors(), eps=1e-6, atol=1e-8)
    real, fake = tensors()
    assert torch.autograd.gradcheck(lambda g: objective.generator(g, real.detach()), [fake], eps=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_second_derivatives_are_the_finite_differences_of_the_first(name: ObjectiveName) -> None:
    """Of logits that curve with what they judge, as those of a network do."""
    objective = OBJECTIVES[name]
    x, g = (side[:6].detach().requires_grad_(True) for side in tensors())

    def discriminator(real: Tensor, fake: Tensor) -> Tensor:
        return objective.discriminator(real + real.sin(), fake + fake.sin())

    def generator(real: Tensor, fake: Tensor) -> Tensor:
        return objective.generator(fake + fake.sin(), real + real.sin()) + real.square().sum()

    assert torch.autograd.gradgradcheck(discriminator, (x, g), eps=1e-6, atol=1e-7)
    assert torch.autograd.gradgradcheck(generator, (x, g), eps=1e-6, atol=1e-7)


# ---------------------------------------------------------------------------------------------------- known points


def test_values_at_the_optimum() -> None:
    """Where p_g = p_data: V = -log 4 at D = 1/2, RpGAN's log 2 at D(x) = D(G(z)), hinge's 2 and LSGAN's 1/4."""
    half = torch.zeros(8)
    for name, judge, make in (
        ("minimax", math.log(4), -math.log(2)),
        ("non-saturating", math.log(4), math.log(2)),
        ("hinge", 2, 0),
        ("wasserstein", 0, 0),
        ("relativistic", math.log(2), math.log(2)),
    ):
        objective = OBJECTIVES[name]
        assert objective.discriminator(half, half).item() == pytest.approx(judge), name
        assert objective.generator(half, half).item() == pytest.approx(make), name
    assert OBJECTIVES["least-squares"].discriminator(half + 0.5, half + 0.5).item() == pytest.approx(1 / 4)


def test_the_gradient_of_the_discriminators_loss_is_the_error_of_its_judgement() -> None:
    """d/da -log sigmoid(a) = D - 1 on real images, d/da -log(1 - sigmoid(a)) = D on fakes; a - 1 and a for LSGAN."""
    for name, judge in (("minimax", sigmoid), ("least-squares", lambda a: a)):
        real, fake = tensors()
        by_real, by_fake = torch.autograd.grad(OBJECTIVES[name].discriminator(real, fake), [real, fake])
        np.testing.assert_allclose(by_real.numpy() * 64, judge(REAL) - 1, atol=1e-12)
        np.testing.assert_allclose(by_fake.numpy() * 64, judge(FAKE), atol=1e-12)


def test_only_the_saturating_form_loses_its_gradient_where_the_discriminator_is_sure() -> None:
    """At D = sigmoid(-20), 2e-9, the slopes are -D and D - 1 (Goodfellow et al. 2014, section 3)."""
    slopes = {}
    for name, objective in OBJECTIVES.items():
        sure = torch.full((1,), -20.0, dtype=torch.float64, requires_grad=True)
        slopes[name] = torch.autograd.grad(objective.generator(sure, torch.zeros_like(sure)), sure)[0].item()
    d = math.exp(-20) / (1 + math.exp(-20))
    assert slopes == {
        "minimax": pytest.approx(-d),
        "non-saturating": pytest.approx(d - 1),
        "least-squares": pytest.approx(-21),
        "hinge": -1,
        "wasserstein": -1,
        "relativistic": pytest.approx(d - 1),
    }


@pytest.mark.parametrize("extreme", [500.0, -500.0])
def test_losses_stay_finite_where_sigmoid_and_log_would_not(extreme: float) -> None:
    sure, wrong = torch.full((4,), extreme), torch.full((4,), -extreme)
    for name in ("minimax", "non-saturating"):
        loss = OBJECTIVES[name].discriminator(sure, wrong)
        assert loss.item() == pytest.approx(max(-extreme, 0) * 2, abs=1e-6)
    assert OBJECTIVES["minimax"].generator(sure, None).item() == pytest.approx(-max(extreme, 0), abs=1e-6)
    assert OBJECTIVES["non-saturating"].generator(sure, None).item() == pytest.approx(max(-extreme, 0), abs=1e-6)
    pairs = OBJECTIVES["relativistic"]
    assert pairs.discriminator(sure, wrong).item() == pytest.approx(max(-2 * extreme, 0), abs=1e-6)
    assert pairs.generator(wrong, sure).item() == pytest.approx(max(2 * extreme, 0), abs=1e-6)


def test_the_hinge_leaves_what_is_beyond_its_margins_alone() -> None:
    real = torch.tensor([0.5, 1.5], requires_grad=True)
    fake = torch.tensor([-0.5, -1.5], requires_grad=True)
    OBJECTIVES["hinge"].discriminator(real, fake).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert real.grad.tolist() == [-0.5, 0]
    assert fake.grad.tolist() == [0.5, 0]


def test_pairing_sees_nothing_but_the_differences_of_its_pairs() -> None:
    real, fake = (side.detach() for side in tensors())
    pairs = OBJECTIVES["relativistic"]
    torch.testing.assert_close(pairs.discriminator(real + 7, fake + 7), pairs.discriminator(real, fake))
    # It is row by row, not one side's mean against the other's.
    assert abs((pairs.discriminator(real, fake.roll(1)) - pairs.discriminator(real, fake)).item()) > 1e-3


def test_pairs_that_do_not_fit_are_refused() -> None:
    """(4,) against (4, 1) would be broadcast to sixteen pairs."""
    with pytest.raises(ValueError, match=r"\(4,\) real and \(4, 1\) fake"):
        OBJECTIVES["relativistic"].discriminator(torch.zeros(4), torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r"\(3,\) real and \(4,\) fake"):
        OBJECTIVES["relativistic"].generator(torch.zeros(4), torch.zeros(3))


# ------------------------------------------------------------------------------------------------------ smoothing


def test_smoothing_is_the_cross_entropy_and_the_square_with_the_smoothed_target() -> None:
    real, fake = tensors()
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    entropy: Callable[..., Tensor] = F.binary_cross_entropy_with_logits
    for name in ("minimax", "non-saturating"):
        found = OBJECTIVES[name].with_smoothing(0.1).discriminator(real, fake)
        torch.testing.assert_close(found, entropy(real, 0.9 * ones) + entropy(fake, zeros))
    found = OBJECTIVES["least-squares"].with_smoothing(0.1).discriminator(real, fake)
    torch.testing.assert_close(found, F.mse_loss(real, 0.9 * ones) / 2 + F.mse_loss(fake, zeros) / 2)


@pytest.mark.parametrize("name", ["minimax", "non-saturating", "least-squares"])
def test_gradients_of_smoothed_losses_are_the_finite_differences_and_theirs(name: ObjectiveName) -> None:
    """Of logits that curve with what they judge; at s = 0.1, and not those of no smoothing."""
    objective, sides = OBJECTIVES[name].with_smoothing(0.1), tensors()
    assert torch.autograd.gradcheck(objective.discriminator, sides, eps=1e-6, atol=1e-8)
    x, g = (side[:6].detach().requires_grad_(True) for side in sides)

    def curved(real: Tensor, fake: Tensor) -> Tensor:
        return objective.discriminator(real + real.sin(), fake + fake.sin())

    assert torch.autograd.gradgradcheck(curved, (x, g), eps=1e-6, atol=1e-7)
    smoothed, plain = (torch.autograd.grad(one.discriminator(*sides), sides) for one in (objective, OBJECTIVES[name]))
    # d/da of s a, the line that smoothing adds for a real image (of LSGAN's (a - 1 + s)^2 / 2 too); of a fake nothing.
    torch.testing.assert_close(smoothed[0] - plain[0], torch.full_like(plain[0], 0.1 / len(plain[0])))
    torch.testing.assert_close(smoothed[1], plain[1])


@pytest.mark.parametrize("name", ["minimax", "non-saturating", "least-squares"])
def test_the_smoothed_optimum_is_the_share_of_real_images_alone(name: ObjectiveName) -> None:
    """With p_data = 0.75 and p_g = 0.25 where D stands, D* = 0.9 * 0.75 (Salimans et al. 2016, 3.4, its beta 0)."""
    objective = OBJECTIVES[name].with_smoothing(0.1)
    optimum = 0.9 * 0.75
    a = math.log(optimum / (1 - optimum)) if name != "least-squares" else optimum
    logit = torch.tensor(a, dtype=torch.float64, requires_grad=True)
    other = torch.zeros_like(logit).detach()
    loss = 0.75 * objective.discriminator(logit, other) + 0.25 * objective.discriminator(other, logit)
    (slope,) = torch.autograd.grad(loss, logit)
    assert slope.item() == pytest.approx(0, abs=1e-12)
    assert objective.reading(logit).item() == pytest.approx(optimum)


def test_no_smoothing_is_the_objective_itself() -> None:
    for objective in OBJECTIVES.values():
        objective.check(0.0)
        assert objective.with_smoothing(0.0) is objective


@pytest.mark.parametrize("name", ["hinge", "wasserstein", "relativistic"])
def test_objectives_without_labels_refuse_to_smooth_them(name: ObjectiveName) -> None:
    with pytest.raises(ValueError, match=f"'{name}' has no labels to smooth.*'least-squares'"):
        OBJECTIVES[name].check(0.1)
    with pytest.raises(ValueError, match="no labels"):
        OBJECTIVES[name].with_smoothing(0.1)


@pytest.mark.parametrize("smoothing", [-0.1, 0.5, 1.0])
def test_smoothing_that_turns_labels_round_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match=r"at least 0 and below 0\.5"):
        OBJECTIVES["minimax"].check(smoothing)


# -------------------------------------------------------------------------------------------------------- readings


def test_readings() -> None:
    logits = torch.tensor([-2.0, 0.0, 0.25, 3.0])
    for name, expected in {
        "minimax": sigmoid(logits.numpy()),
        "non-saturating": sigmoid(logits.numpy()),
        "least-squares": [0, 0, 0.25, 1],
        "hinge": [-2, 0, 0.25, 3],
        "wasserstein": [-2, 0, 0.25, 3],
        "relativistic": [-2, 0, 0.25, 3],
    }.items():
        objective = OBJECTIVES[name]
        np.testing.assert_allclose(objective.reading(logits).numpy(), expected, rtol=1e-6)
        assert objective.probability == (name in ("minimax", "non-saturating", "least-squares"))


@pytest.mark.parametrize("name", [name for name, objective in OBJECTIVES.items() if objective.probability])
def test_the_optimal_reading_of_a_probability_is_the_ratio_of_the_densities(name: ObjectiveName) -> None:
    """Of 5 real images and 3 fakes in one place D* = 5 / 8, the root of the loss's slope; found by bisection."""
    objective = OBJECTIVES[name]

    def slope(a: float) -> float:
        logit = torch.tensor(a, dtype=torch.float64, requires_grad=True)
        other = torch.zeros((), dtype=torch.float64)
        loss = 5 * objective.discriminator(logit, other) + 3 * objective.discriminator(other, logit)
        return torch.autograd.grad(loss, logit)[0].item()

    low, high = -10.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    assert objective.reading(torch.tensor(low, dtype=torch.float64)).item() == pytest.approx(5 / 8)


def test_objectives_are_copied_and_sent_to_workers() -> None:
    real, fake = tensors()
    for objective in (*OBJECTIVES.values(), OBJECTIVES["minimax"].with_smoothing(0.1)):
        for twin in (copy.deepcopy(objective), pickle.loads(pickle.dumps(objective))):
            assert twin.discriminator(real, fake).item() == objective.discriminator(real, fake).item()
