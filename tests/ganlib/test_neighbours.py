"""Neighbours and what rests on them, against torch-fidelity and against loops over every pair."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from ganlib.errors import UserError
from ganlib.evaluation import neighbours
from ganlib.evaluation.confidence import deletion_error
from ganlib.evaluation.neighbours import (
    Manifold,
    nearest,
    neighbour_distances,
    overlap,
)


def cloud(count: int, dim: int, seed: int, scale: float = 1.0, dtype: type = np.float32) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return (draw.normal(size=(count, dim)) * scale * np.linspace(0.2, 2, dim) + 5).astype(dtype)


@pytest.fixture(params=[2_048, 128])
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """All distances in one tile, and in several with ragged ones at the ends."""
    monkeypatch.setattr(neighbours, "TILE", request.param)
    monkeypatch.setattr(neighbours, "HALF_TILE", request.param)
    return request.param


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("scale", [0.7, 1.0, 1.3])
def test_precision_and_recall_are_torch_fidelitys(scale: float) -> None:
    samples, reference = cloud(500, 24, 0, scale), cloud(430, 24, 1)
    expected = prc_features_to_metric(torch.from_numpy(samples), torch.from_numpy(reference), verbose=False)
    found = overlap(Manifold.of(samples), Manifold.of(reference)).scores()
    assert found.precision == pytest.approx(expected[KEY_METRIC_PRECISION], rel=1e-6)
    assert found.recall == pytest.approx(expected[KEY_METRIC_RECALL], rel=1e-6)
    assert 0 < min(found[:2]) < max(found[:2]) < 1


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
    found = overlap(Manifold.of(samples), Manifold.of(reference), wide=k).scores()
    assert found.density == pytest.approx(inside / (k * 230), rel=1e-12)
    assert found.coverage == pytest.approx(covered / 210, rel=1e-12)


def test_of_real_images_against_real_images_density_and_coverage_are_as_their_paper_derives() -> None:
    """E density = 1; E coverage = 1 - (M - 1) ... (M - k) / ((2M - 1) ... (2M - k)) for M of each (section 3.3)."""
    count, k = 400, 5
    found = [
        overlap(*(Manifold.of(cloud(count, 8, 2 * seed + side)) for side in (0, 1)), wide=k).scores()
        for seed in range(20)
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


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("splits", [2, 7])
def test_without_a_split_of_the_samples_it_is_as_if_they_had_never_been_drawn(splits: int) -> None:
    """But for the others' balls, which stay as they are."""
    samples, reference = cloud(311, 12, 2, 0.8), cloud(290, 12, 3)
    ours, theirs = Manifold.of(samples), Manifold.of(reference)
    lain = overlap(ours, theirs, splits)
    assert lain.scores() == overlap(ours, theirs).scores()
    for split in range(splits):
        kept = np.arange(311) * splits // 311 != split  # by their order, of sizes as equal as can be
        left = Manifold(samples[kept], ours.distances[kept])
        assert lain.scores(without=split) == overlap(left, theirs).scores()


def test_errors_of_what_neighbours_say_are_their_spread_over_fresh_draws() -> None:
    """60 draws give the true deviation to 9 percent. Recall and coverage are no means of what each sample has, and of
    these a jackknife says too much rather than too little (Efron & Stein 1981, theorem 2)."""
    reference = Manifold.of(cloud(400, 6, 1_000))
    found, errors = [], []
    for seed in range(60):
        lain = overlap(Manifold.of(cloud(400, 6, seed, 0.9)), reference, 10)
        found.append(lain.scores())
        without = zip(*(lain.scores(without=split) for split in range(10)), strict=True)
        errors.append([deletion_error(values) for values in without])
    ratio = np.sqrt(np.mean(np.square(errors), axis=0)) / np.std(found, axis=0, ddof=1)
    precision, recall, density, coverage = ratio
    assert [precision, density] == pytest.approx([1, 1], abs=0.3)
    assert 0.8 < min(recall, coverage) <= max(recall, coverage) < 1.8


def test_of_features_that_are_no_numbers_there_are_no_neighbours() -> None:
    broken = cloud(30, 4, 0)
    broken[7, 2] = np.nan
    with pytest.raises(UserError, match="features are NaN or infinite"):
        Manifold.of(broken)
    with pytest.raises(UserError, match="features are NaN or infinite"):
        nearest(broken, cloud(20, 4, 1))


def test_points_that_are_all_one_are_within_each_others_balls_of_no_size() -> None:
    """A ball of no size holds what is at its middle (precision's is closed), and nothing (density's is open)."""
    same = Manifold.of(np.full((20, 5), 3.0, np.float32))
    assert overlap(same, same).scores() == (1, 1, 0, 0)
    apart = Manifold.of(np.full((20, 5), 4.0, np.float32))
    assert overlap(apart, same).scores() == (0, 0, 0, 0)


def test_fewer_points_than_dimensions_have_the_neighbours_that_they_have() -> None:
    points = cloud(12, 300, 4, dtype=np.float64)
    every = np.sort(np.linalg.norm(points[:, None] - points, axis=2), axis=1)
    np.testing.assert_allclose(neighbour_distances(points, 5), every[:, 1:6], rtol=1e-9)
