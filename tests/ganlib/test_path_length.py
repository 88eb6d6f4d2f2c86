"""Path lengths of generators that are matrices, where they are known."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from torch_fidelity.generative_model_base import GenerativeModelBase
from torch_fidelity.metric_ppl import calculate_ppl
from torch_fidelity.registry import register_sample_similarity
from torch_fidelity.sample_similarity_base import SampleSimilarityBase

from ganlib.draws import draw_latents, stream_generator
from ganlib.evaluation.extractor import Extractor
from ganlib.evaluation.path_length import path_lengths, path_metrics, perceptual_path_length
from ganlib.methods.blocks import great_circle
from ganlib.sampling import Sampler

from .conftest import tiny_recipe

DIM = 6
MATRIX = torch.randn(10, DIM, generator=torch.Generator().manual_seed(0))


def linear(latents: torch.Tensor, paths: torch.Tensor) -> torch.Tensor:
    return latents @ MATRIX.T


def identity(images: torch.Tensor) -> torch.Tensor:
    return images


def ends(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The latents that paths go between."""
    drawn = (draw_latents(stream_generator("cpu", seed, "path", end), count, DIM, "normal") for end in ("start", "end"))
    start, end = (latents.double().numpy() for latents in drawn)
    return start, end


def test_along_a_straight_line_a_matrix_goes_as_far_as_the_ends_are_apart() -> None:
    start, end = ends(250, 3)
    expected = np.square((end - start) @ MATRIX.double().numpy().T).sum(1)
    found = path_lengths(linear, identity, DIM, 250, 3, "lerp", epsilon=1e-2)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    # float32's last digit is a thousandth of so short a step.
    np.testing.assert_allclose(path_lengths(linear, identity, DIM, 250, 3, "lerp"), expected, rtol=0.05)


def test_its_expectation_is_twice_the_matrixs_square() -> None:
    """E |M (b - a)|^2 = 2 tr M^T M for normal a, b; four deviations of the mean of 20,000."""
    found = path_lengths(linear, identity, DIM, 20_000, 0, "lerp", epsilon=1e-2)
    assert found.mean() == pytest.approx(2 * MATRIX.square().sum().item(), abs=4 * found.std() / np.sqrt(20_000))


def test_along_the_sphere_a_rotation_goes_as_far_as_the_angle() -> None:
    """Of unit vectors e: |slerp'|= w; the chord of w epsilon is 2 sin(w epsilon / 2)."""
    draw = torch.Generator().manual_seed(1)
    a, b = (torch.nn.functional.normalize(torch.randn(50, DIM, generator=draw).double(), dim=1) for _ in range(2))
    t, epsilon = torch.rand(50, 1, generator=draw).double(), 1e-2
    angle = (a * b).sum(1).acos()
    here, there = great_circle(a, b, t), great_circle(a, b, t + epsilon)
    torch.testing.assert_close((there - here).norm(dim=1), 2 * torch.sin(angle * epsilon / 2))
    torch.testing.assert_close(here.norm(dim=1), torch.ones(50, dtype=torch.float64))
    for between in (great_circle, torch.lerp):
        torch.testing.assert_close(between(a, b, torch.zeros(50, 1, dtype=torch.float64)), a)
        torch.testing.assert_close(between(a, b, torch.ones(50, 1, dtype=torch.float64)), b)


def test_the_score_leaves_out_a_percent_at_either_end() -> None:
    lengths = path_lengths(linear, identity, DIM, 1_000, 0, "slerp", epsilon=1e-2)
    expected = np.sort(lengths)[10:-10].mean()
    found = perceptual_path_length(linear, identity, DIM, 1_000, epsilon=1e-2)
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.error == pytest.approx(np.std(np.sort(lengths)[10:-10], ddof=1) / np.sqrt(980), rel=1e-9)


def test_a_latent_that_does_nothing_has_no_path() -> None:
    still = path_lengths(lambda latents, paths: torch.ones(len(latents), 3, 4, 4), identity, DIM, 130)
    assert still.shape == (130,)
    assert not still.any()


