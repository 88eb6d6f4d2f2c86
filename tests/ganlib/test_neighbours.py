"""Neighbours and what rests on them, against torch-fidelity and against loops over every pair."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from ganlib.evaluation import neighbours
from ganlib.evaluation.neighbours import (
    Manifold,
    density_coverage,
    improved_precision_recall,
    nearest,
    neighbour_distances,
)


def cloud(count: int, dim: int, seed: int, scale: float = 1.0, dtype: type = np.float32) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return (draw.normal(size=(count, dim)) * scale * np.linspace(0.2, 2, dim) + 5).astype(dtype)


@pytest.fixture(params=[2_048, 128])
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """All distances in one tile, and in several with ragged ones at the ends."""
    monkeypatch.setattr(neighbours, "TILE", request.param)
    return request.param


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("scale", [0.7, 1.0, 1.3])
def test_precision_and_recall_are_torch_fidelitys(scale: float) -> None:
    samples, reference = cloud(500, 24, 0, scale), cloud(430, 24, 1)
    expected = prc_features_to_metric(torch.from_numpy(samples), torch.from_numpy(reference), verbose=False)
    found = improved_precision_recall(Manifold.of(samples), Manifold.of(reference))
    assert found.precision == pytest.approx(expected[KEY_METRIC_PRECISION], rel=1e-6)
    assert found.recall == pytest.approx(expected[KEY_METRIC_RECALL], rel=1e-6)
    assert 0 < min(found) < max(found) < 1


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("k", [1, 5])
def test_density_and_coverage_are_what_a_loop_over_all_pairs_counts(k: int) -> None:
    samples, reference = cloud(230, 6, 2, 0.8, np.float64), cloud(210, 6, 3, 1.0, np.float64)
    inside, covered = 0, 0
    for number, point in enumerate(reference):
        others = np.delete(reference, number, axis=0)
        radius = np.sort(np.linalg.norm(others - point, axis=1))[k - 1]
        reached = np.linalg.norm(samples - point, axis=1) < radius
        inside += reached.sum()
        covered += reached.any()
    found = density_coverage(samples, Manifold.of(reference), k)
    assert found.density == pytest.approx(inside / (k * 230), rel=1e-12)
    assert found.coverage == pytest.approx(covered / 210, rel=1e-12)


def test_of_real_images_against_real_images_density_and_coverage_are_as_their_paper_derives() -> None:
    """E density = 1; E coverage = 1 - (M - 1) ... (M - k) / ((2M - 1) ... (2M - k)) for M of each (section 3.3)."""
    count, k = 400, 5
    found = [
        density_coverage(cloud(count, 8, 2 * seed), Manifold.of(cloud(count, 8, 2 * seed + 1)), k) for seed in range(20)
    ]
    expected = 1 - np.prod([(count - i) / (2 * count - i) for i in range(1, k + 1)])
    assert np.mean([pair.density for pair in found]) == pytest.approx(1, abs=0.03)
    assert np.mean([pair.coverage for pair in found]) == pytest.approx(expected, abs=0.01)


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("count", [6, 100, 128, 300])
def test_neighbour_distances_are_the_sorted_ones(count: int) -> None:
    points = cloud(count, 40, 4, dtype=np.float64)
    every = np.sort(np.linalg.norm(points[:, None] - points, axis=2), axis=1)
    np.testing.assert_allclose(neighbour_distances(points, 5), every[:, 1:6], rtol=1e-9)


def test_too_few_points_have_no_such_neighbours() -> None:
    with pytest.raises(ValueError, match="a point has no 5 neighbours among 5 points"):
        neighbour_distances(cloud(5, 3, 0), 5)


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("count", [1, 7, 256, 300])
def test_the_nearest_is_found_and_a_copy_is_at_no_distance(count: int) -> None:
    points = cloud(count, 12, 5)
    queries = np.concatenate([cloud(260, 12, 6), points[count // 2 : count // 2 + 1]])
    every = np.linalg.norm(queries[:, None].astype(np.float64) - points, axis=2)
    distances, index = nearest(queries, points)
    np.testing.assert_allclose(distances, every.min(1), rtol=1e-6)
    np.testing.assert_array_equal(index, every.argmin(1))
    assert distances[-1] == 0


def test_a_far_origin_takes_no_digits() -> None:
    """Features around 1,000, apart by 1: without a shift to their mean, float32 would leave two digits of a square."""
    near = cloud(300, 16, 7)
    far = near + np.float32(1024)  # a power of two: the same differences to 1e-4
    np.testing.assert_allclose(neighbour_distances(far, 3), neighbour_distances(near, 3), rtol=1e-3)
