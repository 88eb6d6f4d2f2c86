"""Evaluation over real Ray processes: any number of them gives the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ganlib.data import Dataset, Preparation, open_source, prepare_dataset
from ganlib.evaluation.names import metric_value
from ganlib.recipe import EvaluateConfig, Recipe
from ganlib.training.checkpoint import Progress, Snapshot
from pipelines.cluster import connect
from pipelines.evaluate import judge_with
from pipelines.shipped import find_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    import ray

    connect(7, object_store_bytes=200 << 20)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare_dataset(
        open_source("digits"), Preparation(size=16, channels=1), tmp_path_factory.mktemp("data"), "digits"
    )


@pytest.fixture(scope="module")
def checkpoint(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained generator: what it makes is judged as anything is."""
    small = ["method.generator.width=8", "method.discriminator.width=8"]
    recipe: Recipe = find_recipe("digits", small)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = recipe.method.build(recipe.shape)
    snapshot = Snapshot.take(
        recipe, Progress(images=0, rounds=0), dataset.digest, method.generator, None, method.discriminator, {}, {}
    )
    return snapshot.write(tmp_path_factory.mktemp("run") / "checkpoint-000000000000")


def test_one_two_and_seven_processes_give_the_same_numbers(dataset: Dataset, checkpoint: Path) -> None:
    config = EvaluateConfig(samples=300, extractor="random")
    found = [judge_with(checkpoint, dataset, config, workers) for workers in (1, 2, 7)]
    alone = judge_with(checkpoint, dataset, config)
    fid = metric_value(found[0], "fid/random")
    for metrics in found[1:]:
        assert metrics.keys() == found[0].keys()
        assert metric_value(metrics, "fid/random") == pytest.approx(fid, rel=1e-9)
        assert metrics == pytest.approx(found[0], rel=1e-9)
    # Without Ray blocks are larger, and networks round otherwise in blocks of another size.
    assert metric_value(alone, "fid/random") == pytest.approx(fid, rel=1e-4)
