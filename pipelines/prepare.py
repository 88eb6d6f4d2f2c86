"""The stage that turns a source into a dataset, and trains its classifier where it has labels."""

from __future__ import annotations

from ganlib.data import Dataset, Preparation, Source, open_source, prepare_dataset
from ganlib.evaluation.classifier import train_classifier
from ganlib.recipe import Recipe
from pipelines.console import Progress
from pipelines.run_folder import Home


def open_recipe_source(recipe: Recipe, source: str | None, kind: str | None) -> Source:
    """The source that is named, or the one that the recipe reads where none is. Raises UserError."""
    if source is None and kind is None:
        kind = recipe.data.source
    return open_source(source, kind)


def preparation_of(recipe: Recipe) -> Preparation:
    """What the recipe's images are prepared to."""
    return Preparation(size=recipe.data.size, channels=recipe.data.channels)


def prepare(source: Source, preparation: Preparation, home: Home) -> Dataset:
    """The dataset of `source`, prepared now or found prepared, with its classifier. Raises UserError."""
    with Progress("prepare") as progress:
        dataset = prepare_dataset(source, preparation, home.datasets, source.name, progress.update)
    with Progress("classifier") as progress:
        return train_classifier(dataset, progress.update)
