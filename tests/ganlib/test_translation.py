"""What evaluation says of translations, against counts and distances taken by hand; the judge of domains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ganlib.data import Dataset
from ganlib.data.batches import normalise
from ganlib.evaluation.classifier import load_classifier, train_classifier
from ganlib.evaluation.distances import frechet_distance
from ganlib.evaluation.extractors import RandomExtractor
from ganlib.evaluation.names import label_of, metric_value
from ganlib.evaluation.sharpness import laplacian_variance
from ganlib.evaluation.statistics import FeatureStatistics
from ganlib.evaluation.translation import translation_metrics
from ganlib.networks.base import ImageShape
from ganlib.sampling import Sampler
from pipelines.evaluate import judge

from .conftest import trained_sampler
from .domains_data import digits_in_domains
from .test_stargan import tiny


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ganlib.evaluation.classifier.IMAGES", 3_000)
        dataset = digits_in_domains(tmp_path_factory.mktemp("translation"), 16, 1, 3, count=300)
        return train_classifier(dataset)


@pytest.fixture(scope="module")
def sampler(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    return trained_sampler(tiny("train.images=25"), digits, tmp_path_factory.mktemp("translation"))


def called(dataset: Dataset, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        _, logits = load_classifier(dataset)(normalise(torch.from_numpy(images.copy())))
    return logits.argmax(1).numpy()


def spread(images: np.ndarray) -> float:
    """sqrt of the trace of the covariance of pixels."""
    return float(np.sqrt(images.reshape(len(images), -1).var(0, ddof=1).sum()))


def test_the_judge_of_exclusive_domains_is_a_classifier(digits: Dataset) -> None:
    test = digits.split("test")
    record = digits.manifest.classifier
    assert record is not None
    truth = test.column("domains").argmax(1)  # type: ignore[union-attr]
    assert record.accuracy == pytest.approx((called(digits, test.images) == truth).mean())
    assert record.accuracy > 0.5  # of three; ten times the training would see them all


def test_translations_are_judged_domain_by_domain(sampler: Sampler, digits: Dataset) -> None:
    metrics = translation_metrics(sampler, digits, 1_000, 0)
    test, train = digits.split("test"), digits.split("train")
    own = test.column("domains").argmax(1)  # type: ignore[union-attr]
    theirs = train.column("domains").argmax(1)  # type: ignore[union-attr]
    extractor = RandomExtractor(ImageShape(16, 16, 1))
    shares, cycles, looks, floors = [], [], [], 0
    moved: list[list[float]] = [[] for _ in own]  # of each image, how far it is from itself after each of its ways
    for domain in range(3):
        before = test.images[own != domain]
        targets = np.eye(3, dtype=np.uint8)[np.full(len(before), domain)]
        after = sampler.sample(len(before), inputs=before, domains=targets)
        back = sampler.sample(len(before), inputs=after, domains=np.eye(3, dtype=np.uint8)[own[own != domain]])
        cycles.append(np.abs(before / 127.5 - back / 127.5).ravel())
        for image, apart in zip(np.flatnonzero(own != domain), cycles[-1].reshape(len(before), -1), strict=True):
            moved[image].append(apart.mean())
        shares.append((called(digits, after) == domain).mean())
        assert metric_value(metrics, f"called/classifier/d{domain}") == pytest.approx(shares[-1])
        was = metric_value(metrics, f"called_before/classifier/d{domain}")
        assert was == pytest.approx((called(digits, before) == domain).mean())
        assert metric_value(metrics, f"called_se/d{domain}") == pytest.approx(
            (called(digits, after) == domain).std(ddof=1) / np.sqrt(len(after))
        )
        real, found, was, held = (
            FeatureStatistics.of(extractor.features(images)[0], None)
            for images in (train.images[theirs == domain], after, before, test.images[own == domain])
        )
        for name, statistics in (("fid_target", found), ("fid_before", was), ("fid_target_floor", held)):
            expected = frechet_distance(statistics, real)
            assert metric_value(metrics, f"{name}/random/d{domain}") == pytest.approx(expected, rel=1e-4), name
        features, parts = extractor.features(after)[0], np.arange(len(after)) * 10 // len(after)
        without = [frechet_distance(FeatureStatistics.of(features[parts != part], None), real) for part in range(10)]
        error = np.sqrt(9 * np.var(without))
        assert metric_value(metrics, f"fid_target_se/random/d{domain}") == pytest.approx(error, rel=1e-3)
        assert (metrics[f"samples/d{domain}"], metrics[f"samples_floor/d{domain}"]) == (
            len(before),
            (own == domain).sum(),
        )
        sharp = laplacian_variance(after).mean() / laplacian_variance(train.images[theirs == domain]).mean()
        assert metrics[f"sharpness/d{domain}"] == pytest.approx(sharp)
        looks.append((sharp, metrics[f"pixel_variety/d{domain}"]))
        assert looks[-1][1] == pytest.approx(spread(after) / spread(train.images[theirs == domain]))
        held_spread = spread(test.images[own == domain]) / spread(train.images[theirs == domain])
        if (own == domain).sum() >= 20:  # fewer say nothing
            floors += 1
            assert metrics[f"pixel_variety_floor/d{domain}"] == pytest.approx(held_spread)
    assert 0 < floors < 3
    assert (metrics["sharpness"], metrics["pixel_variety"]) == pytest.approx(np.mean(looks, 0))
    assert metric_value(metrics, "called") == pytest.approx(np.mean(shares))
    errors = [metric_value(metrics, f"called_se/d{domain}") for domain in range(3)]
    assert metric_value(metrics, "called_se") == pytest.approx(np.mean(errors))
    assert metrics["cycle/l1"] == pytest.approx(np.concatenate(cycles).mean(), rel=1e-6)
    each = np.array(moved).mean(1)  # of two ways each
    assert metrics["cycle_se/l1"] == pytest.approx(each.std(ddof=1) / np.sqrt(len(each)), rel=1e-6)
    assert digits.manifest.classifier is not None
    label = label_of("classifier", digits.manifest.classifier.sha256)
    assert metrics[f"judge_accuracy/{label}"] == digits.manifest.classifier.accuracy
    assert metrics[f"called/{label}"] == metric_value(metrics, "called")
    assert metric_value(metrics, "fid_target/classifier") == pytest.approx(
        np.mean([metric_value(metrics, f"fid_target/classifier/d{domain}") for domain in range(3)])
    )


def test_the_stage_judges_translations_so(sampler: Sampler, digits: Dataset) -> None:
    samples = sampler.recipe.evaluate.samples
    assert judge(sampler, digits) == translation_metrics(sampler, digits, samples, sampler.recipe.evaluate.seed)


def test_attributes_are_given_to_those_who_lack_them(tmp_path: Path) -> None:
    """Images that have one are not translated to it, and keep the others; the judge says of each if it is there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ganlib.evaluation.classifier.IMAGES", 1_000)
        dataset = train_classifier(digits_in_domains(tmp_path, 16, 1, 3, count=60, attributes=True))
    sampler = trained_sampler(tiny("method.domains=attributes", "train.images=25"), dataset, tmp_path)
    asked: list[np.ndarray] = []
    made: list[np.ndarray] = []

    class Spy:
        recipe = sampler.recipe

        def sample(self, count: int, inputs: np.ndarray, domains: np.ndarray) -> np.ndarray:
            asked.append(domains)
            made.append(sampler.sample(count, inputs=inputs, domains=domains))
            return made[-1]

    metrics = translation_metrics(Spy(), dataset, 1_000, 0)  # type: ignore[arg-type]
    test = dataset.split("test")
    own = test.column("domains")
    assert own is not None
    judge = load_classifier(dataset)
    shares = []
    for domain, (there, back) in enumerate(zip(asked[::2], asked[1::2], strict=True)):
        for metric, images in (("called", made[2 * domain]), ("called_before", test.images[own[:, domain] == 0])):
            with torch.no_grad():
                logits = judge(normalise(torch.from_numpy(images.copy())))[1]
            share = (logits[:, domain] > 0).double().mean().item()
            assert metric_value(metrics, f"{metric}/d{domain}") == pytest.approx(share)
            shares += [share] if metric == "called" else []
        assert (there[:, domain] == 1).all()
        assert (back[:, domain] == 0).all()
        others = [d for d in range(3) if d != domain]
        np.testing.assert_array_equal(there[:, others], back[:, others])
    assert metric_value(metrics, "called") == pytest.approx(np.mean(shares))
