"""Standard errors against the spread that the metric really has over fresh draws."""

import numpy as np
import pytest

from ganlib.evaluation.confidence import SPLITS, error_of_mean, jackknife_error, total
from ganlib.evaluation.distances import frechet_distance, inception_score
from ganlib.evaluation.statistics import FeatureStatistics


def splits_of(features: np.ndarray, probabilities: np.ndarray | None = None) -> list[FeatureStatistics]:
    parts = np.array_split(np.arange(len(features)), SPLITS)
    return [
        FeatureStatistics.of(features[part], None if probabilities is None else probabilities[part]) for part in parts
    ]


def test_of_a_mean_the_jackknife_is_the_splits_deviation_over_their_roots_number() -> None:
    """Algebra: m_i = (k m - x_i) / (k - 1), and so sqrt((k-1)/k sum (m_i - m)^2) = std(x) / sqrt(k)."""
    features = np.random.default_rng(0).normal(size=(1_000, 1))
    splits = splits_of(features)
    means = np.array([split.mean[0] for split in splits])
    assert jackknife_error(splits, lambda whole: float(whole.mean[0])) == pytest.approx(error_of_mean(means), rel=1e-9)
    assert error_of_mean(means) == pytest.approx(np.std(means, ddof=1) / np.sqrt(10), rel=1e-12)


@pytest.mark.parametrize(("shift", "factor"), [(0.5, 1), (0.0, np.sqrt(2))])
def test_of_a_frechet_distance_it_is_the_spread_over_fresh_draws(shift: float, factor: float) -> None:
    """100 draws of 1,000 images give the true deviation to 7 percent; each draw's own estimate varies, not their mean.

    At no distance at all only squares are left of it, of which a jackknife doubles the variance: of x^2, x being a mean
    of n numbers about 0, it says 4 x^2 / n, on average 4 / n^2, where 2 / n^2 is true.

    The splits' own distances, of 100 images each, are another number: the bias of so few is larger than the spread.
    """
    dim, count = 12, 1_000
    reference = FeatureStatistics.of(np.random.default_rng(1_000).normal(size=(20_000, dim)), None)

    def distance(statistics: FeatureStatistics) -> float:
        return frechet_distance(statistics, reference)

    found, errors, of_splits = [], [], []
    for seed in range(100):
        splits = splits_of(np.random.default_rng(seed).normal(size=(count, dim)) + shift)
        found.append(distance(total(splits)))
        errors.append(jackknife_error(splits, distance))
        of_splits.append(np.mean([distance(split) for split in splits]))
    spread = np.std(found, ddof=1)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(factor * spread, rel=0.25)
    assert np.mean(of_splits) - np.mean(found) > 3 * spread


def test_of_an_inception_score_it_is_the_spread_over_fresh_draws() -> None:
    scores, errors = [], []
    for seed in range(100):
        draw = np.random.default_rng(seed)
        probabilities = draw.dirichlet(np.full(5, 0.3), 1_000)
        splits = splits_of(np.zeros((1_000, 1)), probabilities)
        scores.append(inception_score(total(splits)))
        errors.append(jackknife_error(splits, inception_score))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(scores, ddof=1), rel=0.25)


def test_a_whole_without_a_part_is_the_others_sum() -> None:
    draw = np.random.default_rng(0)
    splits = splits_of(draw.normal(size=(100, 3)), draw.dirichlet(np.ones(4), 100))
    left, others = total(splits) - splits[3], total([*splits[:3], *splits[4:]])
    assert left.count == others.count == 90
    np.testing.assert_allclose(left.covariance, others.covariance, rtol=1e-12)
    assert inception_score(left) == pytest.approx(inception_score(others), rel=1e-12)
    np.testing.assert_array_equal(left.classes, others.classes)
