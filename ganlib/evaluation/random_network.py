"""A fixed random network, for images of which nothing else is known."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from ganlib.data.batches import normalise
from ganlib.draws import stream_generator
from ganlib.evaluation.extractor import Extractor
from ganlib.networks.base import ImageShape

BLOCK = 500


class RandomExtractor(Extractor):
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
