"""A library for generative adversarial networks: PyTorch and pyarrow, usable from a notebook.

    from pathlib import Path
    from ganlib import Preparation, Recipe, Trainer, open_source, prepare_dataset

    recipe = Recipe.load(Path("pipelines/recipes/digits.yaml"))
    dataset = prepare_dataset(open_source("digits"), Preparation(size=16, channels=1), Path("datasets"), "digits")
    trainer = Trainer(recipe, dataset)
    for tick in trainer.run():
        print(tick.images_seen, tick.metrics)
    images = trainer.sample(64)   # uint8 [64, 16, 16, 1]

The names below are imported when they are first asked for: torch takes seconds, and `gan --help` has no use for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganlib.data import Dataset, Preparation, open_source, prepare_dataset
    from ganlib.errors import UserError
    from ganlib.evaluation.classifier import train_classifier
    from ganlib.evaluation.evaluate import evaluate
    from ganlib.recipe import Recipe
    from ganlib.sampling import load_sampler
    from ganlib.training.trainer import Tick, Trainer

_HOMES = {
    "Dataset": "ganlib.data",
    "Preparation": "ganlib.data",
    "Recipe": "ganlib.recipe",
    "Tick": "ganlib.training.trainer",
    "Trainer": "ganlib.training.trainer",
    "UserError": "ganlib.errors",
    "evaluate": "ganlib.evaluation.evaluate",
    "load_sampler": "ganlib.sampling",
    "open_source": "ganlib.data",
    "prepare_dataset": "ganlib.data",
    "train_classifier": "ganlib.evaluation.classifier",
}

__all__ = [
    "Dataset",
    "Preparation",
    "Recipe",
    "Tick",
    "Trainer",
    "UserError",
    "evaluate",
    "load_sampler",
    "open_source",
    "prepare_dataset",
    "train_classifier",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ganlib' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
