"""What evaluation says of a generator on a dataset: metrics under names that carry their feature extractor's label."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ganlib.data.dataset import Dataset
from ganlib.evaluation.comparison import compare, sharpness_metrics
from ganlib.evaluation.extractors import Extractor, extractor_for
from ganlib.evaluation.findings import reference_findings, sample_findings
from ganlib.evaluation.held_out import MOST_IN_PIXELS, HeldOut
from ganlib.evaluation.modes import mode_metrics, share_metrics
from ganlib.evaluation.points import evaluate_points
from ganlib.evaluation.samples import Samples


def evaluate(
    samples: Samples,
    dataset: Dataset,
    count: int,
    seed: int,
    extractor: Extractor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Judges `count` samples against the training split; points of a density as `points.evaluate_points` says.

    By the extractor whose label is E, `fid/E`: Frechet distance to the training split; `kid/E`, `kid_spread/E`,
    `precision/E`, `recall/E`, `density/E` and `coverage/E`, of up to 5,000 images a side, as `compare` has them. With a
    test split also `memorised/E`, the share of 1,000 samples closer to a training image than all but 1 percent of
    held-out images are (0.01 is a perfect generator's), and `mifid/E`. Where E gives probabilities,
    `inception_score/E`. With the dataset's classifier also `modes/covered/E`: classes that it finds; `modes/kl/E`:
    `kl_divergence` of their shares to those that it finds in the training split; `mode_share_min/E` and, of up to
    `MOST_SHARES` classes, `mode_share/E/CLASS`. Of pixels alone, `sharpness`: mean variance of the Laplacian over the
    training split's; `memorised_pixels`: what `memorised/E` is, of 250 samples, beside a training split on this disk.

    Each NAME has `NAME_se`, its standard error over the samples' draw, and `NAME_floor`: that of real images that no
    training has seen to the training split (`HeldOut`), what a perfect generator of few images would still have.
    `samples` and `samples_floor`: how many images the one and the other are of. The numbers are the same each time:
    samples come from `seed`.
    """
    if dataset.dtype == np.float32:
        return evaluate_points(samples, dataset, count, seed, progress)
    extractor = extractor or extractor_for(dataset)
    reference = reference_findings(dataset, extractor, "train")
    shown: list[NDArray[np.uint8]] = []

    def sample(first: int, size: int) -> NDArray[np.uint8]:
        images = samples.sample(size, seed, first)
        if not first:
            shown.append(images[:MOST_IN_PIXELS].copy())
        return images

    found = sample_findings(sample, count, extractor, progress)
    held_out = HeldOut.of(dataset, extractor, count, reference)
    metrics, of_pixels = compare(found, reference), sharpness_metrics(found, reference) | {"samples": float(count)}
    names = dataset.judged_names if extractor.knows_classes else None
    if names is not None:
        metrics |= mode_metrics(found, reference)
    if held_out is not None:
        metrics |= {f"{name}_floor": value for name, value in held_out.floor.items()}
        of_pixels |= {f"{name}_floor": value for name, value in held_out.of_pixels.items()}
        metrics |= held_out.memory(metrics, found, reference)
        of_pixels |= held_out.memory_of_pixels(shown[0], dataset)
    named = {f"{name}/{extractor.label}": value for name, value in metrics.items()} | of_pixels
    return named if names is None else named | share_metrics(found, names, extractor.label)
