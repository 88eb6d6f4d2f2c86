"""Distances in closed form and against torch-fidelity's functions; statistics that add up."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

from ganlib.errors import UserError
from ganlib.evaluation.distances import frechet_distance, inception_score, kl_divergence, mode_shares
from ganlib.evaluation.statistics import FeatureStatistics


def gaussian(mean: np.ndarray, covariance: np.ndarray, count: int = 101) -> FeatureStatistics:
    """The sums over `count` images whose features have exactly this mean and unbiased covariance."""
    return FeatureStatistics(count, count * mean, (count - 1) * covariance + count * np.outer(mean, mean))


def random_features(count: int, dim: int, seed: int) -> np.ndarray:
    """float64 [count, dim], correlated and away from 0, as features after a ReLU are."""
    draw = np.random.default_rng(seed)
    features: np.ndarray = np.maximum(draw.normal(size=(count, dim)) @ draw.normal(size=(dim, dim)) + 1, 0)
    return features


def fidelity(a: np.ndarray, b: np.ndarray) -> float:
    statistics = (fid_features_to_statistics(torch.from_numpy(features)) for features in (a, b))
    return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])


def test_frechet_distance_of_equal_covariances_is_that_of_the_means() -> None:
    covariance = np.cov(random_features(50, 4, 0), rowvar=False)
    mean, shift = np.array([1.0, 2, 3, 4]), np.array([0.5, -1, 0, 2])
    found = frechet_distance(gaussian(mean, covariance), gaussian(mean + shift, covariance))
    assert found == pytest.approx(0.25 + 1 + 4, rel=1e-9)
    assert frechet_distance(gaussian(mean, covariance), gaussian(mean, covariance)) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_diagonal_covariances() -> None:
    """Sum of (m_a - m_b)^2 + (s_a - s_b)^2 over the axes, in any orthonormal basis."""
    sides = np.array([1.0, 2, 0, 5]), np.array([3.0, 2, 1, 0.5])
    means = np.zeros(4), np.array([0.0, 1, 0, 0])
    rotation = np.linalg.qr(random_features(4, 4, 1))[0]
    for basis in (np.eye(4), rotation):
        a, b = (gaussian(basis @ m, basis @ np.diag(s**2) @ basis.T) for m, s in zip(means, sides, strict=True))
        assert frechet_distance(a, b) == pytest.approx(1 + 4 + 0 + 1 + 4.5**2, rel=1e-7)
        assert frechet_distance(b, a) == pytest.approx(1 + 4 + 0 + 1 + 4.5**2, rel=1e-7)


def test_frechet_distance_of_covariances_that_do_not_commute() -> None:
    """In two dimensions tr (AB)^(1/2) = sqrt(tr AB + 2 sqrt(det AB))."""
    a, b = np.array([[2.0, 1], [1, 3]]), np.array([[4.0, -1], [-1, 1]])
    product = a @ b
    expected = 5 + 5 - 2 * np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    assert frechet_distance(gaussian(np.zeros(2), a), gaussian(np.zeros(2), b)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("counts", "dim"), [((400, 300), 16), ((2000, 150), 64), ((12, 40), 32), ((5, 5), 64)])
def test_frechet_distance_is_torch_fidelitys(counts: tuple[int, int], dim: int) -> None:
    """The last two have fewer images than features: their covariances have no full rank."""
    a, b = (random_features(count, dim, seed) for seed, count in enumerate(counts))
    found = frechet_distance(FeatureStatistics.of(a, None), FeatureStatistics.of(b, None))
    assert found == pytest.approx(fidelity(a, b), rel=1e-6)


def test_frechet_distance_of_a_set_to_itself_is_nothing_even_without_full_rank() -> None:
    few = FeatureStatistics.of(random_features(6, 64, 0), None)
    assert abs(frechet_distance(few, few)) < 1e-6 * np.trace(few.covariance)


def judged(count: int, classes: int, scale: float, seed: int = 0) -> tuple[FeatureStatistics, torch.Tensor]:
    logits = torch.randn(count, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale
    return FeatureStatistics.of(np.zeros((count, 2)), torch.softmax(logits, 1).numpy()), logits


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 300.0])
def test_inception_score_is_torch_fidelitys(scale: float) -> None:
    statistics, logits = judged(500, 10, scale)
    expected = isc_features_to_metric(logits, splits=1, shuffle=False)[KEY_METRIC_ISC_MEAN]
    assert inception_score(statistics) == pytest.approx(expected, rel=1e-9)


def test_inception_score_and_mode_shares_of_sure_and_of_clueless_judgements() -> None:
    sure = FeatureStatistics.of(np.zeros((8, 2)), np.eye(4)[[0, 1, 2, 3, 0, 1, 2, 3]])
    assert inception_score(sure) == pytest.approx(4)
    assert mode_shares(sure).tolist() == [0.25] * 4
    one = FeatureStatistics.of(np.zeros((8, 2)), np.eye(4)[[2] * 8])
    assert inception_score(one) == pytest.approx(1)
    assert mode_shares(one).tolist() == [0, 0, 1, 0]
    clueless = FeatureStatistics.of(np.zeros((8, 2)), np.full((8, 4), 0.25))
    assert inception_score(clueless) == pytest.approx(1)


@pytest.mark.parametrize("score", [inception_score, mode_shares])
def test_class_probabilities_that_are_no_numbers_are_said_though_the_features_are_sound(
    score: Callable[[FeatureStatistics], object],
) -> None:
    """A broken head on a sound body: NaN is the largest of its row, and would be counted to a class."""
    probabilities = np.full((8, 4), 0.25)
    sound = FeatureStatistics.of(np.zeros((8, 2)), probabilities)
    probabilities[3] = np.nan
    broken = FeatureStatistics.of(np.zeros((8, 2)), probabilities)
    for statistics in (broken, sound + broken):
        with pytest.raises(UserError, match="class probabilities are NaN or infinite: the images, or the weights of"):
            score(statistics)


def test_kl_divergence_is_scipys_and_that_of_a_collapse_the_logarithm_of_the_modes() -> None:
    shares, reference = (np.random.default_rng(seed).dirichlet(np.ones(7)) for seed in (0, 1))
    assert kl_divergence(shares, reference) == pytest.approx(entropy(shares, reference), rel=1e-12)
    assert kl_divergence(np.eye(8)[3], np.full(8, 1 / 8)) == pytest.approx(np.log(8), rel=1e-12)
    assert kl_divergence(reference, reference) == 0


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_statistics_of_parts_add_up_to_those_of_the_whole(parts: int) -> None:
    features, reference = random_features(700, 32, 0), FeatureStatistics.of(random_features(300, 32, 1), None)
    whole, logits = judged(700, 5, 2.0)
    probabilities = torch.softmax(logits, 1).numpy()
    whole = FeatureStatistics.of(features, probabilities)
    pieces = zip(np.array_split(features, parts), np.array_split(probabilities, parts), strict=True)
    first, *rest = (FeatureStatistics.of(*piece) for piece in pieces)
    total = sum(rest, start=first)
    assert total.count == 700
    np.testing.assert_allclose(total.mean, features.mean(0), rtol=1e-12)
    np.testing.assert_allclose(total.covariance, np.cov(features, rowvar=False), rtol=1e-9, atol=1e-9)
    assert frechet_distance(total, reference) == pytest.approx(frechet_distance(whole, reference), rel=1e-9)
    assert inception_score(total) == pytest.approx(inception_score(whole), rel=1e-9)
    np.testing.assert_array_equal(mode_shares(total), np.bincount(probabilities.argmax(1)) / 700)


def test_statistics_as_arrays_and_back_are_the_same() -> None:
    for statistics in (judged(50, 3, 1.0)[0], FeatureStatistics.of(random_features(50, 8, 0), None)):
        read = FeatureStatistics.from_arrays(statistics.arrays())
        assert (read.count, read.negative_entropy) == (statistics.count, statistics.negative_entropy)
        for ours, theirs in ((read.total, statistics.total), (read.outer, statistics.outer)):
            np.testing.assert_array_equal(ours, theirs)
        for mine, its in ((read.probabilities, statistics.probabilities), (read.classes, statistics.classes)):
            if mine is None or its is None:
                assert mine is its
            else:
                np.testing.assert_array_equal(mine, its)
