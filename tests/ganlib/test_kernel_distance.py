"""The kernel distance against torch-fidelity's function, and in closed form."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

from ganlib.errors import UserError
from ganlib.evaluation.kernel_distance import disjoint_distances, kernel_distance, squared_mmd
from ganlib.evaluation.neighbours import nearest

from .test_evaluation import random_features


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


def test_parts_of_one_density_have_no_distance_on_average_however_small_they_are() -> None:
    """Unbiased: 200 parts of 20 images, whose Frechet distances would be far from 0; within four standard errors."""
    draw = np.random.default_rng(5)
    found = disjoint_distances(draw.normal(size=(4000, 8)), draw.normal(size=(4007, 8)), 200)
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(200)
    shifted = disjoint_distances(draw.normal(size=(4000, 8)) + 0.3, draw.normal(size=(4000, 8)), 200)
    assert shifted.mean() > 10 * shifted.std() / np.sqrt(200)


def test_disjoint_parts_are_each_their_own_images() -> None:
    a, b = random_features(31, 4, 0), random_features(22, 4, 1)
    expected = [squared_mmd(a[10 * part :][:10], b[7 * part :][:7]) for part in range(3)]
    np.testing.assert_array_equal(disjoint_distances(a, b, 3), expected)


def test_what_has_no_kernel_distance_is_said() -> None:
    features = random_features(10, 4, 0)
    with pytest.raises(ValueError, match="subsets of 1000 cannot be drawn from 10 and 10 images"):
        kernel_distance(features, features)
    with pytest.raises(ValueError, match="kernel distance of 1 and 10 images is not defined"):
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
        found.add((squared_mmd(ours, theirs), disjoint_distances(ours, theirs, 3).sum(), distances.sum()))
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
