"""The stage that turns a source into a dataset, and trains the network that judges its samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from ganlib.data import Dataset, Source, open_source, prepare_dataset
from ganlib.data.storage import Location
from ganlib.errors import UserError
from ganlib.evaluation.classifier import train_classifier
from ganlib.evaluation.instances import train_instances
from ganlib.files import canonical_digest
from ganlib.recipe import DataConfig, Recipe
from pipelines.cluster import named_cluster
from pipelines.console import Progress
from pipelines.ray_mapper import RayMapper
from pipelines.run_folder import Home
from pipelines.shipped import find_recipe, is_recipe

FOR_RAY = 1 << 30
"""Bytes of prepared images from which on a preparation is worth Ray's start; below it this process does it alone."""

ANY_IMAGES = {"size": 64, "channels": 3}
"""What `gan prepare NAME` makes of a source where NAME is no recipe and nothing else is said."""


@dataclass(frozen=True)
class DatasetRequest:
    """A dataset that a command needs: prepared already (`source` is its folder, URL or name), or to be prepared.

    name: what it is called; None takes it under any name that it was prepared by, else calls it after the source, so
    that recipes that want the same images of a source share one dataset. workers: processes that prepare, on Ray; 0:
    this process alone; None: as its size asks for, and as many as there are cores. extractor: whose features will
    judge samples.
    """

    data: DataConfig
    home: Home
    source: str | None = None
    name: str | None = None
    store: str | None = None
    workers: int | None = None
    extractor: str = "auto"

    def find(self) -> Dataset | None:
        """The dataset where `source` names one that is prepared: its folder or URL, or the name of one in the store."""
        if self.source is None:
            return None
        place = Location.of(self.source)
        if "://" in self.source or place.kind() is not None:
            return Dataset.open(place) if (place / "manifest.json").kind() == "file" else None
        return self.find_by_name()

    def find_by_name(self) -> Dataset | None:
        """The dataset of that name in the store, whatever else is called so: a folder of images beside the person."""
        found = [place for place in datasets_in(self.into) if place.name.rpartition("-")[0] == self.source]
        if len(found) > 1:
            names = ", ".join(place.name for place in found)
            raise UserError(f"{self.source} may be {names}; name the one that is meant by its whole path")
        return Dataset.open(found[0]) if found else None

    @property
    def into(self) -> Location:
        """Where datasets lie."""
        return Location.of(self.store or self.home.datasets)

    def open_source(self) -> Source:
        """The source that is named, or the one that the recipe reads where none is. Raises UserError."""
        return open_source(self.data.source if self.source is None else self.source, self.data.read)

    def fingerprint(self) -> str:
        """What stands for the outcome before it is there. Raises UserError."""
        dataset = self.find()
        if dataset is not None:
            return dataset.digest
        source = self.open_source()
        values = [source.fingerprint(), source.kind, self.data.preparation.model_dump(mode="json"), str(self.into)]
        return canonical_digest([*values, self.name])

    def prepare(self) -> Dataset:
        """The dataset, prepared now or found prepared, with the networks that will judge. Raises UserError."""
        dataset = self.find()
        if dataset is None:
            source, preparation = self.open_source(), self.data.preparation
            size = len(source.names) * prod(preparation.image_shape)
            on_ray = size >= FOR_RAY or named_cluster() is not None if self.workers is None else self.workers > 0
            mapper = RayMapper(self.workers) if on_ray else None
            with Progress("prepare") as progress:
                dataset = prepare_dataset(source, preparation, self.into, self.name, progress.update, mapper)
        with Progress("classifier") as progress:
            dataset = train_classifier(dataset, progress.update)
        if self._needs_instances(dataset):
            with Progress("judge") as progress:
                train_instances(dataset, progress.update)
        return dataset

    def _needs_instances(self, dataset: Dataset) -> bool:
        """Whether the network without labels will judge: it takes minutes, and who wants it later has it at once."""
        # Where there are pairs and domains, "auto" is as a rule another.
        others = dataset.manifest.classifier or dataset.columns.partner or dataset.columns.domain_names
        return self.extractor == "instances" or (self.extractor == "auto" and not others)


def data_of(name: str, overrides: Iterable[str]) -> tuple[DataConfig, str]:
    """What `gan prepare NAME` is to make, and what it is called: a recipe's data, by the recipe's name; where there is
    no such recipe, what the overrides say, by NAME. Raises UserError.
    """
    if is_recipe(name):
        recipe = find_recipe(name, overrides)
        return recipe.data, recipe.name
    return Recipe.parse_data({"data": ANY_IMAGES}, overrides), name


def datasets_in(store: Location) -> list[Location]:
    """The prepared datasets in a store, by name."""
    if store.kind() is None:
        return []
    entries = (entry for entry in store.list() if entry.folder and not entry.name.startswith("."))
    places = sorted((store / entry.name for entry in entries), key=lambda place: place.name)
    return [place for place in places if (place / "manifest.json").kind() == "file"]
