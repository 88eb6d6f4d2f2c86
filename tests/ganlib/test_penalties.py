"""Penalties against formulas in numpy float64, closed forms and finite differences."""

import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from ganlib.losses import OBJECTIVES
from ganlib.networks.layers import BatchNorm
from ganlib.penalties import ClipConfig, GradientPenalty, Judge, NoPenalty, Penalty, R1Config, zero_centred_penalty

ROWS = 7  # of which one of two workers has 3 and the other 4
SHAPE = (2, 3, 3)

R1, R2, R1R2 = {"kind": "r1", "gamma": 3}, {"kind": "r2", "gamma": 3}, {"kind": "r1r2", "gamma": 3, "gamma_fake": 5}
LINE, ONE_SIDED = {"kind": "gradient-penalty"}, {"kind": "gradient-penalty", "one_sided": True, "weight": 4}
DRAGAN = {"kind": "dragan"}
ALL = [R1, R2, R1R2, LINE, ONE_SIDED, DRAGAN]
IDS = ["r1", "r2", "r1r2", "gradient-penalty", "one-sided", "dragan"]


def penalty(values: dict[str, object]) -> GradientPenalty:
    """What a recipe's `penalty: {...}` is read to."""
    read = TypeAdapter(Penalty).validate_python(values)
    assert isinstance(read, GradientPenalty)
    return read


