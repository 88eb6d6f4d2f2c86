"""Judging a generator that translates images into domains, on images that its training has not seen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ganlib.data.dataset import Dataset
from ganlib.data.split import Split
from ganlib.evaluation.classifier import ClassifierExtractor, load_classifier, read_by
from ganlib.evaluation.confidence import SPLITS, error_of_share, jackknife_error, total
from ganlib.evaluation.distances import frechet_distance
from ganlib.evaluation.extractors import Extractor, RandomExtractor
from ganlib.evaluation.names import label_of
from ganlib.evaluation.pixels import PixelSplits
from ganlib.evaluation.samples import BLOCK
from ganlib.evaluation.statistics import FeatureStatistics
from ganlib.inputs import held_out, held_out_rows
from ganlib.networks.base import ImageShape
from ganlib.sampling import Sampler


def translation_metrics(
    sampler: Sampler,
    dataset: Dataset,
    count: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
    extractor: Extractor | None = None,
) -> dict[str, float]:
    """`count` held-out images, in the seed's order, each translated to every domain that it is not in.

    Of each domain NAME and the label E of an extractor, `extractor` (the fixed random network where it is None) and,
    where the dataset has a classifier that tells its domains apart, that: `fid_target/E/NAME`, the Frechet distance of
    what is translated to NAME to the training images that are in it; `fid_before/E/NAME`, that of the same images as
    they were; `fid_target_floor/E/NAME`, that of the held-out images that are in it (`samples_floor/NAME` of them,
    where `samples/NAME` are translated: fewer have a larger distance); `fid_target_se/E/NAME`, the first one's standard
    error over the images translated, of `2 * SPLITS` and more (`jackknife_error`). With a classifier of the domains, C
    being its label, `called/C/NAME` and `called_before/C/NAME`: the share of the same images that it takes to be of
    NAME (of attributes: to have it); `called_se/C/NAME`, the first one's standard error; `judge_accuracy/C`: its own,
    on held-out images. `sharpness/NAME` and `pixel_variety/NAME`: of what is translated to NAME beside the training
    images in it, as `PixelSplits.metrics` has them, with their errors; `..._floor/NAME`: of the held-out images that
    are in it. `cycle/l1`: E|x - x'|, x' being translated back, in [-1, 1] (StarGAN's reconstruction); `cycle_se/l1`:
    its standard error. Names without /NAME are means over the domains, and bounds of the errors of these.

    Domains of fewer than two images on either side are left out. Attributes: each image that lacks one is given it.
    """
    config = sampler.recipe.method
    extractor = extractor or RandomExtractor(ImageShape(*dataset.image_shape))
    record, judge = dataset.manifest.classifier, None
    extractors = [extractor]
    if record is not None and (dataset.judged_names or dataset.attribute_names) == dataset.columns.domain_names:
        judge, judge_label = load_classifier(dataset), label_of("classifier", record.sha256)
        if dataset.judged_names and extractor.label != judge_label:
            extractors.append(ClassifierExtractor(dataset))
    names, split, train = dataset.columns.domain_names or [], held_out(dataset), dataset.split("train")
    chosen = np.sort(held_out_rows(dataset, min(count, len(split)), seed))
    own, training = _domains(split), _domains(train)
    found: dict[str, dict[str, float]] = {}
    apart, times = np.zeros(len(split)), np.zeros(len(split))
    for domain, name in enumerate(names):
        lacking = chosen[own[chosen, domain] == 0]
        there = np.flatnonzero(training[:, domain])
        if min(len(lacking), len(there)) < 2:
            continue
        asked = own[lacking].copy()
        if config.one_domain:
            asked[:] = 0
        asked[:, domain] = 1
        statistics = _Translated(extractors, len(lacking))
        said: dict[str, list[NDArray[np.bool_]]] = {"called": [], "called_before": []}
        for at in range(0, len(lacking), BLOCK):
            rows, targets = lacking[at : at + BLOCK], asked[at : at + BLOCK]
            before = split.take(rows)
            after = sampler.sample(len(rows), inputs=before, domains=targets)
            back = sampler.sample(len(rows), inputs=after, domains=own[rows])
            statistics.add(before, after)
            if judge is not None:
                for metric, images in (("called", after), ("called_before", before)):
                    read = read_by(judge, dataset, images)
                    said[metric].append(read == domain if read.ndim == 1 else read[:, domain] == 1)
            apart[rows] += _distances(before, back)
            times[rows] += 1
            if progress:
                progress(domain * len(chosen) + at + len(rows), len(names) * len(chosen))
        (real, real_pixels), held = _look(train, there, extractors), chosen[own[chosen, domain] == 1]
        found.setdefault("samples", {})[name], found.setdefault("samples_floor", {})[name] = len(lacking), len(held)
        for metric, value in statistics.pixels.metrics(real_pixels.whole).items():
            found.setdefault(metric, {})[name] = value
        floors = _look(split, held, extractors) if len(held) > 1 else None
        if floors is not None:
            for metric, value in floors[1].metrics(real_pixels.whole).items():
                if not metric.endswith("_se"):
                    found.setdefault(f"{metric}_floor", {})[name] = value
        for number, extractor in enumerate(extractors):
            e = extractor.label
            moved, was = statistics.after[number], statistics.before[number]
            found.setdefault(f"fid_target/{e}", {})[name] = frechet_distance(total(moved), real[number])
            found.setdefault(f"fid_before/{e}", {})[name] = frechet_distance(total(was), real[number])
            if len(lacking) >= 2 * SPLITS:
                error = jackknife_error(moved, partial(frechet_distance, b=real[number]))
                found.setdefault(f"fid_target_se/{e}", {})[name] = error
            if floors is not None:
                floor = frechet_distance(floors[0][number], real[number])
                found.setdefault(f"fid_target_floor/{e}", {})[name] = floor
        if judge is not None:
            for metric, parts in said.items():
                found.setdefault(f"{metric}/{judge_label}", {})[name] = float(np.concatenate(parts).mean())
            share = found[f"called/{judge_label}"][name]
            found.setdefault(f"called_se/{judge_label}", {})[name] = error_of_share(share, len(lacking))
    metrics = _cycle_metrics(apart, times)
    if judge is not None and record is not None:
        metrics[f"judge_accuracy/{judge_label}"] = record.accuracy
    for metric, values in found.items():
        each = np.array(list(values.values()))
        # The error of a mean is at most the mean of errors, and is that where all rise and fall as one: the same images
        # are translated to several domains.
        metrics[metric] = float(each.mean())
        metrics |= {f"{metric}/{name}": value for name, value in values.items()}
    return metrics


class _Translated:
    """Statistics of `count` images before and after translation, by each extractor, in `SPLITS` disjoint splits; of
    the pixels after it."""

    def __init__(self, extractors: list[Extractor], count: int):
        self.extractors, self.count, self._seen = extractors, count, 0
        self.before: list[list[FeatureStatistics]] = [[] for _ in extractors]
        self.after: list[list[FeatureStatistics]] = [[] for _ in extractors]
        self.pixels = PixelSplits(count)

    def add(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> None:
        """The next images, in their order."""
        owners = (self._seen + np.arange(len(before))) * SPLITS // self.count
        self._seen += len(before)
        self.pixels.add(after)
        if self.count < 2 * SPLITS:
            owners[:] = 0
        for sums, images in ((self.before, before), (self.after, after)):
            for splits, extractor in zip(sums, self.extractors, strict=True):
                features, probabilities = extractor.features(images)
                for owner in np.unique(owners):
                    rows = owners == owner
                    part = FeatureStatistics.of(features[rows], None if probabilities is None else probabilities[rows])
                    if owner == len(splits):
                        splits.append(part)
                    else:
                        splits[owner] = splits[owner] + part


def _look(
    split: Split, rows: NDArray[np.int64], extractors: list[Extractor]
) -> tuple[list[FeatureStatistics], PixelSplits]:
    """Of these rows, one and more: statistics by each extractor, and of their pixels."""
    sums: list[list[FeatureStatistics]] = [[] for _ in extractors]
    pixels = PixelSplits(len(rows))
    for at in range(0, len(rows), BLOCK):
        images = split.take(rows[at : at + BLOCK])
        pixels.add(images)
        for parts, extractor in zip(sums, extractors, strict=True):
            parts.append(FeatureStatistics.of(*extractor.features(images)))
    return [total(parts) for parts in sums], pixels


def _distances(images: NDArray[np.uint8], back: NDArray[np.uint8]) -> NDArray[np.float64]:
    """float64 [n]: of each image the mean of |x - x'| over its numbers, in [-1, 1]."""
    return np.abs(images.astype(np.int16) - back.astype(np.int16)).mean((1, 2, 3)) / 127.5


def _cycle_metrics(apart: NDArray[np.float64], times: NDArray[np.float64]) -> dict[str, float]:
    """`cycle/l1` and its standard error, of each image's distances added up, and how many these are: both [n].

    What is made of one image is near what else is made of it, so images are counted, not translations: the ratio
    r = sum_i a_i / sum_i t_i has the error sqrt(n / (n - 1) sum_i (a_i - r t_i)^2) / sum_i t_i (Cochran 1977, "Sampling
    Techniques", section 2.11).
    """
    count, whole = int((times > 0).sum()), max(times.sum(), 1)
    ratio = float(apart.sum() / whole)
    if count < 2:
        return {"cycle/l1": ratio}
    square = np.square(apart - ratio * times).sum() * count / (count - 1)
    return {"cycle/l1": ratio, "cycle_se/l1": float(np.sqrt(square) / whole)}


def _domains(split: Split) -> NDArray[np.uint8]:
    domains = split.column("domains")
    assert domains is not None
    return domains
