"""What turns images into the features that distances are taken of. Its name is part of every metric's name."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ganlib.data.batches import normalise
from ganlib.data.dataset import Dataset
from ganlib.draws import stream_generator
from ganlib.evaluation.classifier import load_classifier
from ganlib.networks.base import ImageShape

BLOCK = 500


class Extractor(Protocol):
    """`name` goes into the metric's name, `digest` tells apart what must not be compared."""

    name: str
    digest: str

    def features(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """uint8 [n, H, W, C] -> (float64 [n, features], float64 [n, classes] probabilities or None)."""


class ClassifierExtractor:
    """The features and the class probabilities of the dataset's own classifier."""

    name = "classifier"

    def __init__(self, dataset: Dataset):
        self.network = load_classifier(dataset)
        assert dataset.manifest.classifier is not None
        self.digest = dataset.manifest.classifier.sha256

    @torch.no_grad()
    def features(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        features, probabilities = [], []
        for first in range(0, len(images), BLOCK):
            found, logits = self.network(normalise(torch.from_numpy(images[first : first + BLOCK])))
            features.append(found.double())
            probabilities.append(torch.softmax(logits.double(), 1))
        return torch.cat(features).numpy(), torch.cat(probabilities).numpy()


class RandomExtractor:
    """A fixed random network (weights from a seed, never trained): for images without labels.

    Three 3x3 convolutions of stride 2 with ReLU; the mean and the standard deviation over space of each map are the
    features (2 * (32 + 64 + 128) = 448). What it finds alike need not look alike; its name says what it is.
    """

    name = "random"

    def __init__(self, image: ImageShape):
        generator = stream_generator("cpu", 0, "random-extractor", image.channels)
        widths = [image.channels, 32, 64, 128]
        self.layers: list[Tensor] = []
        for inputs, outputs in pairwise(widths):
            weight = torch.empty(outputs, inputs, 3, 3)
            self.layers.append(nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator))
        self.digest = hashlib.sha256(b"".join(w.numpy().tobytes() for w in self.layers)).hexdigest()

    @torch.no_grad()
    def features(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        features = []
        for first in range(0, len(images), BLOCK):
            x = normalise(torch.from_numpy(images[first : first + BLOCK]))
            found = []
            for weight in self.layers:
                x = torch.relu(nn.functional.conv2d(x, weight, stride=2, padding=1))
                found += [x.mean((2, 3)), x.std((2, 3), correction=0)]  # a map may be a single pixel
            features.append(torch.cat(found, 1).double())
        return torch.cat(features).numpy(), None


def extractor_for(dataset: Dataset) -> Extractor:
    """The dataset's classifier where it has one, else the fixed random network."""
    if dataset.manifest.classifier is not None:
        return ClassifierExtractor(dataset)
    return RandomExtractor(ImageShape(*dataset.image_shape))
