"""How many samples a reading takes for trials to be ranked by what they are and not by the draw.

Generators of `tuning_table`'s recipe, at settings from good to hopeless, are trained once each; at each of three rungs
every one of them is judged twice, by two draws that have no sample in common. Kendall's tau between the two rankings is
1 where they are the same; (1 - tau) / 2 is the share of pairs of trials of which one draw takes the worse for the
better. Of the better half of the trials at the rung too: these a search has to tell apart in the end, and they are
nearer to each other.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence

import torch
from scipy.stats import kendalltau

from ganlib import Dataset, Recipe, Trainer, UserError
from ganlib.evaluation.distances import frechet_distance
from ganlib.evaluation.extractors import Extractor, extractor_for
from ganlib.evaluation.findings import reference_findings
from ganlib.evaluation.statistics import FeatureStatistics
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home
from pipelines.shipped import find_recipe
from tests.benchmarks.report import Target, show
from tests.benchmarks.tuning_table import RUNGS, SEED, SMALL, points, setting, with_values

SETTINGS = 24
JUDGED = RUNGS[::2]
COUNTS = (100, 250, 500, 1_000, 2_000)
"""Samples of a reading; the last is what the recipe asks for."""
DRAWS = (SEED, SEED + 1)

Readings = dict[tuple[int, int], tuple[float, float]]
"""(rung, samples) -> the distance by either draw."""


def ranking(options: argparse.Namespace) -> list[Target]:
    """Kendall's tau between two draws' rankings, by rung and number of samples."""
    torch.set_num_threads(1)
    recipe = find_recipe("digits", SMALL)
    dataset = DatasetRequest(recipe.data, Home(options.home).create()).prepare()
    extractor = extractor_for(dataset)
    real = reference_findings(dataset, extractor, "train").statistics
    trials: list[Readings] = []
    for number, point in enumerate(points(SETTINGS)):
        trials.append(readings(with_values(recipe, setting(point), seed=number), dataset, extractor, real))
        print(f"{number + 1} of {SETTINGS} settings", flush=True)
    rows = [
        [f"{rung:,} images, {count:,} samples", f"{agreement(trials, rung, count):.3f}",
         f"{agreement(better_half(trials, rung), rung, count):.3f}"]
        for rung in JUDGED for count in COUNTS
    ]  # fmt: skip
    show(f"Rankings by two draws of samples, {SETTINGS} settings", ["", "tau", "of the better half"], rows)
    least = min(agreement(trials, rung, COUNTS[-1]) for rung in JUDGED)
    halves = min(agreement(better_half(trials, rung), rung, COUNTS[-1]) for rung in JUDGED)
    return [
        Target(f"tau of two draws of {COUNTS[-1]:,} samples, the least of the rungs", least, 0.95),
        Target("... among the better half of the trials", halves, 0.9),
    ]


def readings(recipe: Recipe, dataset: Dataset, extractor: Extractor, real: FeatureStatistics) -> Readings:
    """Of one training; infinite from where it diverged on."""
    found: Readings = {(rung, count): (math.inf, math.inf) for rung in JUDGED for count in COUNTS}
    trainer = Trainer(recipe, dataset, device="cpu")
    for rung in reached(trainer):
        features = [extractor.features(trainer.sample(COUNTS[-1], seed).numpy())[0] for seed in DRAWS]
        for count in COUNTS:
            one, other = (frechet_distance(FeatureStatistics.of(draw[:count], None), real) for draw in features)
            found[rung, count] = one, other
    return found


def reached(trainer: Trainer) -> Iterator[int]:
    """The rungs that are judged, each as the training has come to it."""
    due = list(JUDGED)
    try:
        for tick in trainer.run():
            if due and tick.images_seen >= due[0]:
                yield due.pop(0)
    except UserError:  # diverged
        return


def agreement(trials: Sequence[Readings], rung: int, count: int) -> float:
    """Kendall's tau between the rankings of the trials by the two draws."""
    one, other = zip(*(trial[rung, count] for trial in trials), strict=True)
    return float(kendalltau(one, other).statistic)


def better_half(trials: Sequence[Readings], rung: int) -> list[Readings]:
    """By the mean of both draws of the most samples."""
    return sorted(trials, key=lambda trial: sum(trial[rung, COUNTS[-1]]))[: len(trials) // 2]