def chance(name: str, shape: tuple[int, ...], rows: tuple[int, int] = (0, ROWS)) -> Tensor:
    """U[0, 1) of the global batch, drawn by its name alone, of which a worker has the rows."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.rand(ROWS, *shape, generator=generator)[rows[0] : rows[1]]


def images() -> tuple[Tensor, Tensor]:
    """Real images and fakes, float64 [ROWS, *SHAPE]; the second half of the real ones spreads six times as far."""
    random = np.random.default_rng(0)
    real = random.normal(0.3, 0.5, (ROWS, *SHAPE)) * np.where(np.arange(ROWS) < 3, 1, 6)[:, None, None, None]
    return torch.tensor(real), torch.tensor(random.normal(-0.2, 0.7, (ROWS, *SHAPE)))


def total(config: GradientPenalty, judge: Judge, real: Tensor, fake: Tensor) -> Tensor:
    return config.weighted(config.terms(judge, real, fake, chance))


# --------------------------------------------------------------------------------------------- formulas in numpy

V = np.random.default_rng(1).normal(0, 1, 5)
W = np.random.default_rng(2).normal(0, 0.4, (5, 18))


def bump(x: Tensor) -> Tensor:
    """D(x) = v . tanh(W x), whose gradient is W^T (v (1 - tanh^2))."""
    return torch.tanh(x.flatten(1) @ torch.tensor(W).T) @ torch.tensor(V)


def norms(x: np.ndarray) -> np.ndarray:
    """||grad D||, [n], of the same."""
    return np.linalg.norm(((1 - np.tanh(x.reshape(len(x), -1) @ W.T) ** 2) * V) @ W, axis=1)


def on_the_line() -> np.ndarray:
    real, fake = (side.numpy() for side in images())
    t = chance("gradient-penalty", (1, 1, 1)).double().numpy()
    return t * real + (1 - t) * fake


def near_real() -> np.ndarray:
    real = images()[0].numpy()
    t = chance("dragan/share", (1, 1, 1)).double().numpy()
    u = chance("dragan/direction", SHAPE).double().numpy()
    return real + t * 0.5 * real.std() * u


def expected(name: str) -> float:
    real, fake = (side.numpy() for side in images())
    return {
        "r1": lambda: 3 / 2 * np.mean(norms(real) ** 2),
        "r2": lambda: 3 / 2 * np.mean(norms(fake) ** 2),
        "r1r2": lambda: 3 / 2 * np.mean(norms(real) ** 2) + 5 / 2 * np.mean(norms(fake) ** 2),
        "gradient-penalty": lambda: 10 * np.mean((norms(on_the_line()) - 1) ** 2),
        "one-sided": lambda: 4 * np.mean(np.maximum(0, norms(on_the_line()) - 1) ** 2),
        "dragan": lambda: 10 * np.mean((norms(near_real()) - 1) ** 2),
    }[name]()


@pytest.mark.parametrize(("values", "name"), zip(ALL, IDS, strict=True), ids=IDS)
def test_a_penalty_is_its_formula(values: dict[str, object], name: str) -> None:
    found = total(penalty(values), bump, *images())
    assert found.shape == ()
    assert found.item() == pytest.approx(expected(name), rel=1e-10)


def test_the_points_of_these_formulas_tell_the_variants_apart() -> None:
    """Slopes on both sides of 1, so that one-sided is another number; points that differ, so that a wrong one shows."""
    for points in (on_the_line(), near_real()):
        assert norms(points).min() < 0.9
        assert norms(points).max() > 1.1
    values = [expected(name) for name in IDS]
    assert len({round(value, 3) for value in values}) == len(values)


def test_terms_are_the_expectations_without_weights() -> None:
    real, fake = images()
    terms = penalty(R1R2 | {"every": 4}).terms(bump, real, fake, chance)
    assert {name: value.item() for name, value in terms.items()} == {
        "r1": pytest.approx(np.mean(norms(real.numpy()) ** 2)),
        "r2": pytest.approx(np.mean(norms(fake.numpy()) ** 2)),
    }
    (line,) = penalty(LINE | {"weight": 7, "every": 3}).terms(bump, real, fake, chance).values()
    assert line.item() == pytest.approx(np.mean((norms(on_the_line()) - 1) ** 2))


def test_gamma_of_the_fakes_is_that_of_the_real_images_unless_given() -> None:
    real, fake = images()
    both = total(penalty({"kind": "r1r2", "gamma": 3}), bump, real, fake)
    assert both.item() == pytest.approx(expected("r1") + expected("r2"))
    only = total(penalty({"kind": "r1r2", "gamma": 3, "gamma_fake": 0}), bump, real, fake)
    assert only.item() == pytest.approx(expected("r1"))


# ---------------------------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("scale", [0.2, 3.0])
def test_a_linear_critic_has_the_slope_of_its_weights_everywhere(scale: float) -> None:
    """D(x) = <w, x> + b: R1 is |w|^2 with the gradient 2 w, WGAN-GP (|w| - 1)^2 with 2 (|w| - 1) w / |w|."""
    layer = nn.Linear(18, 1).double()
    with torch.no_grad():
        layer.weight.copy_(torch.full((1, 18), scale / 18**0.5))  # |w| = scale
    judge, w = nn.Sequential(nn.Flatten(), layer), layer.weight.detach()
    one_sided = max(scale - 1, 0)
    for values, value, slope in (
        (R1, 1.5 * scale**2, 3 * w),
        (R2, 1.5 * scale**2, 3 * w),
        (R1R2, 4 * scale**2, 8 * w),
        (LINE, 10 * (scale - 1) ** 2, 20 * (scale - 1) * w / scale),
        (ONE_SIDED, 4 * one_sided**2, 8 * one_sided * w / scale),
        (DRAGAN, 10 * (scale - 1) ** 2, 20 * (scale - 1) * w / scale),
    ):
        found = total(penalty(values), judge, *images())
        assert found.item() == pytest.approx(value)
        (gradient,) = torch.autograd.grad(found, layer.weight)
        torch.testing.assert_close(gradient, slope)


def test_r1_of_a_quadratic_discriminator_is_four_times_the_mean_square() -> None:
    """D(x) = |x|^2 has the gradient 2 x: the penalty is the mean over images of 4 |x|^2."""
    x = torch.randn(6, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    found = zero_centred_penalty(lambda images: images.square().flatten(1).sum(1), x)
    assert found.item() == pytest.approx(4 * x.square().sum().item() / 6)


def test_the_slope_of_patches_is_that_of_their_sum() -> None:
    x = images()[0]
    patches = zero_centred_penalty(lambda x: x.square().sum(1, keepdim=True), x)
    assert patches.item() == pytest.approx(4 * x.square().sum().item() / ROWS)


def test_points_lie_between_what_they_should() -> None:
    """Where the penalty looks: on the line from fake to real image; from the image, up to c s further, upwards."""
    seen: list[Tensor] = []

    def judge(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.square().flatten(1).sum(1)

    real, fake = images()
    penalty(LINE).terms(judge, real, fake, chance)
    penalty(DRAGAN | {"c": 2}).terms(judge, real, fake, chance)
    line, near = seen
    share = (line - fake) / (real - fake)
    assert (share >= 0).all()
    assert (share < 1).all()
    torch.testing.assert_close(share, share[:, :1, :1, :1].expand_as(share))  # one a sample
    assert len(share[:, 0, 0, 0].unique()) == ROWS
    step = (near - real) / (2 * real.std(correction=0))
    assert (step >= 0).all()
    assert (step < 1).all()
    assert len(step.unique()) == step.numel()  # one a number
    torch.testing.assert_close(near.numpy(), real.numpy() + 4 * (near_real() - real.numpy()), check_dtype=False)


# -------------------------------------------------------------------------------------------------- double backward


def convolutions() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 3, 2), nn.Softplus(), nn.Conv2d(3, 2, 2), nn.Softplus(), nn.Flatten(), nn.Linear(2, 1)]
    return nn.Sequential(*layers).double()


def by_weights(config: GradientPenalty) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """The weighted penalty as a function of a small network's weights, and values of them."""
    network = convolutions()
    names = [name for name, _ in network.named_parameters()]
    values = [(5 * value.detach()).requires_grad_(True) for value in network.parameters()]
    real, fake = (side[:3] for side in images())

    def of(*weights: Tensor) -> Tensor:
        def judge(x: Tensor) -> Tensor:
            judged: Tensor = torch.func.functional_call(network, dict(zip(names, weights, strict=True)), x)
            return judged

        return config.weighted(config.terms(judge, real, fake, lambda name, shape: chance(name, shape, (0, 3))))

    return of, values


