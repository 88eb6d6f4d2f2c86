"""Evaluation over real Ray processes: any number of them gives the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ganlib.data import Columns, Dataset, Preparation, open_source, prepare_dataset
from ganlib.errors import UserError
from ganlib.evaluation.extractors import RandomExtractor
from ganlib.evaluation.names import metric_value
from ganlib.networks.base import ImageShape
from ganlib.recipe import EvaluateConfig, Recipe
from ganlib.training.checkpoint import Progress, Snapshot
from pipelines.cluster import connect
from pipelines.evaluate import judge_with
from pipelines.sharding import ShardedExtractor, ShardedSampler, gpu_share, processes
from pipelines.shipped import find_recipe
from tests.ganlib.captioned import bars
from tests.ganlib.conftest import trained_sampler
from tests.ganlib.domains_data import digits_in_domains
from tests.ganlib.test_stargan import tiny as stargan
from tests.ganlib.test_text_to_image import TINY as TEXT

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


@pytest.mark.parametrize("told", ["domains", "captions"])
def test_what_samples_are_told_is_dealt_out_with_them(told: str, tmp_path: Path) -> None:
    """Inputs and domains, captions: three processes say what this one says alone."""
    if told == "domains":
        dataset = digits_in_domains(tmp_path, 16, 1, 3, count=300)
        recipe = stargan("train.images=25")
    else:
        dataset = bars(tmp_path, Columns(captions=True))
        recipe = Recipe.parse(yaml.safe_load(TEXT), ["train.images=50"])
    trained_sampler(recipe, dataset, tmp_path)
    config = EvaluateConfig(samples=100, extractor="random")
    alone, shared = (judge_with(tmp_path / "checkpoint", dataset, config, workers) for workers in (0, 3))
    assert alone.keys() == shared.keys()
    assert shared == pytest.approx(alone, rel=1e-3, abs=1e-4)  # networks round otherwise in blocks of another size


def test_free_gpus_are_shared_by_as_many_to_each() -> None:
    shares = {(0, 4): 0, (0.5, 1): 0, (1, 1): 1, (8, 4): 1, (2, 4): 0.5, (2, 3): 0.5, (3, 7): 0.3333, (1, 7): 0.1428}
    assert {asked: gpu_share(*asked) for asked in shares} == shares
    for free, count in shares:
        if share := gpu_share(free, count):  # each lies on one GPU whole
            assert int(free) * int(1 / share) >= count


def test_a_cluster_that_is_too_small_is_said_at_once(dataset: Dataset, checkpoint: Path) -> None:
    """The fixture's has a CPU each for seven, and one to spare."""
    with pytest.raises(UserError, match="9 workers take a CPU each, and the cluster has 8 CPUs; lower --workers"):
        judge_with(checkpoint, dataset, EvaluateConfig(extractor="random"), 9)


def test_what_a_process_raises_comes_out_as_itself(dataset: Dataset, checkpoint: Path, tmp_path: Path) -> None:
    """A person's mistake in its one line, a fault of the program as such; memory has to do with neither."""
    extractor = RandomExtractor(ImageShape(16, 16, 1))
    with pytest.raises(UserError) as opened, processes(1, dataset, extractor, tmp_path):
        pass
    assert str(opened.value).startswith(f"{tmp_path} is not a checkpoint: ")
    with pytest.raises(UserError) as sampled, processes(1, dataset, extractor, checkpoint) as actors:
        ShardedSampler(checkpoint, actors).sample(100, labels=[10] * 100)  # there are ten, from 0 on
    for raised in (opened, sampled):
        assert type(raised.value) is UserError
        assert "\n" not in str(raised.value)
        assert "memory" not in str(raised.value)
    with pytest.raises(TypeError) as broken, processes(1, dataset, extractor) as actors:
        ShardedExtractor(extractor, actors).features(np.array(["no image"]))
    assert not isinstance(broken.value, UserError)


def test_a_process_that_is_lost_is_said_to_be(dataset: Dataset) -> None:
    import ray

    extractor = RandomExtractor(ImageShape(16, 16, 1))

    def lose_one() -> None:
        with processes(1, dataset, extractor) as actors:
            ray.kill(actors[0])
            ShardedExtractor(extractor, actors).features(np.zeros((40, 16, 16, 1), np.uint8))

    with pytest.raises(UserError, match="a process of Ray's was lost while it judged"):
        lose_one()
