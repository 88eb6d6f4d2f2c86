"""Distances: seconds of ours, of pytorch-fid's and of torch-fidelity's, on the same features, to the same number.

The Frechet distance is taken from the statistics of features of full rank at Inception's 2,048 dimensions: pytorch-fid
takes a matrix's root, torch-fidelity a product's eigenvalues. Precision and recall are of 10,000 features a side, at
Inception's dimensions and at our classifiers' 128; torch-fidelity has all distances in memory at once, as is its
default.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_fid.fid_score import calculate_frechet_distance
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from ganlib.evaluation.distances import frechet_distance
from ganlib.evaluation.neighbours import Manifold, overlap
from ganlib.evaluation.statistics import FeatureStatistics
from tests.benchmarks.report import Target, arguments, conclude, interleaved, machine, show

DIMENSIONS = 2_048
POINTS = 10_000


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="repetitions that count")
    parser.add_argument("--points", type=int, default=POINTS, help="features a side, of precision and recall")
    options = parser.parse_args()
    found = frechet(options.rounds)
    ours, eigenvalues, root = found.values()
    print(machine())
    rows = [(name, f"{seconds:.2f}", f"{seconds / ours:.1f}") for name, seconds in found.items()]
    show(f"Frechet distance at {DIMENSIONS:,} dimensions", ["", "seconds", "over ours"], rows)
    targets = [
        Target("Frechet distance, ratio to pytorch-fid's root", root / ours, 8),
        Target("Frechet distance, ratio to torch-fidelity's eigenvalues", eigenvalues / ours, 2),
    ]
    for dimensions in (128, DIMENSIONS):
        found = precision_recall(options.points, dimensions, options.rounds)
        ours, theirs = found.values()
        rows = [(name, f"{seconds:.2f}", f"{seconds / ours:.1f}") for name, seconds in found.items()]
        title = f"Precision and recall, {options.points:,} x {options.points:,}, {dimensions:,} dimensions"
        show(title, ["", "seconds", "over ours"], rows)
        targets.append(Target(f"precision and recall, {dimensions:,} dimensions, ratio", theirs / ours, 3))
    conclude(targets, options.json)


def frechet(rounds: int) -> dict[str, float]:
    """Median seconds of each."""
    sides = [FeatureStatistics.of(features(2 * DIMENSIONS, DIMENSIONS, seed), None) for seed in (0, 1)]
    moments = [(side.mean, side.covariance) for side in sides]
    flat = [moment for side in moments for moment in side]
    theirs = [{"mu": mean, "sigma": covariance} for mean, covariance in moments]
    return interleaved(
        "Frechet distance",
        {
            "ours": timed(lambda: (frechet_distance(*sides),)),
            "torch-fidelity": timed(lambda: (fid_statistics_to_metric(*theirs, verbose=False)[KEY_METRIC_FID],)),
            "pytorch-fid": timed(lambda: (float(calculate_frechet_distance(*flat)),)),
        },
        rounds,
    )


def precision_recall(points: int, dimensions: int, rounds: int) -> dict[str, float]:
    """Median seconds of each."""
    ours = [features(points, dimensions, seed).astype(np.float32) for seed in (2, 3)]
    theirs = [torch.from_numpy(side) for side in ours]

    def fidelity() -> tuple[float, ...]:
        found = prc_features_to_metric(*theirs, verbose=False)
        return found[KEY_METRIC_PRECISION], found[KEY_METRIC_RECALL]

    return interleaved(
        f"precision and recall, {dimensions:,} dimensions",
        {
            "ours": timed(lambda: overlap(*(Manifold.of(side) for side in ours)).scores()),
            "torch-fidelity": timed(fidelity),
        },
        rounds,
    )


def features(count: int, dimensions: int, seed: int) -> NDArray[np.float64]:
    """float64 [count, dimensions], of 0 and up, correlated, each of another size, as Inception's are."""
    draw = np.random.default_rng(seed)
    common = draw.normal(size=(count, 64)) @ np.random.default_rng(100).normal(size=(64, dimensions)) / 8
    found: NDArray[np.float64] = np.maximum(common + draw.normal(size=(count, dimensions)), 0)
    return found * np.linspace(0.1, 1, dimensions)


def timed(metric: Callable[[], tuple[float, ...]]) -> Callable[[], float]:
    """Each call takes the metric and returns the seconds, and prints what was found, to be seen side by side."""

    def repetition() -> float:
        start = time.perf_counter()
        found = metric()
        seconds = time.perf_counter() - start
        print("   ", *(f"{number:.9g}" for number in found))
        return seconds

    return repetition


if __name__ == "__main__":
    main()
