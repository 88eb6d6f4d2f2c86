"""Evaluation as a whole, of samples of which it is known what they are."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ganlib.data import Dataset
from ganlib.errors import UserError
from ganlib.evaluation.evaluate import evaluate
from ganlib.evaluation.extractors import Extractor, RandomExtractor
from ganlib.evaluation.names import bare, plain
from ganlib.evaluation.samples import Samples
from ganlib.networks.base import ImageShape
from tests.ganlib.test_distances import fidelity


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (16, 3), (33, 3), (48, 1)])
def test_the_random_extractor_is_the_same_every_time(size: int, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (503, size, size, channels), dtype=np.uint8)
    shape = ImageShape(size, size, channels)
    torch.manual_seed(0)
    first = RandomExtractor(shape)
    torch.manual_seed(1)
    second = RandomExtractor(shape)
    assert first.digest == second.digest
    assert first.digest != RandomExtractor(ImageShape(size, size, 4 - channels)).digest
    features, probabilities = first.features(pixels)
    assert probabilities is None
    assert features.shape == (503, 448)
    assert features.dtype == np.float64
    assert np.isfinite(features).all()
    # An image's features are its own, whatever else is in the block.
    np.testing.assert_allclose(second.features(pixels[499:])[0], features[499:], rtol=1e-4, atol=1e-5)


def test_features_of_the_random_extractor_are_means_and_deviations_of_its_maps() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (1, 16, 16, 1), dtype=np.uint8)
    extractor = RandomExtractor(ImageShape(16, 16, 1))
    padded = np.pad(pixels[0, :, :, 0] / 127.5 - 1, 1)
    weight = extractor.layers[0].numpy()
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))[::2, ::2]  # [8, 8, 3, 3]
    maps = np.maximum(np.einsum("ijpq,opq->oij", windows, weight[:, 0]), 0).reshape(32, -1)
    found = extractor.features(pixels)[0][0]
    np.testing.assert_allclose(found[:32], maps.mean(1), rtol=1e-4)
    np.testing.assert_allclose(found[32:64], maps.std(1), rtol=1e-4)


class Copies:
    """A "generator" that knows the training images by heart, in their order, over and over."""

    def __init__(self, dataset: Dataset):
        self.split = dataset.split("train")

    def sample(self, count: int, seed: int = 0, first: int = 0) -> np.ndarray:
        return self.split.take(np.arange(first, first + count) % len(self.split))


class Held:
    """A "generator" of real images that no training has seen: the test split, in its order."""

    def __init__(self, dataset: Dataset):
        self.split = dataset.split("test")

    def sample(self, count: int, seed: int = 0, first: int = 0) -> np.ndarray:
        return self.split.take(np.arange(first, first + count))


class Noise:
    """A "generator" that has learned nothing."""

    def sample(self, count: int, seed: int = 0, first: int = 0) -> np.ndarray:
        return np.random.default_rng((seed, first)).integers(0, 256, (count, 16, 16, 1), dtype=np.uint8)


@pytest.fixture
def dataset(digits16: Dataset, tmp_path: Path) -> Dataset:
    """A copy that a test may write to."""
    shutil.copytree(digits16.path, tmp_path / digits16.path.name)
    return Dataset.open(tmp_path / digits16.path.name)


def by_random(samples: Samples, dataset: Dataset, count: int, seed: int = 0) -> dict[str, float]:
    """By the fixed random network, under plain names."""
    found = evaluate(samples, dataset, count, seed, RandomExtractor(ImageShape(16, 16, 1)))
    return {plain(name): value for name, value in found.items()}


COMPARED = {"fid", "kid", "precision", "recall", "density", "coverage"}
"""Of any images by any extractor, beside the floor of each."""


def test_evaluation_without_a_classifier_says_so_in_its_names(dataset: Dataset) -> None:
    train, test = dataset.split("train"), dataset.split("test")
    calls: list[tuple[int, int]] = []
    extractor = RandomExtractor(ImageShape(16, 16, 1))
    labelled = evaluate(Copies(dataset), dataset, len(train), 0, extractor, lambda *done: calls.append(done))
    assert f"fid/random-{extractor.digest[:8]}" in labelled
    copies = {plain(name): value for name, value in labelled.items()}
    each = COMPARED | {"memorised", "mifid"}
    names = {f"{name}{suffix}" for name in each for suffix in ("", "_se", "_floor")}
    names |= {"kid_spread", "kid_spread_floor"}
    of_pixels = {f"{name}{suffix}" for name in ("sharpness", "memorised_pixels") for suffix in ("", "_se", "_floor")}
    of_pixels |= {"samples", "samples_floor"}
    assert copies.keys() == {f"{name}/random" for name in names} | of_pixels
    assert (copies["samples"], copies["samples_floor"]) == (len(train), len(test))
    assert calls == [(1000, len(train)), (len(train), len(train))]
    assert copies["fid/random"] == pytest.approx(0, abs=1e-5)
    features = [extractor.features(split.take(np.arange(len(split))))[0] for split in (test, train)]
    assert copies["fid_floor/random"] == pytest.approx(fidelity(*features), rel=1e-5)
    noise = by_random(Noise(), dataset, 150, seed=5)
    assert (noise["samples"], noise["samples_floor"]) == (150, 150)
    noise = by_random(Noise(), dataset, 200, seed=5)
    assert noise == by_random(Noise(), dataset, 200, seed=5)
    assert noise["fid/random"] > 10 * noise["fid_floor/random"]
    assert noise["fid/random"] != by_random(Noise(), dataset, 200, seed=6)["fid/random"]


def test_copies_of_the_data_are_perfect_but_for_being_copies(dataset: Dataset) -> None:
    train, test = dataset.split("train"), dataset.split("test")
    copies, real = by_random(Copies(dataset), dataset, len(train)), by_random(Held(dataset), dataset, len(test))
    for name in ("precision", "recall", "coverage"):
        assert copies[f"{name}/random"] == 1
    assert copies["memorised/random"] == copies["memorised_pixels"] == 1
    assert copies["sharpness"] == pytest.approx(1, rel=1e-9)
    # Held-out images are what the floor is of; and of them a percent is memorised by definition.
    for name in COMPARED - {"kid"}:  # in which the order of the images decides who is compared with whom
        assert real[f"{name}/random"] == pytest.approx(real[f"{name}_floor/random"], rel=1e-6)
    assert abs(real["kid/random"] - real["kid_floor/random"]) < 4 * real["kid_se/random"]
    assert real["memorised/random"] == pytest.approx(0.01, abs=1 / len(test))
    assert real["memorised/random"] == real["memorised_floor/random"]
    assert real["memorised_pixels"] == real["memorised_pixels_floor"] == pytest.approx(0.01, abs=1 / len(test))
    assert real["mifid/random"] == real["fid/random"]
    assert real["mifid_floor/random"] == real["fid_floor/random"]
    assert real["mifid_se/random"] == real["fid_se/random"]
    assert copies["mifid_se/random"] / copies["fid_se/random"] == pytest.approx(1e6, rel=0.1)  # 1 / (0 + 1e-6)
    assert real["sharpness"] == pytest.approx(real["sharpness_floor"], rel=1e-9)


class Corner(Extractor):
    """Sees the upper left pixel: of ten classes the one that it is, for certain."""

    name, digest, knows_classes = "corner", "0" * 64, True

    def features(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = images[:, 0, 0, 0]
        return values[:, None] / 255, np.eye(10)[np.minimum(values // 25, 9)]


class Corners:
    """Images whose upper left pixels are of these classes."""

    def __init__(self, classes: np.ndarray):
        self.images = np.random.default_rng(0).integers(0, 256, (len(classes), 16, 16, 1), dtype=np.uint8)
        self.images[:, 0, 0, 0] = 25 * classes

    def sample(self, count: int, seed: int = 0, first: int = 0) -> np.ndarray:
        return self.images[first : first + count]


class Half:
    """Copies of training images with a grey level more or less in each pixel, and real images in turn."""

    def __init__(self, dataset: Dataset):
        images = dataset.split("train").take(np.arange(80))
        self.images = np.stack([np.where(images > 127, images - 1, images + 1), Held(dataset).sample(80)], 1)

    def sample(self, count: int, seed: int = 0, first: int = 0) -> np.ndarray:
        return self.images.reshape(-1, 16, 16, 1)[first : first + count].astype(np.uint8)


def test_copies_are_found_in_pixels_by_the_rule_of_features(dataset: Dataset) -> None:
    """By all distances to all: closer than all but a percent of the held-out images are."""
    train, test = (split.take(np.arange(len(split))) / 255 for split in (dataset.split("train"), dataset.split("test")))

    def apart(images: np.ndarray) -> np.ndarray:
        return np.array([np.square(train - image).mean((1, 2, 3)).min() for image in images])

    radius = np.sort(apart(test))[(len(test) - 1) // 100]
    expected = apart(Half(dataset).sample(160) / 255) < radius
    assert expected[::2].all()
    found = by_random(Half(dataset), dataset, 160)
    assert found["memorised_pixels"] == expected.mean()
    assert found["memorised_pixels_se"] == pytest.approx(expected.std(ddof=1) / np.sqrt(160), rel=1e-9)
    assert 0.5 <= found["memorised_pixels"] < 0.55


def test_what_is_counted_of_modes_has_its_error(dataset: Dataset) -> None:
    """The ninth class is there once: a tenth of the samples without which eight are covered, of which the jackknife
    makes sqrt(9 * 0.1 * 0.9) = 0.9. The rest by leaving tenths out in turn, and each share by its deviation."""
    classes = np.random.default_rng(1).integers(0, 8, 300)
    classes[47] = 8
    assert len(set(classes)) == 9

    def found(classes: np.ndarray) -> dict[str, float]:
        metrics = evaluate(Corners(classes), dataset, len(classes), 0, Corner())
        return {bare(name): value for name, value in metrics.items()}

    whole, tenths = found(classes), np.array_split(np.arange(300), 10)
    assert whole["modes/covered"] == 9
    assert whole["modes/covered_se"] == pytest.approx(0.9, rel=1e-9)
    without = [found(np.delete(classes, rows)) for rows in tenths]
    for name in ("modes/kl", "mode_share_min"):
        assert whole[f"{name}_se"] == pytest.approx(np.sqrt(9 * np.var([one[name] for one in without])), rel=1e-9)
    for label in range(10):
        error = (classes == label).std(ddof=1) / np.sqrt(300)
        assert whole[f"mode_share_se/{label}"] == pytest.approx(error, rel=1e-9)


def test_noise_is_neither_precise_nor_recalled_nor_remembered(dataset: Dataset) -> None:
    noise = by_random(Noise(), dataset, 300)
    for name in ("precision", "recall", "density", "coverage", "memorised"):
        assert noise[f"{name}/random"] == 0
    assert noise["kid/random"] > 10 * noise["kid_se/random"]
    assert noise["fid/random"] > 10 * noise["fid_se/random"]
    assert noise["sharpness"] > 2


@pytest.mark.parametrize("count", [2, 5, 19])
def test_of_few_samples_there_is_what_few_have(dataset: Dataset, count: int) -> None:
    found = {name.partition("/")[0] for name in by_random(Noise(), dataset, count)}
    assert {"fid", "memorised", "mifid", "sharpness"} <= found
    assert not {"kid", "fid_se", "kid_se", "precision_se"} & found
    assert ("precision" in found) == (count > 5)


def test_one_sample_has_no_distance(dataset: Dataset) -> None:
    with pytest.raises(UserError, match="a Frechet distance needs two images on each side; one has 1"):
        by_random(Noise(), dataset, 1)


def test_held_out_images_are_compared_once(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    first = by_random(Noise(), dataset, 100)
    (kept,) = (dataset.path / "reference").glob("*.json")
    with monkeypatch.context() as patched:
        # Nobody asks it again.
        patched.setattr("ganlib.evaluation.held_out.reference_findings", None)
        assert by_random(Noise(), dataset, 100) == first
    assert dataset.verify() == []
    whole = kept.read_text()
    for changed in (whole[:-3], whole.replace('"radius": ', '"radius": 9')):
        assert changed != whole
        kept.write_text(changed)
        assert by_random(Noise(), dataset, 100) == first
    assert kept.read_text() == whole


@pytest.mark.parametrize(
    ("constant", "value", "also"),
    [
        ("held_out.LOW", 0.05, set()),
        ("held_out.MOST_REMEMBERED", 50, set()),
        ("held_out.SPLITS", 5, set()),
        ("findings.MOST_COMPARED", 70, {".safetensors"}),
        ("findings.MOST_BYTES", 1 << 18, {".safetensors"}),
        ("findings.REVISION", 0, {".safetensors"}),
    ],
)
def test_what_was_found_by_another_constant_is_not_taken_for_this_ones(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, constant: str, value: float, also: set[str]
) -> None:
    by_random(Noise(), dataset, 100)
    before = {path.name for path in (dataset.path / "reference").iterdir()}
    monkeypatch.setattr(f"ganlib.evaluation.{constant}", value)
    by_random(Noise(), dataset, 100)
    fresh = {path.suffix for path in (dataset.path / "reference").iterdir() if path.name not in before}
    assert fresh == {".json"} | also
