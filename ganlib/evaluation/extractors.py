"""The feature extractors that there are, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from ganlib.data.dataset import Dataset
from ganlib.errors import UserError
from ganlib.evaluation.classifier import ClassifierExtractor
from ganlib.evaluation.extractor import Extractor, NetworkExtractor
from ganlib.evaluation.inception import InceptionExtractor
from ganlib.evaluation.instances import InstanceExtractor
from ganlib.evaluation.pretrained import ClipExtractor, DinoExtractor
from ganlib.evaluation.random_network import RandomExtractor
from ganlib.networks.base import ImageShape
from ganlib.recipe import ExtractorName

__all__ = ["ClassifierExtractor", "Extractor", "InstanceExtractor", "RandomExtractor", "extractor_for"]

_MAKERS: dict[str, Callable[[Dataset], NetworkExtractor]] = {
    "classifier": ClassifierExtractor,
    "instances": InstanceExtractor,
    "random": lambda dataset: RandomExtractor(ImageShape(*dataset.image_shape)),
    "inception": lambda dataset: InceptionExtractor("inception"),
    "inception-clean": lambda dataset: InceptionExtractor("inception-clean"),
    "clip": lambda dataset: ClipExtractor(),
    "dinov2": lambda dataset: DinoExtractor(),
}


def own_extractor(dataset: Dataset) -> ExtractorName:
    """The dataset's classifier where it has one, else the network trained on its images without labels."""
    return "classifier" if dataset.manifest.classifier is not None else "instances"


def extractor_for(dataset: Dataset, name: str = "auto") -> NetworkExtractor:
    """The extractor of that name for the images of `dataset`, on the CPU.

    auto: the dataset's own. Raises UserError for a name that there is not, and where the extractor cannot be had.
    """
    if name == "auto":
        name = own_extractor(dataset)
    if name not in _MAKERS:
        raise UserError(f"there is no extractor {name!r}; there are: {', '.join(get_args(ExtractorName))}")
    return _MAKERS[name](dataset)
