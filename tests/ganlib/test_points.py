"""Points laid out by hand around known modes; shares of a Gaussian in closed form; a dataset judged whole."""

import math

import numpy as np
import pytest

from ganlib.data import Dataset, Preparation, open_source, prepare_dataset
from ganlib.data.reading import Reading
from ganlib.data.sources.gaussians import GaussianMixture, known_truth
from ganlib.evaluation.evaluate import evaluate
from ganlib.evaluation.names import bare, label_of, meant
from ganlib.evaluation.points import assign, density_label, mode_metrics, point_distance, truth_high_quality
from ganlib.pictures import scatter

PLANE = GaussianMixture(means=((0.0, 0.0), (10.0, 0.0)), sigmas=(1.0, 0.1), weights=(0.75, 0.25))
"""A wide mode and a narrow one."""


class Drawn:
    """A perfect generator: sample i of seed s is drawn from the truth itself."""

    def __init__(self, truth: GaussianMixture, count: int):
        points, _ = truth.sample(count, np.random.default_rng(5))
        self.points = points.astype(np.float32).reshape(count, 1, -1, 1)

    def sample(self, count: int, seed: int = 0, first: int = 0) -> np.ndarray:
        return self.points[first : first + count]


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    source = open_source("gaussian-ring", Reading(count=3_000))
    return prepare_dataset(source, Preparation(size=8, channels=1), tmp_path_factory.mktemp("ring"), "ring")


def by_density(points: np.ndarray, truth: GaussianMixture) -> dict[str, float]:
    """By what is measured."""
    return {bare(name): value for name, value in mode_metrics(points, truth).items()}


def test_a_point_belongs_to_the_nearest_mode_and_is_good_within_three_sigma() -> None:
    points = np.array([[0, 0], [0, 2.99], [0, 3.01], [-2, -2.3], [10.29, 0], [10, -0.31], [6, 0], [4.9, 0]])
    modes, good = assign(points, PLANE)
    assert modes.tolist() == [0, 0, 0, 0, 1, 1, 1, 0]
    # (-2, -2.3) is sqrt(9.29) = 3.05 from the origin.
    assert good.tolist() == [True, True, False, False, True, False, False, False]


def test_the_metrics_of_points_laid_out_by_hand() -> None:
    """Of 1,000 points 900 at the wide mode, 20 of them too far; 92 between the modes; 8 at the narrow one."""
    points = np.concatenate(
        [np.zeros((880, 2)), np.full((20, 2), -3.0), np.tile([8.0, 0.0], (92, 1)), np.tile([10.0, 0.2], (8, 1))]
    )
    found = by_density(points, PLANE)
    assert found["modes/covered"] == 2  # 8 of 1,000 are 20 of 2,500
    assert found["modes/high_quality"] == pytest.approx(0.888)
    assert (found["mode_share/0"], found["mode_share/1"]) == (0.9, 0.1)
    assert found["mode_share_min"] == 0.1
    assert found["modes/kl"] == pytest.approx(0.9 * math.log(0.9 / 0.75) + 0.1 * math.log(0.1 / 0.25), rel=1e-12)
    points[-1] = 0
    assert by_density(points, PLANE)["modes/covered"] == 1


def test_errors_are_those_of_shares_and_of_leaving_out_a_tenth_of_the_points() -> None:
    draw = np.random.default_rng(3)
    points = PLANE.sample(1_400, draw)[0]
    # Of 998 points 8 are at the second mode, which is covered by 0.008; without one of them it is not.
    points = np.concatenate([points[points[:, 0] < 6][:990], np.tile([10.0, 0.2], (8, 1))])
    points = draw.permutation(points)
    found, (modes, good) = by_density(points, PLANE), assign(points, PLANE)
    assert found["modes/covered"] == 2
    shares = {"mode_share_se/0": modes == 0, "mode_share_se/1": modes == 1, "modes/high_quality_se": good}
    for name, each in shares.items():
        assert found[name] == pytest.approx(each.std(ddof=1) / math.sqrt(len(points)), rel=1e-12)
    tenths = np.array_split(np.arange(len(points)), 10)
    without = [by_density(np.delete(points, rows, 0), PLANE) for rows in tenths]
    for name in ("modes/covered", "modes/kl", "mode_share_min"):
        values = [one[name] for one in without]
        assert len(set(values)) > 1
        assert found[f"{name}_se"] == pytest.approx(math.sqrt(9 * np.var(values)), rel=1e-9)
    assert not [name for name in by_density(points[:19], PLANE) if "_se" in name]


def test_one_mode_of_a_ring() -> None:
    truth = known_truth("gaussian-ring")
    assert truth is not None
    found = by_density(np.tile(truth.means[3], (100, 1)), truth)
    assert (found["modes/covered"], found["modes/high_quality"]) == (1, 1)
    assert found["modes/kl"] == pytest.approx(math.log(8), rel=1e-12)


