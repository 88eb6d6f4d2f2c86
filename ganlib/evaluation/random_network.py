"""A fixed random network, for images of which nothing else is known."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import torch
from torch import Tensor, nn

from ganlib.data.batches import normalise
from ganlib.draws import stream_generator
from ganlib.evaluation.extractor import NetworkExtractor
from ganlib.networks.base import ImageShape


class RandomExtractor(NetworkExtractor):
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

    def look(self, images: Tensor) -> tuple[Tensor, None]:
        x, found = normalise(images), []
        for weight in self.layers:
            x = torch.relu(nn.functional.conv2d(x, weight, stride=2, padding=1))
            found += [x.mean((2, 3)), x.std((2, 3), correction=0)]  # a map may be a single pixel
        return torch.cat(found, 1), None

    def _move(self) -> None:
        self.layers = [weight.to(self.device) for weight in self.layers]
