"""Sources made on the spot, against closed forms and recounts."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats

from ganlib.data.columns import Columns
from ganlib.data.reading import Reading
from ganlib.data.sources.base import BadRecordError, Source
from ganlib.data.sources.idx import IdxSource
from ganlib.data.sources.made import (
    GaussianSource,
    PlacedMnistSource,
    RandomFieldsSource,
    StackedMnistSource,
    known_truth,
)
from ganlib.data.storage import Location
from ganlib.errors import UserError

from .conftest import WriteIdx

KINDS = ["gaussian-mixture-1d", "gaussian-ring", "gaussian-grid"]
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def points(source: Source, count: int) -> tuple[np.ndarray, np.ndarray]:
    records = [source.read(row) for row in range(count)]
    return np.stack([np.asarray(r.image).ravel() for r in records]), np.array([r.label for r in records])


def test_the_modes_are_where_the_papers_put_them() -> None:
    ring, grid, line = (known_truth(kind) for kind in ("gaussian-ring", "gaussian-grid", "gaussian-mixture-1d"))
    assert ring is not None
    assert grid is not None
    assert line is not None
    assert known_truth("digits") is None
    means = np.array(ring.means)
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), 2)
    np.testing.assert_allclose(means[0], [2, 0])
    np.testing.assert_allclose(means[1], [np.sqrt(2), np.sqrt(2)])
    assert (len(means), ring.sigmas, ring.weights) == (8, (0.02,) * 8, (0.125,) * 8)
    assert sorted(grid.means) == sorted((x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4))
    assert (grid.sigmas, grid.weights) == ((0.05,) * 25, (0.04,) * 25)
    assert (line.means, line.sigmas, line.weights) == (((-1.0,), (1.5,)), (0.35, 0.25), (0.6, 0.4))


def test_the_densities_are_scipys_and_integrate_to_one() -> None:
    line, ring = known_truth("gaussian-mixture-1d"), known_truth("gaussian-ring")
    assert line is not None
    assert ring is not None
    x = np.linspace(-3, 3, 50)
    expected = 0.6 * stats.norm.pdf(x, -1, 0.35) + 0.4 * stats.norm.pdf(x, 1.5, 0.25)
    density = line.density(x[:, None])
    assert density.dtype == np.float64
    np.testing.assert_allclose(density, expected, rtol=1e-12)
    assert integrate.quad(lambda v: line.density([[v]])[0], -4, 4, points=[-1, 1.5])[0] == pytest.approx(1, abs=1e-9)

    around = np.random.default_rng(0).normal([2, 0], 0.03, (20, 2))
    expected = sum(stats.multivariate_normal(mean, 0.02**2).pdf(around) for mean in ring.means) / 8
    np.testing.assert_allclose(ring.density(around), expected, rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_points_are_drawn_from_their_mode(kind: str) -> None:
    truth = known_truth(kind)
    assert truth is not None
    count = 4000
    source = GaussianSource(kind, Reading(count=count))
    drawn, modes = points(source, count)
    assert source.read(0).image.shape == (1, truth.dimensions, 1)  # type: ignore[union-attr]
    assert drawn.dtype == np.float32
    assert source.columns == Columns(dtype="float32", class_names=[str(m) for m in range(len(truth.weights))])
    # Standardised by its own mode, all is one standard normal; and each mode has its share.
    z = (drawn - np.array(truth.means)[modes]) / np.array(truth.sigmas)[modes, None]
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    assert (
        stats.chisquare(np.bincount(modes, minlength=len(truth.weights)), np.array(truth.weights) * count).pvalue > 1e-3
    )


def test_the_mixture_on_a_line_follows_its_cumulative_distribution() -> None:
    drawn, _ = points(GaussianSource("gaussian-mixture-1d", Reading(seed=7)), 4000)

    def cumulative(x: np.ndarray) -> np.ndarray:
        return 0.6 * stats.norm.cdf(x, -1, 0.35) + 0.4 * stats.norm.cdf(x, 1.5, 0.25)

    assert stats.kstest(drawn.ravel(), cumulative).pvalue > 1e-3


def test_a_gaussian_of_another_name_is_refused() -> None:
    with pytest.raises(UserError, match="no mixture of Gaussians is called 'digits'"):
        GaussianSource("digits", Reading())


def same(a: Source, b: Source, row: int) -> bool:
    one, other = a.read(row), b.read(row)
    return np.asarray(one.image).tobytes() == np.asarray(other.image).tobytes() and one.label == other.label


@pytest.mark.parametrize("kind", [*KINDS, "random-fields"])
def test_a_record_is_a_function_of_seed_and_index(kind: str) -> None:
    def make(**options: int) -> Source:
        reading = Reading(**options)
        return RandomFieldsSource(reading) if kind == "random-fields" else GaussianSource(kind, reading)

    source = make(count=1000)
    assert (source.kind, source.name) == (kind, kind)
    again = pickle.loads(pickle.dumps(source))
    for row in (5, 999, 0, 5):
        assert same(source, again, row)
    assert same(source, make(count=10), 5)
    assert not same(source, make(count=1000, seed=1), 5)
    assert np.asarray(source.read(5).image).tobytes() != np.asarray(source.read(6).image).tobytes()
    prints = {make(count=1000).fingerprint(), make(count=999).fingerprint(), make(count=1000, seed=1).fingerprint()}
    assert len(prints) == 3
    assert source.fingerprint() in prints
    assert source.splits is None


def test_names_take_no_room_and_sort() -> None:
    names = RandomFieldsSource(Reading(count=2**31)).names
    assert len(names) == 2**31
    assert (names[0], names[-1]) == ("0000000000", "2147483647")
    short = RandomFieldsSource(Reading(count=11)).names
    assert list(short) == sorted(short)
    assert short[9:] == ["00000009", "00000010"]
    with pytest.raises(IndexError):
        short[11]


def test_fields_are_smooth_and_in_colour() -> None:
    source = RandomFieldsSource(Reading(count=10))
    pixels = np.stack([np.asarray(source.read(row).image) for row in range(5)]).astype(int)
    assert pixels.shape == (5, 256, 256, 3)
    assert np.abs(np.diff(pixels, axis=1)).max() < 24  # noise of neighbouring pixels differs by up to 255
    assert pixels.std() > 40
    assert np.abs(pixels[..., 0] - pixels[..., 1]).mean() > 30


@pytest.fixture
def tiny_mnist(write_idx: WriteIdx) -> Location:
    """20 training and 10 test digits of 28x28: digit d a bright bar of its own place; test ones of brightness 100."""
    for prefix, count, ink in (("train", 20, 255), ("t10k", 10, 100)):
        images = np.zeros((count, 28, 28), np.uint8)
        for row in range(count):
            images[row, 4 : 8 + row % 10, 10:14] = ink
        write_idx(f"{prefix}-images-idx3-ubyte", images)
        write_idx(f"{prefix}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
    return Location.of(write_idx("t10k-labels-idx1-ubyte", (np.arange(10) % 10).astype(np.uint8)).parent)


def test_stacked_digits_are_channels_and_their_class_a_number(tiny_mnist: Location) -> None:
    source = StackedMnistSource(tiny_mnist, Reading(count=120))
    assert (source.kind, source.name) == ("stacked-mnist", "stacked-mnist")
    assert source.splits == {"train": range(120), "test": range(120, 140)}
    assert source.names[119:121] == ["train/00000119", "test/00000000"]
    names = source.columns.class_names
    assert names is not None
    assert (len(names), names[7], names[999]) == (1000, "007", "999")
    for row in range(140):
        record = source.read(row)
        pixels = np.asarray(record.image)
        assert pixels.shape == (28, 28, 3)
        assert pixels.max() == (255 if row < 120 else 100)  # test digits from the test file only
        heights = (pixels > 0).any(axis=1).sum(axis=0) - 4  # of each channel's bar: its digit
        assert record.label == 100 * heights[0] + 10 * heights[1] + heights[2]


def test_a_stack_of_real_digits_reaches_most_of_the_thousand(mnist_files: Path) -> None:
    source = StackedMnistSource(Location.of(mnist_files), Reading(count=6000))
    drawn = [source.read(row).label for row in range(6000)]
    # Each class has 1 in 1,000 about: 1000 (1 - e^-6) are expected, of which a hundredth is many standard deviations.
    assert len(set(drawn)) == pytest.approx(1000 * (1 - np.exp(-6)), abs=10)
    assert same(source, pickle.loads(pickle.dumps(source)), 6999)


def recount(pixels: np.ndarray) -> tuple[tuple[float, ...], list[list[float]]]:
    """Box and keypoints, pixel by pixel."""
    ink = [(x, y) for y in range(64) for x in range(64) if pixels[y, x] > 32]
    xs, ys = [x for x, _ in ink], [y for _, y in ink]

    def middle(values: list[int]) -> float:
        return sum(values) / len(values) + 0.5

    points = [
        [middle([x for x, y in ink if y == min(ys)]), min(ys) + 0.5, 1],
        [middle([x for x, y in ink if y == max(ys)]), max(ys) + 0.5, 1],
        [min(xs) + 0.5, middle([y for x, y in ink if x == min(xs)]), 1],
        [max(xs) + 0.5, middle([y for x, y in ink if x == max(xs)]), 1],
        [middle(xs), middle(ys), 1],
    ]
    return (min(xs), min(ys), max(xs) + 1 - min(xs), max(ys) + 1 - min(ys)), points


def test_placed_digits_carry_their_truth(mnist_files: Path) -> None:
    source = PlacedMnistSource(Location.of(mnist_files), Reading(count=180))
    assert source.splits == {"train": range(180), "test": range(180, 210)}
    assert source.columns == Columns(
        class_names=list("0123456789"),
        captions=True,
        boxes=True,
        keypoint_names=["top", "bottom", "left", "right", "centroid"],
    )
    third, sizes = 64 / 3, []
    captions = set()
    for row in range(210):
        record = source.read(row)
        pixels = np.asarray(record.image)
        assert pixels.shape == (64, 64)
        box, keypoints = recount(pixels)
        assert record.box == box
        assert record.keypoints is not None
        assert record.keypoints.dtype == np.float32
        np.testing.assert_allclose(record.keypoints, keypoints, rtol=1e-6)
        sizes.append(max(box[2], box[3]))
        assert record.label is not None
        (caption,) = record.captions
        captions.add(caption)
        found = re.fullmatch(r"(an?) (\w+) (?:in|at|on) the (top|bottom)? ?(left|right|centre)?", caption)
        assert found, caption
        assert found[2] == WORDS[record.label]
        assert (found[1] == "an") == (found[2] == "eight")
        x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
        assert {"top": y < third, "bottom": y >= 2 * third, None: third <= y < 2 * third}[found[3]]
        side = found[4] if found[4] != "centre" else None
        assert {"left": x < third, "right": x >= 2 * third, None: third <= x < 2 * third}[side]
    # Ink that is dark at the edge of the scaled digit may cost the box a pixel or two.
    assert min(sizes) >= 17
    assert max(sizes) <= 36
    assert len({re.sub(r"\w+ \w+ ", "", caption, count=1) for caption in captions}) == 9
    assert same(source, pickle.loads(pickle.dumps(source)), 17)


def test_test_scenes_are_made_of_test_digits(tiny_mnist: Location) -> None:
    source = PlacedMnistSource(tiny_mnist, Reading(count=60))
    for row in range(70):
        brightest = int(np.asarray(source.read(row).image).max())
        assert (brightest > 180) == (row < 60)


def test_scenes_need_test_files_and_labels(write_idx: WriteIdx) -> None:
    folder = write_idx("train-images-idx3-ubyte", np.ones((3, 28, 28), np.uint8)).parent
    with pytest.raises(UserError, match=f"{folder} holds MNIST without its test files or its labels"):
        StackedMnistSource(Location.of(folder), Reading())
    write_idx("train-labels-idx1-ubyte", np.zeros(3, np.uint8))
    assert IdxSource(Location.of(folder)).splits is None
    with pytest.raises(UserError, match="placed-mnist needs all four"):
        PlacedMnistSource(Location.of(folder), Reading())


def test_a_digit_without_ink_is_a_bad_record(write_idx: WriteIdx) -> None:
    for prefix in ("train", "t10k"):
        write_idx(f"{prefix}-images-idx3-ubyte", np.zeros((2, 28, 28), np.uint8))
        folder = write_idx(f"{prefix}-labels-idx1-ubyte", np.zeros(2, np.uint8)).parent
    with pytest.raises(BadRecordError, match="the digit has no ink"):
        PlacedMnistSource(Location.of(folder), Reading(count=6)).read(0)
