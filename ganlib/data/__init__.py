"""Images as people have them, prepared once into a dataset that training reads by memory map."""

from ganlib.data.columns import Columns
from ganlib.data.dataset import Dataset, Split
from ganlib.data.manifest import ClassifierRecord, Manifest
from ganlib.data.preparation import Preparation
from ganlib.data.prepare import prepare_dataset
from ganlib.data.reading import Reading
from ganlib.data.sources import Source, open_source

__all__ = [
    "ClassifierRecord",
    "Columns",
    "Dataset",
    "Manifest",
    "Preparation",
    "Reading",
    "Source",
    "Split",
    "open_source",
    "prepare_dataset",
]
