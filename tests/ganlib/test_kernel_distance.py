"""The kernel distance against torch-fidelity's function, and in closed form."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

from ganlib.errors import UserError
from ganlib.evaluation import kernel_distance as module
from ganlib.evaluation.comparison import compare
from ganlib.evaluation.findings import Findings
from ganlib.evaluation.kernel_distance import kernel_distance, squared_mmds
from ganlib.evaluation.neighbours import nearest
from ganlib.evaluation.statistics import FeatureStatistics

from .test_distances import random_features


def squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Of all of them."""
    return float(squared_mmds(x, y, np.ones((1, len(x)), bool), np.ones((1, len(y)), bool))[0])


@pytest.fixture(params=[2_048, 64])
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """All kernels in one tile, and in several with ragged ones at the ends."""
    monkeypatch.setattr(module, "TILE", request.param)
    return request.param


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize(("subsets", "size", "seed"), [(100, 40, 2020), (7, 150, 3)])
def test_mean_and_spread_are_torch_fidelitys(subsets: int, size: int, seed: int) -> None:
    a, b = random_features(200, 12, 0), random_features(150, 12, 1)
    expected = kid_features_to_metric(
        torch.from_numpy(a),
        torch.from_numpy(b),
        kid_subsets=subsets,
        kid_subset_size=size,
        rng_seed=seed,
        verbose=False,
    )
    found = kernel_distance(a, b, subsets, size, seed)
    assert found.mean == pytest.approx(expected[KEY_METRIC_KID_MEAN], rel=1e-6)
    assert found.spread == pytest.approx(expected[KEY_METRIC_KID_STD], rel=1e-6)


def test_in_float32_it_keeps_the_digits_that_count() -> None:
    a, b = random_features(400, 64, 0), random_features(400, 64, 1)
    exact, found = (squared_mmd(a.astype(dtype), b.astype(dtype)) for dtype in (np.float64, np.float32))
    assert found == pytest.approx(exact, rel=1e-4)


def test_of_numbers_it_is_what_their_moments_say() -> None:
    """k(a, b) = (ab + 1)^3 of one dimension: E k(x, y) = sum_j binom(3, j) E x^j E y^j; here of two points each."""
    x, y = np.array([[1.0], [3.0]]), np.array([[0.0], [2.0]])
    within = (1 * 3 + 1) ** 3, (0 * 2 + 1) ** 3
    across = (1 + 3**3 + 1 + 7**3) / 4
    assert squared_mmd(x, y) == pytest.approx(within[0] + within[1] - 2 * across, rel=1e-12)


def test_what_is_reported_is_torch_fidelitys_at_its_defaults() -> None:
    """Of 1,200 and 1,300 features a hundred subsets of a thousand; of fewer, subsets of half of the smaller side."""
    for counts, size in (((1_200, 1_300), 1_000), ((300, 250), 125)):
        a, b = (random_features(count, 12, seed) for seed, count in enumerate(counts))
        reported = compare(*(Findings([FeatureStatistics.of(side, None)], side, None) for side in (a, b)))  # type: ignore[arg-type]
        expected = kid_features_to_metric(
            torch.from_numpy(a),
            torch.from_numpy(b),
            kid_subsets=100,
            kid_subset_size=size,
            rng_seed=2020,
            verbose=False,
        )
        assert reported["kid"] == pytest.approx(expected[KEY_METRIC_KID_MEAN], rel=1e-6)
        assert reported["kid_spread"] == pytest.approx(expected[KEY_METRIC_KID_STD], rel=1e-6)
        assert "kid_se" not in reported  # of one split


def test_subsets_of_one_density_have_no_distance_on_average_however_small_they_are() -> None:
    """Unbiased: 200 disjoint parts of 20 images, whose Frechet distances would be far from 0; within four errors."""
    draw, parts = np.random.default_rng(5), np.arange(4_000) // 20 == np.arange(200)[:, None]
    x, y = draw.normal(size=(2, 4_000, 8))
    found = squared_mmds(x, y, parts, parts)
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(200)
    shifted = squared_mmds(x + 0.3, y, parts, parts)
    assert shifted.mean() > 10 * shifted.std() / np.sqrt(200)


