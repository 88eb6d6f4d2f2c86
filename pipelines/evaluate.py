"""The stage that judges a checkpoint, by itself or beside the training."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch

from ganlib.allocator import keep_freed_memory
from ganlib.data import Dataset
from ganlib.devices import best_device
from ganlib.errors import UserError
from ganlib.evaluation.classes import InProportion, class_distances
from ganlib.evaluation.evaluate import evaluate
from ganlib.evaluation.extractor import Extractor, NetworkExtractor
from ganlib.evaluation.extractors import extractor_for, own_extractor
from ganlib.evaluation.names import judged_by, recordable
from ganlib.evaluation.paired import has_truth, paired_metrics
from ganlib.evaluation.path_length import path_metrics
from ganlib.evaluation.reconstruction import Reconstructions
from ganlib.evaluation.samples import Samples
from ganlib.evaluation.text import Described
from ganlib.evaluation.translation import translation_metrics
from ganlib.methods.base import MethodConfig
from ganlib.recipe import EvaluateConfig, ExtractorName
from ganlib.sampling import Sampler, load_sampler
from pipelines.folders import FolderSamples
from pipelines.health import health_tags, verdicts_of
from pipelines.journal import Journal
from pipelines.run_folder import RunFolder

YIELDING = 10
"""How much the evaluation beside a training gives way to it (nice). Two processes of equal right on the same cores make
a training of several threads wait for the slower thread at each step: on 2 cores it ran 13 times slower. This much
leaves it a tenth of a core where all are taken. With the most there is, 19, it had a hundredth on a machine whose cores
others used too, and a training of seconds waited eight minutes for its last figures."""


def evaluate_checkpoint(
    run: RunFolder,
    checkpoint: str,
    dataset: Dataset,
    progress: Callable[[int, int], None] | None = None,
    config: EvaluateConfig | None = None,
    workers: int = 0,
    device: str | None = None,
) -> dict[str, float]:
    """The metrics of `checkpoint`, a checkpoint's name in `run`: read where it was judged before, else judged now.

    config: by whose features, on which samples and how many; as the recipe says where None. What other extractors said
    of the same samples stays beside it. workers, device: as `judge_with` has them. Recorded in the run's folder and in
    its journal. Raises UserError for a checkpoint that is damaged.
    """
    if Path(checkpoint).name != checkpoint:
        raise UserError(f"a checkpoint goes by its name alone, such as {Path(checkpoint).name}, not {checkpoint}")
    sampler = load_sampler(run.path / checkpoint)
    its_own = sampler.recipe.evaluate
    config = config or its_own
    metrics = run.evaluation(checkpoint, config) or {}
    name = extractor_name(sampler.recipe.method, dataset, config.extractor)
    distances = [metric for metric in metrics if metric.startswith("fid")]  # it may have counted beside another
    if not metrics or (name is not None and not judged_by(distances, name)):
        metrics |= judge_with(run.path / checkpoint, dataset, config, workers, progress, device)
        run.keep_evaluation(checkpoint, config, metrics)
    with Journal(run.path, "evaluate") as journal:
        journal.metrics(sampler.images_seen, metrics, checkpoint=checkpoint)
        journal.tags(health_tags(verdicts_of(run)))
    if config == its_own:  # not before: who is killed in between has it read and said again
        run.due_mark(checkpoint).unlink(missing_ok=True)
    return metrics


def judge_with(
    checkpoint: Path,
    dataset: Dataset,
    config: EvaluateConfig | None = None,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
    device: str | None = None,
) -> dict[str, float]:
    """`judge` for the generator in the folder `checkpoint`, as `config` says, or its recipe where None.

    workers: Ray processes that make the samples and take their features, on the cluster's GPUs where some are free; 0:
    this process alone, on `device` ("cpu" or "cuda"; None: on a GPU, where there is one).
    """
    device = "cpu" if workers else device or best_device()
    sampler = load_sampler(checkpoint, device)
    config = config or sampler.recipe.evaluate
    opened = open_extractor(sampler.recipe.method, dataset, config.extractor)
    if not workers or opened is None:
        return judge(sampler, dataset, progress, opened and opened.to(device), config)
    from pipelines.sharding import ShardedExtractor, ShardedSampler, processes

    with processes(workers, dataset, opened, checkpoint) as actors:
        sharded, extractor = ShardedSampler(checkpoint, actors), ShardedExtractor(opened, actors)
        return judge(sharded, dataset, progress, extractor, config)


def judge_folder(
    samples: FolderSamples,
    dataset: Dataset,
    extractor: str = "auto",
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """All metrics that there are for images that stand in a folder: of all of them. workers: as for `judge_with`; 0:
    this process, on a GPU where there is one."""
    if dataset.dtype == np.float32:
        raise UserError(f"dataset {dataset.name} is of points, with which no folder of images can be compared")
    opened = extractor_for(dataset, extractor)
    if not workers:
        return recordable(evaluate(samples, dataset, samples.count, 0, opened.to(best_device()), progress))
    from pipelines.sharding import ShardedExtractor, processes

    with processes(workers, dataset, opened) as actors:
        return recordable(evaluate(samples, dataset, samples.count, 0, ShardedExtractor(opened, actors), progress))


def open_extractor(method: MethodConfig, dataset: Dataset, name: ExtractorName = "auto") -> NetworkExtractor | None:
    """The extractor that `extractor_name` says; None for points, which are their own features. Raises UserError."""
    found = extractor_name(method, dataset, name)
    return None if found is None else extractor_for(dataset, found)


def extractor_name(method: MethodConfig, dataset: Dataset, name: ExtractorName = "auto") -> ExtractorName | None:
    """Which extractor judges what a generator of `method` makes; None for points.

    auto is the dataset's choice, but for patches of pairs and for translations: they are judged by the fixed random
    network, which any size and any part of an image suits. Raises UserError.
    """
    if dataset.dtype == np.float32:
        return None
    pairs = has_truth(method, dataset)
    if name == "classifier" and pairs:
        raise UserError("the extractor classifier reads whole images, and pairs are judged by patches; name another")
    if name != "auto":
        return name
    return "random" if pairs or _translates(method) else own_extractor(dataset)


def judge(
    sampler: Sampler,
    dataset: Dataset,
    progress: Callable[[int, int], None] | None = None,
    extractor: Extractor | None = None,
    config: EvaluateConfig | None = None,
) -> dict[str, float]:
    """All metrics that there are for what `sampler` makes, on the samples that `config` says, or its recipe where None.

    By the features of `extractor`; of the one that `config` names where it is None. Under names that MLflow takes.
    """
    return recordable(_judge(sampler, dataset, progress, extractor, config))


def _judge(
    sampler: Sampler,
    dataset: Dataset,
    progress: Callable[[int, int], None] | None,
    extractor: Extractor | None,
    config: EvaluateConfig | None,
) -> dict[str, float]:
    config, method = config or sampler.recipe.evaluate, sampler.recipe.method
    if extractor is None:
        extractor = open_extractor(method, dataset, config.extractor)
    if _translates(method):
        return translation_metrics(sampler, dataset, config.samples, config.seed, progress, extractor)
    if has_truth(method, dataset):
        return paired_metrics(sampler, dataset, config.samples, config.seed, progress, extractor=extractor)
    if "inputs" in method.wants:
        made = Reconstructions(sampler, dataset)
        count = min(config.samples, made.count)
        return evaluate(made, dataset, count, config.seed, extractor, progress) | made.metrics(count, config.seed)
    if "captions" in method.wants:
        described = Described(sampler, dataset)
        metrics = evaluate(described, dataset, config.samples, config.seed, extractor, progress)
        return metrics | described.metrics(config.samples, config.seed)
    # Other images than its own may be told no classes, or others: then its classes come in turn, none by itself.
    told = "label" in method.needs and len(dataset.class_names or ()) == sampler.recipe.data.classes
    samples: Samples = InProportion(sampler, dataset) if told else sampler
    metrics = evaluate(samples, dataset, config.samples, config.seed, extractor, progress)
    if told and extractor is not None:
        metrics |= class_distances(sampler, dataset, extractor, config.samples, config.seed)
    if extractor is not None:
        metrics |= path_metrics(sampler, extractor, config.samples, config.seed)
    return metrics


def _translates(method: MethodConfig) -> bool:
    return {"inputs", "domains"} <= method.wants


@cache
def _give_way() -> None:
    """Once a process, however often it judges; from where it is: Ray has the workers of a cluster at nice 15."""
    os.nice(YIELDING)


def evaluate_beside(run_folder: str, checkpoint: str) -> dict[str, float]:
    """The metrics of a checkpoint, judged in a process that gives way to the training on the same machine.

    On a GPU where its recipe asks for one: Ray does not hide GPUs from a process that asked for none.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    _give_way()
    run = RunFolder(Path(run_folder))
    with run.judging(checkpoint) as due:
        if not due and (metrics := run.evaluation(checkpoint)) is not None:
            return metrics  # the checkpoint itself may be gone
        device = best_device() if run.recipe().train.evaluate_gpus else "cpu"
        return evaluate_checkpoint(run, checkpoint, Dataset.open(run.facts().dataset_path), device=device)