@pytest.mark.parametrize(("kind", "modes"), [("gaussian-ring", 8), ("gaussian-grid", 25), ("gaussian-mixture-1d", 2)])
def test_the_density_itself_covers_all_with_the_share_of_a_gaussian(kind: str, modes: int) -> None:
    """Within 3 sigma lie 1 - exp(-9/2) of a Gaussian in the plane and erf(3 / sqrt 2) of one on the line."""
    truth = known_truth(kind)
    assert truth is not None
    share = math.erf(3 / math.sqrt(2)) if truth.dimensions == 1 else 1 - math.exp(-4.5)
    assert truth_high_quality(truth.dimensions) == pytest.approx(share, rel=1e-12)
    points, _ = truth.sample(20_000, np.random.default_rng(0))
    found = by_density(points, truth)
    assert found["modes/covered"] == modes
    assert found["modes/high_quality"] == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 20_000))
    assert found["modes/kl"] < 2e-3  # some (modes - 1) / (2 n) = 6e-4 by chance


def test_the_distance_of_shifted_and_of_wider_points() -> None:
    """|shift|^2, and (s_a - s_b)^2 over the axes."""
    points = np.random.default_rng(1).standard_normal((500, 2))
    assert point_distance(points, points + np.array([3, 4])) == pytest.approx(25, rel=1e-9)
    wider = points - points.mean(0)
    # The standard deviations along the axes of the covariance: its eigenvalues' roots.
    roots = np.sqrt(np.linalg.eigvalsh(np.cov(points, rowvar=False)))
    assert point_distance(wider, 3 * wider) == pytest.approx(float((2 * roots) @ (2 * roots)), rel=1e-9)


def test_a_dataset_of_points_is_judged_by_its_density(ring: Dataset) -> None:
    seen = []
    labelled = evaluate(
        Drawn(ring_truth(), 2_500), ring, 2_500, 0, progress=lambda done, total: seen.append((done, total))
    )
    assert (labelled["samples"], labelled["samples_floor"]) == (2_500, len(ring.split("test")))
    assert meant("fid/points", labelled) == meant("fid", labelled) == [f"fid/{density_label(ring_truth())}"]
    found = {bare(name): value for name, value in labelled.items()}
    assert seen == [(1_000, 2_500), (2_000, 2_500), (2_500, 2_500)]
    assert found["modes/covered"] == 8
    assert found["modes/high_quality"] == pytest.approx(1 - math.exp(-4.5), abs=0.01)
    assert 0 <= found["fid"] < 0.05  # of points whose variance is 4
    assert 0 <= found["fid_floor"] < 0.1
    assert sum(found[f"mode_share/{mode}"] for mode in range(8)) == pytest.approx(1)


def test_points_of_an_unknown_density_have_their_distance_alone(ring: Dataset) -> None:
    source = ring.manifest.source.model_copy(update={"kind": "somewhere"})
    unknown = Dataset(ring.location, ring.manifest.model_copy(update={"source": source}))
    label = label_of("points", ring.digest)
    families = ("fid", "fid_se", "fid_floor")
    assert set(evaluate(Drawn(ring_truth(), 500), unknown, 500, 0)) == {
        *(f"{name}/{label}" for name in families), "samples", "samples_floor"
    }  # fmt: skip


def test_points_of_different_densities_share_no_name() -> None:
    """Nor of a ring whose modes are wider; of the same density, whatever its points, they do."""
    truths = [known_truth(kind) for kind in ("gaussian-ring", "gaussian-grid", "gaussian-mixture-1d")]
    ring = ring_truth()
    truths.append(GaussianMixture(ring.means, tuple(2 * sigma for sigma in ring.sigmas), ring.weights))
    names = [name for truth in truths if truth for name in mode_metrics(np.array(truth.means), truth)]
    assert len(names) == len(set(names))
    assert mode_metrics(np.zeros((5, 2)), ring).keys() == mode_metrics(np.ones((3, 2)), ring).keys()


def ring_truth() -> GaussianMixture:
    truth = known_truth("gaussian-ring")
    assert truth is not None
    return truth


@pytest.mark.parametrize("dimensions", [1, 2])
def test_the_cloud_is_drawn_in_the_window_of_the_data(dimensions: int) -> None:
    """Points far from the data change nothing in the picture, but for those that are no longer there."""
    data = np.random.default_rng(2).random((50, 1, dimensions, 1), np.float32)
    empty = np.asarray(scatter(np.full((5, 1, dimensions, 1), 100, np.float32), data))
    middle = np.asarray(scatter(np.full((5, 1, dimensions, 1), 0.5, np.float32), data))
    assert empty.shape == middle.shape
    assert empty.dtype == np.uint8
    green = (middle[..., 1] > 100) & (middle[..., 0] < 90) & (middle[..., 2] < 90)
    assert green.any()
    assert not ((empty[..., 1] > 100) & (empty[..., 0] < 90) & (empty[..., 2] < 90)).any()