@pytest.mark.usefixtures("tile")
def test_each_choice_is_of_its_own_images() -> None:
    a, b = random_features(131, 4, 0), random_features(152, 4, 1)
    ours, theirs = (np.random.default_rng(2).random((5, len(side))) < 0.3 for side in (a, b))
    expected = [squared_mmd(a[our], b[their]) for our, their in zip(ours, theirs, strict=True)]
    np.testing.assert_allclose(squared_mmds(a, b, ours, theirs), expected, rtol=1e-9)


@pytest.mark.parametrize("shift", [0.5, 0.0])
def test_the_error_is_the_spread_over_fresh_draws(shift: float) -> None:
    """100 draws of 300 images against the same reference give the true deviation to 7 percent. At no distance at all a
    jackknife doubles the variance of what is left of all pairs, as it does with the Frechet distance."""
    reference = np.random.default_rng(1_000).normal(size=(500, 6))
    found = []
    for seed in range(100):
        samples = np.random.default_rng(seed).normal(size=(300, 6)) + shift
        found.append(kernel_distance(samples, reference, size=60))
    spread = np.std([one.mean for one in found], ddof=1)
    error = np.sqrt(np.mean([one.error**2 for one in found]))
    assert 0.75 * spread < error < 1.25 * (1 if shift else np.sqrt(2)) * spread
    assert np.mean([one.spread for one in found]) > 2 * spread  # one subset's
    assert np.isnan(kernel_distance(reference[:19], reference, size=10).error)


def test_what_has_no_kernel_distance_is_said() -> None:
    features = random_features(10, 4, 0)
    with pytest.raises(ValueError, match="subsets of 1000 cannot be drawn from 10 and 10 images"):
        kernel_distance(features, features)
    with pytest.raises(ValueError, match="kernel distance takes two images and more on either side"):
        squared_mmd(features[:1], features)


@pytest.mark.parametrize(("shape", "dtype"), [((14, 5), np.float32), ((128, 448), np.float64)])
def test_where_features_lie_in_memory_does_not_matter_to_the_last_bit(shape: tuple[int, int], dtype: type) -> None:
    """NumPy's arrays begin anywhere; a product of matrices adds up by where its numbers begin."""
    features = random_features(*shape, 0).astype(dtype)
    found = set()
    for shift in range(0, 64, features.itemsize):
        memory = np.empty(features.nbytes + 128, np.uint8)
        start = -memory.ctypes.data % 64 + shift
        moved = memory[start : start + features.nbytes].view(dtype).reshape(shape)
        moved[:] = features
        ours, theirs = moved[: shape[0] // 2], moved[shape[0] // 2 :]
        distances = nearest(ours, theirs)[0]
        found.add((squared_mmd(ours, theirs), *kernel_distance(ours, theirs, 3, size=5)[:2], distances.sum()))
    assert len(found) == 1


def test_of_features_that_are_no_numbers_there_is_no_kernel_distance() -> None:
    features = random_features(10, 4, 0)
    features[3, 1] = np.inf
    with pytest.raises(UserError, match="features are NaN or infinite"):
        squared_mmd(features, random_features(10, 4, 1))


def test_of_constant_features_and_of_more_dimensions_than_images_it_is_the_kernels() -> None:
    """k is one number each within and across: (a.a/d + 1)^3 + (b.b/d + 1)^3 - 2 (a.b/d + 1)^3."""
    a, b = np.full((3, 50), 2.0), np.full((4, 50), 5.0)
    assert squared_mmd(a, b) == pytest.approx((4 + 1) ** 3 + (25 + 1) ** 3 - 2 * (10 + 1) ** 3, rel=1e-12)
    assert squared_mmd(a, a) == pytest.approx(0, abs=1e-9)
