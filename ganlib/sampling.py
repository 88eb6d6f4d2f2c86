"""Sampling from a checkpoint, without its discriminator: what is evaluated, published and drawn."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganlib.errors import UserError
from ganlib.files import atomic_folder
from ganlib.methods.base import SampleRequest
from ganlib.precision import exact
from ganlib.recipe import Recipe
from ganlib.training.checkpoint import Contents, read_checkpoint, read_contents

MAX_SEED = 2**63 - 1


class Sampler:
    """The generator of a checkpoint: its moving average where it has one.

    On each device of its own the same seed gives the same images; a GPU rounds otherwise than a CPU does.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu"):
        contents = read_contents(folder)
        self.stem = "generator_ema" if "generator_ema.safetensors" in contents.files else "generator"
        state = read_checkpoint(folder, stems=(self.stem,))
        self.recipe: Recipe = state.recipe
        self.images_seen = state.progress.images
        self.device = torch.device(device)
        # No memory and no time for weights that the checkpoint brings, nor for a discriminator that nobody asks.
        with torch.device("meta"):
            self.method = self.recipe.method.build(self.recipe.shape)
        self.generator = self.method.generator.to_empty(device=self.device)
        state.load_into(self.generator, self.stem, folder)
        self.generator.requires_grad_(False).to(memory_format=torch.channels_last)

    def sample(self, count: int, seed: int = 0, first: int = 0, interpolate: int = 0, **told: Any) -> np.ndarray:
        """uint8 [count, H, W, C]: images `first ...` of the sequence that `seed` stands for.

        interpolate, and what is told of each image by name (labels, inputs, domains, captions, boxes, keypoints), are
        as a SampleRequest has them; sequences will do. Raises UserError for what this generator cannot do.
        """
        request = SampleRequest(count, seed, first, interpolate=interpolate, **told)
        request = checked(request, self.recipe)
        with exact(self.device):
            return self.method.sample(self.generator, request).numpy()


def checked(request: SampleRequest, recipe: Recipe) -> SampleRequest:
    """The request in the types that a method expects. Raises UserError where the recipe's generator cannot serve it."""
    count = request.count
    if count < 1 or request.first < 0 or not 0 <= request.seed <= MAX_SEED:
        raise UserError(
            f"cannot sample {count} images from number {request.first} on with seed {request.seed}: "
            "ask for at least one, from number 0 on, with a seed from 0 to 2^63 - 1"
        )
    for name in sorted(request.told - recipe.method.takes):
        raise UserError(f"the generator of {recipe.name} takes no {name}; leave the {name} out")
    for name in sorted(recipe.method.wants - request.told):
        raise UserError(f"the generator of {recipe.name} makes images of {name}; give some for each image")
    if request.dropout is not None and not recipe.method.drops_out:
        raise UserError(f"the generator of {recipe.name} has no dropout in sampling; leave the dropout out")
    if request.interpolate and not request.told & {"inputs", "captions"}:
        raise UserError("to interpolate is to go from one input image, or one caption, to the next; give some")
    if request.interpolate and not recipe.method.interpolates:
        raise UserError(f"the generator of {recipe.name} has nothing between two inputs; leave interpolate out")
    arrays = {
        "inputs": (request.inputs, np.uint8, recipe.image),
        "domains": (request.domains, np.uint8, (recipe.data.domains,)),
        "boxes": (request.boxes, np.float32, (4,)),
        "keypoints": (request.keypoints, np.float32, (recipe.data.keypoints, 3)),
    }
    ready: dict[str, Any] = {}
    for name, (value, dtype, shape) in arrays.items():
        if value is not None:
            ready[name] = _array(name, np.asarray(value), np.dtype(dtype), (count, *shape))
    if request.labels is not None:
        ready["labels"] = tuple(int(label) for label in request.labels)
        if len(ready["labels"]) != count or not all(0 <= label < recipe.data.classes for label in ready["labels"]):
            raise UserError(f"give one label from 0 to {recipe.data.classes - 1} for each of the {count} images")
    if request.captions is not None:
        ready["captions"] = tuple(request.captions)
        if len(ready["captions"]) != count or not all(text.strip() for text in ready["captions"]):
            raise UserError(f"give one caption, of a word at least, for each of the {count} images")
    if "domains" in ready and ready["domains"].max(initial=0) > 1:
        raise UserError("a domain is set, 1, or not, 0")
    if "boxes" in ready:
        _check_boxes(ready["boxes"])
    if "keypoints" in ready and not ((ready["keypoints"] >= 0) & (ready["keypoints"] <= 1)).all():
        raise UserError("keypoints are x and y as shares of the image's sides, and 1 where the part is there, else 0")
    request = replace(request, **ready)
    recipe.method.check_request(request)
    return request


def _array(name: str, value: np.ndarray, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    fits = value.dtype == dtype or (dtype == np.float32 and np.issubdtype(value.dtype, np.floating))
    if not fits or value.shape != shape:
        found, asked = ("x".join(map(str, one)) for one in (value.shape, shape))
        raise UserError(f"the {name} are {value.dtype} {found}, and have to be {dtype} {asked}")
    return value.astype(dtype, copy=False)


def _check_boxes(boxes: np.ndarray) -> None:
    """Raises UserError for a box that is empty or leaves the canvas."""
    x, y, width, height = boxes.T
    inside = (x >= 0) & (y >= 0) & (width > 0) & (height > 0) & (x + width <= 1 + 1e-6) & (y + height <= 1 + 1e-6)
    if not inside.all():
        bad = ",".join(f"{number:g}" for number in boxes[int(np.argmin(inside))])
        raise UserError(f"the box {bad} (x, y, width, height as shares of the sides) is not inside the canvas")


def load_sampler(folder: Path, device: torch.device | str = "cpu") -> Sampler:
    """Opens a checkpoint, or what `export_generator` made of one. Raises UserError where it is damaged."""
    return Sampler(folder, device)


def export_generator(checkpoint: Path, folder: Path) -> None:
    """Copies what sampling needs of a checkpoint, and no more, into `folder`; itself a checkpoint to `load_sampler`."""
    sampler = Sampler(checkpoint)
    contents = read_contents(checkpoint)
    kept = ["recipe.yaml", f"{sampler.stem}.safetensors"]
    smaller = Contents(**{**contents.model_dump(), "files": {name: contents.files[name] for name in kept}})
    with atomic_folder(folder) as temporary:
        for name in kept:
            shutil.copyfile(checkpoint / name, temporary / name)
        (temporary / "progress.json").write_text(smaller.model_dump_json(indent=2))
