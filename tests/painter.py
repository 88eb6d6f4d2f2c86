"""A method that paints what it is told: of every image a test can read the seed, the index, and all else."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ganlib.methods.base import DataShape, Method, MethodConfig, SampleRequest
from ganlib.recipe import Recipe
from ganlib.sampling import Sampler


class PainterConfig(MethodConfig):
    """wanted: what it has to be told. taken: what it may be told beside."""

    kind: Literal["painter"]
    wanted: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()

    @property
    def wants(self) -> frozenset[str]:
        return frozenset(self.wanted)

    @property
    def takes(self) -> frozenset[str]:
        return self.wants | frozenset(self.taken)

    def build(self, data: DataShape) -> Painter:
        return Painter(data)


class Painter(Method):
    """Images of the inputs, or of 100s, in whose uppermost rows stand, left to right:

    0: seed, index, label, number of the caption's bytes. 1: domains. 2: 200 times the box. 3: 200 times the keypoints.
    """

    def __init__(self, data: DataShape):
        super().__init__()
        self.generator, self.shape = nn.Identity(), data.image

    def sample(self, generator: nn.Module, request: SampleRequest) -> Tensor:
        shape = (request.count, self.shape.height, self.shape.width, self.shape.channels)
        images = np.full(shape, 100, np.uint8)
        if request.inputs is not None:
            images[:] = request.inputs
        for i, image in enumerate(images):
            label = 0 if request.labels is None else request.labels[i]
            text = "" if request.captions is None else request.captions[i]
            image[0, :4] = np.array([request.seed, request.first + i, label, len(text.encode())])[:, None]
            for row, values, factor in (
                (1, request.domains, 1),
                (2, request.boxes, 200),
                (3, request.keypoints, 200),
            ):
                if values is not None:
                    numbers = np.round(np.asarray(values[i], np.float64) * factor).ravel()
                    image[row, : len(numbers)] = numbers[:, None]
        return torch.tensor(images)


class PaintingRecipe(Recipe):
    method: PainterConfig  # type: ignore[assignment]


def painting(wanted: tuple[str, ...] = (), taken: tuple[str, ...] = (), **data: Any) -> Sampler:
    """The sampler of a painter of 16x16x1 images (or what `data`, fields of DataConfig, says), as of a checkpoint."""
    recipe = PaintingRecipe.parse(
        {
            "name": "painter",
            "data": {"size": 16, "channels": 1, **data},
            "method": {"kind": "painter", "wanted": wanted, "taken": taken},
            "optim": {name: {"kind": "adam", "lr": 1e-3} for name in ("generator", "discriminator")},
            "train": {"batch": 4, "images": 100},
        }
    )
    sampler = Sampler.__new__(Sampler)
    sampler.recipe, sampler.method = recipe, recipe.method.build(recipe.shape)
    sampler.generator, sampler.device, sampler.images_seen = sampler.method.generator, torch.device("cpu"), 0
    return sampler
