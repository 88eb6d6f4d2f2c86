"""Sampling from a checkpoint, without its discriminator: what is evaluated, published and drawn."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ganlib.errors import UserError
from ganlib.files import atomic_folder
from ganlib.methods.base import SampleRequest
from ganlib.recipe import Recipe
from ganlib.training.checkpoint import Contents, read_checkpoint, read_contents

MAX_SEED = 2**63 - 1


class Sampler:
    """The generator of a checkpoint: its moving average where it has one."""

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

    def sample(
        self,
        count: int,
        seed: int = 0,
        first: int = 0,
        labels: Sequence[int] | None = None,
        inputs: np.ndarray | None = None,
        interpolate: int = 0,
    ) -> np.ndarray:
        """uint8 [count, H, W, C]: images `first ...` of the sequence that `seed` stands for.

        labels, inputs, interpolate: as a SampleRequest has them. Raises UserError for what this generator cannot do.
        """
        if count < 1 or first < 0 or not 0 <= seed <= MAX_SEED:
            raise UserError(
                f"cannot sample {count} images from number {first} on with seed {seed}: "
                "ask for at least one, from number 0 on, with a seed from 0 to 2^63 - 1"
            )
        if inputs is not None and not self.recipe.method.needs_inputs:
            raise UserError(f"the generator of {self.recipe.name} makes images from noise; leave the input out")
        if inputs is not None and (inputs.dtype != np.uint8 or inputs.shape != (count, *self.recipe.image)):
            asked = "x".join(map(str, (count, *self.recipe.image)))
            raise UserError(
                f"the inputs are {inputs.dtype} {'x'.join(map(str, inputs.shape))}, and have to be uint8 {asked}"
            )
        classes = None if labels is None else tuple(labels)
        request = SampleRequest(count, seed, first, classes, inputs, interpolate)
        return self.method.sample(self.generator, request).numpy()


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
