"""The feature extractors that there are, by name."""

from __future__ import annotations

from ganlib.data.dataset import Dataset
from ganlib.evaluation.classifier import ClassifierExtractor
from ganlib.evaluation.extractor import Extractor
from ganlib.evaluation.random_network import RandomExtractor
from ganlib.networks.base import ImageShape

__all__ = ["ClassifierExtractor", "Extractor", "RandomExtractor", "extractor_for"]


def extractor_for(dataset: Dataset) -> Extractor:
    """The dataset's classifier where it has one, else the fixed random network."""
    if dataset.manifest.classifier is not None:
        return ClassifierExtractor(dataset)
    return RandomExtractor(ImageShape(*dataset.image_shape))
