"""A library for generative adversarial networks: PyTorch and pyarrow, usable from a notebook.

    from pathlib import Path
    from ganlib import Preparation, Recipe, Trainer, open_source, prepare_dataset

    recipe = Recipe.load(Path("digits.yaml"))
    dataset = prepare_dataset(open_source("digits"), Preparation(size=16, channels=1), Path("datasets"), "digits")
    trainer = Trainer(recipe, dataset)
    for tick in trainer.run():
        print(tick.images_seen, tick.metrics)
    images = trainer.sample(64)   # uint8 [64, 16, 16, 1]
"""

from ganlib.data import Dataset, Preparation, open_source, prepare_dataset
from ganlib.errors import UserError
from ganlib.evaluation.classifier import train_classifier
from ganlib.evaluation.evaluate import evaluate
from ganlib.recipe import Recipe
from ganlib.sampling import load_sampler
from ganlib.training.trainer import Tick, Trainer

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
