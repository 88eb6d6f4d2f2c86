"""Where a Frechet distance is easily computed wrong: without full rank, constant, broken; and pytorch-fid's."""

import numpy as np
import pytest
from pytorch_fid.fid_score import calculate_frechet_distance

from ganlib.errors import UserError
from ganlib.evaluation.distances import frechet_distance
from ganlib.evaluation.statistics import FeatureStatistics

from .test_distances import fidelity, gaussian, random_features


def statistics(features: np.ndarray) -> FeatureStatistics:
    return FeatureStatistics.of(features, None)


def orthonormal(dim: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0]


def test_of_many_images_it_is_pytorch_fids_and_torch_fidelitys() -> None:
    a, b = random_features(500, 96, 0), random_features(400, 96, 1)
    moments = [moment for side in (a, b) for moment in (side.mean(0), np.cov(side, rowvar=False))]
    found = frechet_distance(statistics(a), statistics(b))
    assert found == pytest.approx(calculate_frechet_distance(*moments), rel=1e-6)
    assert found == pytest.approx(fidelity(a, b), rel=1e-6)


@pytest.mark.parametrize("counts", [(1000, 1000), (1000, 30), (30, 1000), (30, 20)])
def test_covariances_that_commute_have_a_closed_form_at_any_rank(counts: tuple[int, int]) -> None:
    """tr (AB)^(1/2) = sum of the roots of a_i b_i in the basis that both have; a set's rank is its count less one.

    Of 30 and 20 images, directions that both have are rarer still: the product's zeros are known to 1e-16, and their
    roots to 1e-8.
    """
    dim = 64
    basis, draw = orthonormal(dim, 0), np.random.default_rng(1)
    values = [draw.uniform(0.1, 3, dim) * (draw.permutation(dim) < count - 1) for count in counts]
    sides = [
        gaussian(np.zeros(dim), (basis * value) @ basis.T, count) for value, count in zip(values, counts, strict=True)
    ]
    expected = np.square(np.sqrt(values[0]) - np.sqrt(values[1])).sum()
    digits = 1e-7 if max(counts) < dim else 1e-9
    assert frechet_distance(*sides) == pytest.approx(expected, rel=digits)
    assert frechet_distance(*sides[::-1]) == pytest.approx(expected, rel=digits)


def test_variances_of_ten_decades_are_all_counted() -> None:
    spreads = np.logspace(-5, 0, 50), np.logspace(-5, 0, 50)[::-1]
    basis = orthonormal(50, 2)
    a, b = (gaussian(np.zeros(50), (basis * s**2) @ basis.T, 1000) for s in spreads)
    assert frechet_distance(a, b) == pytest.approx(np.square(spreads[0] - spreads[1]).sum(), rel=1e-8)


@pytest.mark.parametrize("value", [0.0, 1.0, 1234.567])
def test_features_that_are_constant_add_what_their_means_and_the_others_variance_say(value: float) -> None:
    """With x constant in A: |m|^2 + Var_B(x) beside the distance of the other features, if x is apart from them."""
    a, b = random_features(700, 8, 0), random_features(600, 8, 1)
    rest = frechet_distance(statistics(a), statistics(b))
    constant = np.full((700, 2), value) + np.array([0, 3])
    both = np.full((600, 2), value) + np.array([1, 3])
    found = frechet_distance(statistics(np.hstack([a, constant])), statistics(np.hstack([b, both])))
    assert found == pytest.approx(rest + 1, rel=1e-8)
    # Uncorrelated with the rest to the last digit, for the closed form: each row of b with +1 and with -1.
    moving = np.hstack([np.vstack([b, b]), value + np.repeat([[1.0], [-1.0]], 600, 0), np.full((1200, 1), value + 3)])
    found = frechet_distance(statistics(np.hstack([a, constant])), statistics(moving))
    doubled = frechet_distance(statistics(a), statistics(np.vstack([b, b])))
    assert found == pytest.approx(doubled + 1200 / 1199, rel=1e-8)


def test_sets_that_are_constant_altogether_are_as_far_as_their_means() -> None:
    a, b = statistics(np.full((10, 3), 2.0)), statistics(np.tile([2.0, 5.0, 6.0], (12, 1)))
    assert frechet_distance(a, b) == pytest.approx(9 + 16, rel=1e-12)


def test_a_feature_that_is_there_twice_is_counted_twice() -> None:
    """Covariances without full rank though there are images enough; the distance is that of x sqrt(2)."""
    a, b = random_features(300, 10, 0), random_features(400, 10, 1)
    found = frechet_distance(statistics(np.hstack([a, a])), statistics(np.hstack([b, b])))
    assert found == pytest.approx(2 * frechet_distance(statistics(a), statistics(b)), rel=1e-9)


def test_few_images_against_many_are_judged_to_more_digits_than_torch_fidelity_has() -> None:
    """Ten images span nine dimensions: in those, with the rest of the trace added, both covariances have full rank."""
    few, many = random_features(10, 200, 0), random_features(900, 200, 1)
    basis = np.linalg.svd(few - few.mean(0), full_matrices=False)[2][:9].T  # [200, 9], all that `few` varies along
    # F = basis R, so the roots are those of the eigenvalues of R^T (basis^T C basis) R: nine by nine.
    inner = np.cov(few @ basis, rowvar=False)
    cross = np.sqrt(np.linalg.eigvals(inner @ np.cov(many @ basis, rowvar=False)).real).sum()
    shift = np.square(few.mean(0) - many.mean(0)).sum()
    expected = shift + few.var(0, ddof=1).sum() + many.var(0, ddof=1).sum() - 2 * cross
    assert frechet_distance(statistics(few), statistics(many)) == pytest.approx(expected, rel=1e-10)


def test_what_has_no_distance_is_said() -> None:
    good = random_features(20, 4, 0)
    with pytest.raises(ValueError, match="features of 4 and of 5 dimensions have no distance"):
        frechet_distance(statistics(good), statistics(random_features(20, 5, 0)))
    with pytest.raises(UserError, match="needs two images on each side; one has 1"):
        frechet_distance(statistics(good), statistics(good[:1]))
    for broken in (np.nan, np.inf, -np.inf):
        bad = good.copy()
        bad[3, 2] = broken
        with pytest.raises(UserError, match="features are NaN or infinite"):
            frechet_distance(statistics(bad), statistics(good))
