"""Figures of outputs against the truth: closed forms, formulas in plain loops, sums that do not mind their blocks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import yaml

from ganlib.data import Dataset, Preparation, open_source, prepare_dataset
from ganlib.draws import stream_generator
from ganlib.evaluation import paired
from ganlib.evaluation.directions import family, is_known
from ganlib.evaluation.distances import frechet_distance
from ganlib.evaluation.extractors import RandomExtractor
from ganlib.evaluation.names import metric_value
from ganlib.evaluation.paired import has_truth, mean_truth, paired_metrics
from ganlib.evaluation.sharpness import laplacian_variance
from ganlib.evaluation.statistics import FeatureStatistics
from ganlib.inputs import held_out, held_out_rows, truth_of
from ganlib.networks.base import ImageShape
from ganlib.recipe import Recipe
from ganlib.sampling import Sampler

from .conftest import tiny_recipe

RECIPE = """
name: pairs
data: {size: 16, channels: 1, pairs: edges}
method: {kind: pix2pix, generator: {width: 4}, discriminator: {width: 4, layers: 1}}
optim: {generator: {kind: adam, lr: 1.0e-3}, discriminator: {kind: adam, lr: 1.0e-3}}
train: {batch: 4, images: 80}
"""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    preparation = Preparation(size=16, channels=1, pairs="edges", test_share=0.1)
    return prepare_dataset(open_source("digits"), preparation, tmp_path_factory.mktemp("pairs"), "pairs")


class Answers:
    """Stands for a Sampler: what it makes of an input is looked up."""

    def __init__(self, dataset: Dataset, answer: Any):
        self.recipe = Recipe.parse(yaml.safe_load(RECIPE))
        self.truth: dict[bytes, np.ndarray] = {}
        for split in (dataset.split("train"), held_out(dataset)):
            rows = np.arange(len(split))
            told, true = split.take_partner(rows), split.take(rows)
            self.truth |= {one.tobytes(): other for one, other in zip(told, true, strict=True)}
        self.answer = answer

    def sample(self, count: int, seed: int = 0, first: int = 0, *, inputs: np.ndarray) -> np.ndarray:
        assert len(inputs) == count
        return np.stack([self.answer(self.truth[one.tobytes()]) for one in inputs])


def sampler(dataset: Dataset, answer: Any) -> Sampler:
    return cast(Sampler, Answers(dataset, answer))


def test_psnr_is_its_formula() -> None:
    truth = np.zeros((2, 4, 5, 3))
    made = truth.copy()
    made[0] += 0.1
    made[1, 0, 0, 0] = 0.6
    found = paired.psnr(made, truth)
    assert found[0] == pytest.approx(20)
    assert found[1] == pytest.approx(-10 * math.log10(0.36 / 60))
    np.testing.assert_allclose(paired.psnr(truth, truth), 10 * math.log10(255**2 * 60))
    np.testing.assert_allclose(paired.l1(made, truth), [0.1, 0.6 / 60])


def test_ssim_is_its_formula_in_a_plain_loop() -> None:
    randomness = np.random.default_rng(0)
    truth = randomness.random((2, 14, 13, 2))
    made = np.clip(truth + randomness.normal(0, 0.2, truth.shape), 0, 1)
    window = np.array([[math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / 4.5) for j in range(11)] for i in range(11)])
    window /= window.sum()
    for n in range(2):
        values = []
        for channel in range(2):
            for top in range(4):
                for left in range(3):
                    x = made[n, top : top + 11, left : left + 11, channel]
                    y = truth[n, top : top + 11, left : left + 11, channel]
                    mx, my = (window * x).sum(), (window * y).sum()
                    vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
                    cov = (window * (x - mx) * (y - my)).sum()
                    above = (2 * mx * my + 1e-4) * (2 * cov + 9e-4)
                    values.append(above / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
        assert paired.ssim(made, truth)[n] == pytest.approx(np.mean(values), rel=1e-9)
    np.testing.assert_allclose(paired.ssim(truth, truth), 1)


def test_figures_are_those_of_all_images_at_once(pairs: Dataset) -> None:
    def darker(image: np.ndarray) -> np.ndarray:
        return image // 2

    found = paired_metrics(sampler(pairs, darker), pairs, 70, 3, side=8, patches=4)
    rows = held_out_rows(pairs, 70, 3)
    truth = held_out(pairs).take(rows)
    assert found["paired/images"] == 70
    assert found["paired/l1"] == pytest.approx(np.abs(truth / 255 - (truth // 2) / 255).mean())
    each = np.abs(truth / 255 - (truth // 2) / 255).mean((1, 2, 3))
    assert found["paired_se/l1"] == pytest.approx(each.std(ddof=1) / math.sqrt(70))
    assert found["paired/psnr"] == pytest.approx(paired.psnr(truth // 2 / 255, truth / 255).mean())
    assert found["paired/ssim"] == pytest.approx(paired.ssim(truth // 2 / 255, truth / 255).mean())
    mean = pairs.split("train").images.astype(np.float64).mean(0) / 255
    np.testing.assert_allclose(mean_truth(pairs, Recipe.parse(yaml.safe_load(RECIPE)).method), mean, rtol=1e-12)
    assert found["paired_of_mean/l1"] == pytest.approx(np.abs(truth / 255 - mean).mean())
    whole = np.broadcast_to(mean, truth.shape)
    assert found["paired_of_mean/psnr"] == pytest.approx(paired.psnr(whole, truth / 255).mean())
    assert found["paired_of_mean/ssim"] == pytest.approx(paired.ssim(whole, truth / 255).mean())


def test_training_pairs_are_asked_too_and_pixels_compared(pairs: Dataset) -> None:
    """An answer that knows its training pairs, and makes the negative of what it has not seen."""
    train = {image.tobytes() for image in pairs.split("train").images}
    assert len(train) > paired.MOST_KNOWN
    by_heart = sampler(pairs, lambda image: image if image.tobytes() in train else 255 - image)
    found = paired_metrics(by_heart, pairs, 70, 3, side=8, patches=4)
    assert found["paired_of_training/l1"] == 0
    assert found["paired/l1"] > 0.1
    assert found["sharpness"] == pytest.approx(1)  # a negative is as sharp, and as different from another
    assert found["pixel_variety"] == pytest.approx(1)
    order = torch.randperm(len(pairs.split("train")), generator=stream_generator("cpu", 3, "paired")).numpy()
    truth, training = held_out(pairs).take(held_out_rows(pairs, 70, 3)), pairs.split("train").take(order[:70])
    sharp = laplacian_variance(training).mean() / laplacian_variance(truth).mean()
    assert found["sharpness_floor"] == pytest.approx(sharp)
    grey = paired_metrics(sampler(pairs, lambda image: np.full_like(image, 99)), pairs, 70, 3, side=8, patches=4)
    assert (grey["sharpness"], grey["pixel_variety"]) == (0, pytest.approx(0, abs=1e-6))
    known = pairs.split("train").take(order[: paired.MOST_KNOWN])
    assert grey["paired_of_training/l1"] == pytest.approx(np.abs(known / 255 - 99 / 255).mean())


def test_blocks_do_not_matter(pairs: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = paired_metrics(sampler(pairs, lambda image: 255 - image), pairs, 40, 1, patches=3, side=8)
    monkeypatch.setattr(paired, "BLOCK", 7)
    parts = paired_metrics(sampler(pairs, lambda image: 255 - image), pairs, 40, 1, patches=3, side=8)
    assert parts == pytest.approx(whole, rel=1e-6)


def test_patches_are_cut_at_places_of_their_images_own() -> None:
    # Each pixel says where it is: (row, column).
    images = np.stack(np.meshgrid(np.arange(20), np.arange(24), indexing="ij"), -1).astype(np.uint8)[None].repeat(3, 0)
    found = paired._patches(images, (5, "made"), 0, 8, 200)
    assert found.shape == (600, 8, 8, 2)
    corners = found[:, 0, 0].astype(int)
    np.testing.assert_array_equal(found[:, 7, 7], corners + 7)
    assert set(corners[:, 0]) == set(range(13))
    assert set(corners[:, 1]) == set(range(17))
    np.testing.assert_array_equal(paired._patches(images[1:], (5, "made"), 1, 8, 200), found[200:])
    assert not np.array_equal(found[:200], found[200:400])
    assert paired._patches(images, (5, "made"), 0, 64, 1).shape == (3, 20, 20, 2)


def test_the_distance_is_of_patches_and_tells_real_from_blank(pairs: Dataset) -> None:
    truth = truth_of(pairs, Recipe.parse(yaml.safe_load(RECIPE)).method, 60, 2)
    assert truth is not None
    extractor = RandomExtractor(ImageShape(16, 16, 1))
    made, true = (
        FeatureStatistics.of(*extractor.features(paired._patches(images, (2, name), 0, 8, 5)))
        for name, images in (("made", truth), ("true", truth))
    )
    perfect = paired_metrics(sampler(pairs, lambda image: image), pairs, 60, 2, side=8, patches=5)
    assert metric_value(perfect, "fid_patch/random") == pytest.approx(frechet_distance(made, true), rel=1e-6, abs=1e-6)
    # A jackknife takes each tenth of the images out in turn.
    parts = np.arange(60) * 10 // 60
    made_features = extractor.features(paired._patches(truth, (2, "made"), 0, 8, 5))[0].reshape(60, 5, -1)
    without = [
        frechet_distance(FeatureStatistics.of(np.concatenate(made_features[parts != part]), None), true)
        for part in range(10)
    ]
    error = math.sqrt(9 * np.var(without))
    assert metric_value(perfect, "fid_patch_se/random") == pytest.approx(error, rel=1e-4)
    assert perfect["paired/l1"] == 0
    assert perfect["paired/ssim"] == pytest.approx(1)
    blank = paired_metrics(sampler(pairs, np.zeros_like), pairs, 60, 2, side=8, patches=5)
    assert metric_value(blank, "fid_patch_floor/random") == metric_value(perfect, "fid_patch_floor/random")
    floor = metric_value(perfect, "fid_patch_floor/random")
    assert metric_value(perfect, "fid_patch/random") < 2 * floor < 0.2 * metric_value(blank, "fid_patch/random")


def test_it_ends_with_the_held_out_images(pairs: Dataset) -> None:
    size = len(pairs.split("test"))
    said: list[tuple[int, int]] = []
    found = paired_metrics(
        sampler(pairs, np.zeros_like), pairs, 10**6, 0, lambda *at: said.append(at), side=8, patches=1
    )
    assert found["paired/images"] == size
    assert said[-1] == (size, size)


def test_only_methods_of_pairs_have_a_truth(pairs: Dataset, tmp_path: Path) -> None:
    recipe = Recipe.parse(yaml.safe_load(RECIPE))
    assert has_truth(recipe.method, pairs)
    assert not has_truth(tiny_recipe(tmp_path).method, pairs)
    rows = np.array([3, 1])
    split = pairs.split("test")
    for direction, told, truth in (
        ("b-to-a", split.take_partner(rows), split.take(rows)),
        ("a-to-b", split.take(rows), split.take_partner(rows)),
    ):
        method = recipe.with_overrides(f"method.direction={direction}").method
        np.testing.assert_array_equal(method.told(split, rows)["inputs"], told)
        np.testing.assert_array_equal(method.truth(split, rows), truth)
    assert not np.array_equal(split.take(rows), split.take_partner(rows))


def test_lpips_stands_beside_the_others_where_its_weights_are(pairs: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    class Darkness:
        """In place of the network: how much darker on average."""

        label = "vgg16-00000000"

        def distances(self, made: np.ndarray, truth: np.ndarray) -> np.ndarray:
            assert made.dtype == truth.dtype == np.uint8
            return (truth.mean((1, 2, 3)) - made.mean((1, 2, 3))) / 255

    monkeypatch.setattr(paired, "find_lpips", Darkness)
    found = paired_metrics(sampler(pairs, np.zeros_like), pairs, 50, 3, side=8, patches=1)
    assert {"paired_l1", "paired_psnr", "paired_ssim", "fid_patch"} < set(map(family, found))
    assert all(map(is_known, found))
    truth = held_out(pairs).take(held_out_rows(pairs, 50, 3)) / 255
    assert found["paired_lpips/vgg16-00000000"] == pytest.approx(truth.mean())
    spread = truth.mean((1, 2, 3)).std(ddof=1) / math.sqrt(50)
    assert found["paired_lpips_se/vgg16-00000000"] == pytest.approx(spread)
    mean = np.rint(pairs.split("train").images.astype(np.float64).mean(0)) / 255
    assert found["paired_lpips_of_mean/vgg16-00000000"] == pytest.approx(truth.mean() - mean.mean(), rel=1e-6)