def test_torch_fidelity_finds_as_much_of_a_matrix_along_other_latents() -> None:
    """Its own loop, with the squared distance for a similarity: means of 4,000 paths, within four standard errors."""

    class Linear(GenerativeModelBase):
        z_size, z_type, num_classes = DIM, "normal", 0

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return z @ MATRIX.double().T if z.dtype == torch.float64 else z @ MATRIX.T

    class Squared(SampleSimilarityBase):
        def __init__(self, name: str, **_: object) -> None:
            super().__init__(name)

        def forward(self, in0: torch.Tensor, in1: torch.Tensor) -> torch.Tensor:
            return (in0 - in1).double().square().sum(1)

    register_sample_similarity("squared", Squared)
    said = calculate_ppl(
        1, input1=Linear(), input1_model_num_samples=4_000, ppl_sample_similarity="squared", ppl_epsilon=1e-2,
        ppl_z_interp_mode="lerp", ppl_discard_percentile_lower=None, ppl_discard_percentile_higher=None,
        ppl_sample_similarity_resize=None, ppl_sample_similarity_dtype="float32", cuda=False, verbose=False,
    )  # fmt: skip
    lengths = path_lengths(linear, identity, DIM, 4_000, 0, "lerp", epsilon=1e-2)
    apart = lengths.mean() - said["perceptual_path_length_mean"]
    assert abs(apart) < 4 * np.sqrt(2) * lengths.std() / np.sqrt(4_000)


class Pixels(Extractor):
    """Images themselves, as they come."""

    name, digest = "pixels", "0" * 64

    def features(self, images: np.ndarray) -> tuple[np.ndarray, None]:
        assert images.dtype == np.float32
        return images.reshape(len(images), -1).astype(np.float64), None


@pytest.mark.parametrize("condition", ["{kind: none}", "{kind: embedding, dim: 4}"])
def test_of_a_generator_it_is_the_size_of_its_derivative_along_the_path(tmp_path: Path, condition: str) -> None:
    """|J dz/dt|^2 by automatic differentiation in float64, z on the great circle, path i being of class i modulo 10."""
    recipe = tiny_recipe(tmp_path, f"method.condition={condition}", "data.classes=10")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = recipe.method.build(recipe.shape)
    generator = method.generator
    found = path_metrics(cast(Sampler, SimpleNamespace(method=method, generator=generator)), Pixels(), 2_400, 7)
    exact = copy.deepcopy(generator).double().eval()
    dim = recipe.method.latent.dim
    a, b = (
        draw_latents(stream_generator("cpu", 7, "path", end), 120, dim, "normal").double() for end in ("start", "end")
    )
    t = torch.rand(120, 1, generator=stream_generator("cpu", 7, "path", "t"), dtype=torch.float64)
    angle = torch.acos(torch.nn.functional.cosine_similarity(a, b))[:, None]
    z = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()
    speed = angle / angle.sin() * ((t * angle).cos() * b - ((1 - t) * angle).cos() * a)
    told = () if condition == "{kind: none}" else (torch.arange(120) % 10,)
    _, moved = torch.autograd.functional.jvp(lambda latents: exact(latents, *told), z, speed)
    lengths = np.sort(moved.flatten(1).square().sum(1).numpy())[
        2:-2
    ]  # without what is past the 1st and 99th percentile
    assert found["path_length/pixels-00000000"] == pytest.approx(lengths.mean(), rel=0.01)
    assert found["path_length_se/pixels-00000000"] == pytest.approx(lengths.std(ddof=1) / np.sqrt(116), rel=0.01)


def test_points_have_no_path_and_whole_grey_levels_have_none(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    method = recipe.method.build(recipe.shape)
    sampler = cast(Sampler, SimpleNamespace(method=method, generator=method.generator))
    whole = Pixels()
    whole.takes_floats = False
    assert path_metrics(sampler, whole, 100, 0) == {}
    method.points = True
    assert path_metrics(sampler, Pixels(), 100, 0) == {}
