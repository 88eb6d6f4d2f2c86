"""LPIPS: how different two images look, by the features of a network of photographs.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (arXiv 1801.03924), eq. 1,
version 0.1 with VGG-16: at each of five layers the features of a place, brought to length 1; the squares of their
differences, weighted channel by channel by what people's judgements taught; their mean over places, summed over layers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ganlib.errors import UserError
from ganlib.evaluation.extractor import in_colour
from ganlib.evaluation.names import label_of
from ganlib.evaluation.weights import PublishedWeights

VGG16 = PublishedWeights(
    "vgg16",
    "vgg16-397923af.pth",
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
)
LINEAR = PublishedWeights(
    "lpips",
    "weights-vgg16-lpips.pth",
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth",
    "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
)
LAYERS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
"""Of torchvision's VGG-16: its convolutions between one pooling and the next, the last of each being looked at."""
LEAST_SIDE = 16
"""Pixels a side that four poolings leave something of."""
BLOCK = 16
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPSILON = 1e-10


class Lpips:
    """state: torchvision's VGG-16 by its names; linear: `linN.model.1.weight` [1, channels, 1, 1] of each layer.

    digest: SHA-256 in hex of what they are. Raises KeyError where some are missing.
    """

    def __init__(self, state: Mapping[str, Tensor], linear: Mapping[str, Tensor], digest: str):
        self.label = label_of("vgg16", digest)
        self._layers = [
            [(state[f"features.{number}.weight"].float(), state[f"features.{number}.bias"].float()) for number in stage]
            for stage in LAYERS
        ]
        self._weights = [linear[f"lin{layer}.model.1.weight"].float() for layer in range(len(LAYERS))]

    @torch.inference_mode()
    def distances(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
        """uint8 [n, H, W, 1 or 3] twice, `LEAST_SIDE` and more a side -> float64 [n], 0 where they are alike."""
        found = []
        for first in range(0, len(a), BLOCK):
            pair = (self._maps(side[first : first + BLOCK]) for side in (a, b))
            layers = zip(*pair, self._weights, strict=True)
            apart = [F.conv2d((x - y).square(), weight).mean((1, 2, 3)) for x, y, weight in layers]
            found.append(torch.stack(apart).sum(0).double())
        return torch.cat(found).numpy()

    def _maps(self, images: NDArray[np.uint8]) -> list[Tensor]:
        """Of each layer [n, channels, h, w], of length 1 at each place."""
        x = in_colour(torch.from_numpy(images)).float().permute(0, 3, 1, 2) / 127.5 - 1
        x = (x - torch.tensor(_SHIFT).view(3, 1, 1)) / torch.tensor(_SCALE).view(3, 1, 1)
        maps = []
        for number, stage in enumerate(self._layers):
            x = F.max_pool2d(x, 2) if number else x
            for weight, bias in stage:
                x = F.conv2d(x, weight, bias, padding=1).relu_()
            maps.append(x / (x.square().sum(1, keepdim=True).sqrt() + _EPSILON))
        return maps


def find_lpips() -> Lpips | None:
    """With the weights that are on this machine; None where they are not, for half a gigabyte is not fetched unasked.

    They are in torch's folder, or where GAN_WEIGHTS_VGG16 and GAN_WEIGHTS_LPIPS say. Raises UserError for a file that a
    person named and that holds anything else.
    """
    found = [weights.present() for weights in (VGG16, LINEAR)]
    if None in found:
        return None
    (vgg16, one), (linear, other) = (place for place in found if place is not None)
    return load_lpips(vgg16, linear, hashlib.sha256(f"{one} {other}".encode()).hexdigest())


def load_lpips(vgg16: Path, linear: Path, digest: str) -> Lpips:
    """Of two files of torch's. Raises UserError where they hold anything else."""
    try:
        # weights_only: a pickle from elsewhere must not run its code here.
        state, layers = (torch.load(path, map_location="cpu", weights_only=True) for path in (vgg16, linear))
        return Lpips(state, layers, digest)
    except Exception as error:  # torch's reader raises nearly anything on a broken file
        raise UserError(
            f"{vgg16} and {linear} hold no weights of LPIPS ({type(error).__name__}): VGG-16 as torchvision has it, "
            f"and its linear layers; name others with {VGG16.variable} and {LINEAR.variable}, or remove them"
        ) from error
