"""Real handwriting at the sizes that the networks want, and a recipe so small that a step takes milliseconds."""

from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Literal

import pytest
import torch

from ganlib.data import Dataset, Preparation, open_source, prepare_dataset
from ganlib.recipe import Recipe
from ganlib.sampling import Sampler, load_sampler
from ganlib.training.checkpoint import Snapshot, State
from ganlib.training.trainer import Trainer

TINY = """
name: tiny
data: {size: 16, channels: 1}
method:
  generator: {kind: convnet, width: 4, widest: 8}
  discriminator: {kind: convnet, width: 4, widest: 8}
  latent: {dim: 6}
optim:
  generator: {kind: adam, lr: 1.0e-3, betas: [0.5, 0.99]}
  discriminator: {kind: adam, lr: 1.0e-3, betas: [0.5, 0.99]}
  ema_half_life: 100
train: {batch: 16, images: 640, tick: 160}
"""
DROPOUT = "method.discriminator={kind: mlp, widths: [16], pieces: 2}"
BATCH_NORM = "method.discriminator={kind: dcgan, width: 4}"
"""Overrides of it, each a discriminator of its kind."""


def tiny_recipe(folder: Path, *overrides: str) -> Recipe:
    """The recipe above, from a file in `folder`, with fields overridden."""
    path = folder / "tiny.yaml"
    path.write_text(TINY)
    return Recipe.load(path, overrides)


def trained_sampler(recipe: Recipe, dataset: Dataset, folder: Path) -> Sampler:
    """What samples the checkpoint, in `folder`, that the recipe's training ends with."""
    trainer = Trainer(recipe, dataset)
    for _ in trainer.run():
        pass
    return load_sampler(trainer.snapshot().write(folder / "checkpoint"))


def assert_equal(ours: Snapshot | State, theirs: Snapshot | State) -> None:
    """The same weights, averages, optimizer states and counts, bit for bit."""
    assert ours.progress.model_copy(update={"seconds": 0}) == theirs.progress.model_copy(update={"seconds": 0})
    assert ours.tensors.keys() == theirs.tensors.keys()
    for stem, tensors in ours.tensors.items():
        assert tensors.keys() == theirs.tensors[stem].keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, theirs.tensors[stem][name]), f"{stem}: {name}"


def _digits(into: Path, size: int, channels: Literal[1, 3]) -> Dataset:
    return prepare_dataset(open_source("digits"), Preparation(size=size, channels=channels), into, "digits")


@pytest.fixture(scope="session")
def forkserver() -> ForkServerContext:
    """Starts processes, each forked from one that has imported, once, what takes seconds to import."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["pytest", "ganlib", "torch._dynamo", "torch.distributed"])
    return context


@pytest.fixture(scope="session")
def digits16(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return _digits(tmp_path_factory.mktemp("digits16"), 16, 1)


@pytest.fixture(scope="session")
def digits28(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return _digits(tmp_path_factory.mktemp("digits28"), 28, 1)


@pytest.fixture(scope="session")
def digits48(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return _digits(tmp_path_factory.mktemp("digits48"), 48, 3)
