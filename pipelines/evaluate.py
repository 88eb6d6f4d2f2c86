"""The stage that judges a checkpoint, by itself or beside the training."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from ganlib.data import Dataset
from ganlib.evaluation.classes import InProportion, class_distances
from ganlib.evaluation.evaluate import evaluate
from ganlib.evaluation.extractors import extractor_for
from ganlib.evaluation.paired import has_truth, paired_metrics
from ganlib.evaluation.reconstruction import Reconstructions
from ganlib.evaluation.samples import Samples
from ganlib.evaluation.text import Described
from ganlib.evaluation.translation import translation_metrics
from ganlib.files import write_atomically
from ganlib.sampling import Sampler, load_sampler
from pipelines.health import health_tags, verdicts_of
from pipelines.journal import Journal
from pipelines.run_folder import RunFolder

YIELDING = 15
"""How much the evaluation beside a training gives way to it (nice). Two processes of equal right on the same cores make
a training of several threads wait for the slower thread at each step: on 2 cores it ran 13 times slower."""


def evaluate_checkpoint(
    run: RunFolder, checkpoint: str, dataset: Dataset, progress: Callable[[int, int], None] | None = None
) -> dict[str, float]:
    """The metrics of `checkpoint`, a checkpoint's name in `run`: read where it was judged before, else judged now.

    Recorded in the run's folder and in its journal. Raises UserError for a checkpoint that is damaged.
    """
    sampler = load_sampler(run.path / checkpoint)
    metrics = run.evaluation(checkpoint)
    if metrics is None:
        metrics = judge(sampler, dataset, progress)
        file = run.evaluation_file(checkpoint)
        file.parent.mkdir(exist_ok=True)
        write_atomically(file, json.dumps(metrics, indent=2))
    with Journal(run.path, "evaluate") as journal:
        journal.metrics(sampler.images_seen, metrics, checkpoint=checkpoint)
        journal.tags(health_tags(verdicts_of(run)))
    return metrics


def judge(sampler: Sampler, dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> dict[str, float]:
    """All metrics that there are for what `sampler` makes, on as many samples as its recipe says."""
    config, method = sampler.recipe.evaluate, sampler.recipe.method
    if {"inputs", "domains"} <= method.wants:
        return translation_metrics(sampler, dataset, config.samples, config.seed, progress)
    if has_truth(method, dataset):
        return paired_metrics(sampler, dataset, config.samples, config.seed, progress)
    if "inputs" in method.wants:
        made = Reconstructions(sampler, dataset)
        count = min(config.samples, made.count)
        return evaluate(made, dataset, count, config.seed, progress=progress) | made.metrics(count, config.seed)
    if "captions" in method.wants:
        described = Described(sampler, dataset)
        metrics = evaluate(described, dataset, config.samples, config.seed, progress=progress)
        return metrics | described.metrics(config.samples, config.seed)
    told = "label" in method.needs
    samples: Samples = InProportion(sampler, dataset) if told else sampler
    metrics = evaluate(samples, dataset, config.samples, config.seed, progress=progress)
    if told and not sampler.recipe.data.points:
        metrics |= class_distances(sampler, dataset, extractor_for(dataset), config.samples, config.seed)
    return metrics


def evaluate_beside(run_folder: str, checkpoint: str) -> dict[str, float]:
    """Judges a checkpoint in a process of its own that gives way to the training on the same machine."""
    import torch

    torch.set_num_threads(1)
    os.nice(max(YIELDING - os.nice(0), 0))
    run = RunFolder(Path(run_folder))
    return evaluate_checkpoint(run, checkpoint, Dataset.open(run.facts().dataset_path))