@pytest.mark.parametrize("values", ALL, ids=IDS)
def test_the_gradient_through_the_second_backward_is_the_finite_difference(values: dict[str, object]) -> None:
    of, weights = by_weights(penalty(values))
    gradients = torch.autograd.grad(of(*weights), weights[:-1])  # of all but the last bias, which has no part in it
    assert min(gradient.abs().max() for gradient in gradients) > 1e-2  # far above the tolerance of the comparison
    assert torch.autograd.gradcheck(of, weights, eps=1e-6, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("values", ALL, ids=IDS)
def test_the_penalty_can_be_differentiated_once_more(values: dict[str, object]) -> None:
    of, weights = by_weights(penalty(values))
    first = weights[0]
    assert torch.autograd.gradgradcheck(lambda w: of(w, *weights[1:]), [first], eps=1e-6, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("values", ALL, ids=IDS)
def test_a_flat_discriminator_gives_numbers(values: dict[str, object]) -> None:
    """Where the slope is exactly 0 the norm has no derivative; the penalty's is 0 there, not nan."""
    layer = nn.Linear(18, 1).double()
    nn.init.zeros_(layer.weight)
    found = total(penalty(values), nn.Sequential(nn.Flatten(), layer), *images())
    found.backward()
    assert found.item() == {"gradient-penalty": 10, "dragan": 10}.get(str(values["kind"]), 0) * ("weight" not in values)
    assert layer.weight.grad is not None
    assert (layer.weight.grad == 0).all()


@pytest.mark.parametrize("values", ALL, ids=IDS)
def test_images_and_their_graph_are_left_alone(values: dict[str, object]) -> None:
    real, fake = (side.requires_grad_(True) for side in images())
    total(penalty(values), convolutions(), real * 2, fake * 2).backward()
    assert real.grad is None
    assert fake.grad is None


@pytest.mark.parametrize("values", ALL, ids=IDS)
def test_under_bfloat16_the_penalty_is_float32_and_close(values: dict[str, object]) -> None:
    network, (real, fake) = convolutions().float(), (side.float() for side in images())
    exact = total(penalty(values), network, real, fake)
    with torch.autocast("cpu", torch.bfloat16):
        rough = total(penalty(values), network, real, fake.bfloat16())
    assert exact.dtype == rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=0.05)


# ------------------------------------------------------------------------------------------------- lazily, clipped


@pytest.mark.parametrize("every", [1, 3, 8])
@pytest.mark.parametrize("values", ALL, ids=IDS)
def test_a_lazy_penalty_weighs_in_all_what_it_would(values: dict[str, object], every: int) -> None:
    """For a D that stands still: the sum over 24 steps of what the loss takes."""
    lazy, each = penalty(values | {"every": every}), penalty(values)
    real, fake = images()
    taken = [total(lazy, bump, real, fake).item() for step in range(24) if lazy.due(step)]
    assert len(taken) == 24 / every
    assert lazy.due(0)
    assert sum(taken) == pytest.approx(24 * total(each, bump, real, fake).item(), rel=1e-14)


def test_clipping_bounds_every_weight_and_moves_no_other() -> None:
    network = nn.Sequential(nn.Linear(4, 4), BatchNorm(4), nn.Linear(4, 1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    config = TypeAdapter(Penalty).validate_python({"kind": "clip"})
    assert isinstance(config, ClipConfig)
    assert config.bound == 0.01  # the paper's
    config.apply(network)
    buffers = dict(network.named_buffers())
    for name, value in network.state_dict().items():
        bounded = before[name] if name in buffers else before[name].clamp(-0.01, 0.01)
        assert torch.equal(value, bounded), name
    assert any((value.abs() > 0.01).any() for value in before.values())
    assert all(value.requires_grad for value in network.parameters())


# --------------------------------------------------------------------------------------------- what a recipe says


def test_kinds_and_defaults() -> None:
    read = TypeAdapter(Penalty).validate_python
    assert read({"kind": "none"}) == NoPenalty()
    assert [penalty({"kind": kind}).every for kind in ("r1", "r2", "r1r2", "gradient-penalty", "dragan")] == [1] * 5
    assert read({"kind": "gradient-penalty"}).weight == 10
    assert (read({"kind": "dragan"}).weight, read({"kind": "dragan"}).c) == (10, 0.5)
    r1 = {"kind": "r1", "gamma": 0.5, "every": 8}
    assert read(r1).model_dump() == {**r1, "fall_from": 0.5, "fall_to": 1.0}  # it does not fall


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "r3"},
        {"kind": "none", "every": 2},
        {"kind": "clip", "every": 2},
        {"kind": "clip", "bound": 0},
        {"kind": "r1", "gamma": -1},
        {"kind": "r1", "every": 0},
        {"kind": "gradient-penalty", "gamma": 1},
        {"kind": "dragan", "c": 0},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Penalty).validate_python(values)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_any_objective_goes_with_any_penalty_but_clipping_is_the_critics(name: str) -> None:
    for kind in ("none", "r1", "r2", "r1r2", "gradient-penalty", "dragan", "clip"):
        read = TypeAdapter(Penalty).validate_python({"kind": kind})
        if kind == "clip" and name != "wasserstein":
            with pytest.raises(ValueError, match=f"'clip' does not go with objective '{name}'.*Wasserstein critic"):
                read.check(name)
        else:
            read.check(name)


def test_a_penalty_falls_by_half_a_cosine() -> None:
    penalty = R1Config(kind="r1", gamma=2, fall_from=0.5, fall_to=0.2)
    # By hand: half way down at the middle of the fall, and at a third of it (60 degrees) a quarter of the way.
    for done, expected in ((0, 1), (0.3, 1), (0.5, 1), (0.75, 0.6), (0.5 + 1 / 6, 0.8), (1, 0.2)):
        assert penalty.strength(done) == pytest.approx(expected)
    assert R1Config(kind="r1").strength(0.9) == 1
