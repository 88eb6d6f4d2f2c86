"""What a generator is told beside a seed: by the records of a dataset, or by a person's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganlib.asked import asked_image
from ganlib.data.dataset import Dataset, Split
from ganlib.data.preparation import Preparation
from ganlib.data.sources.base import BadRecordError
from ganlib.draws import stream_generator
from ganlib.errors import UserError
from ganlib.methods.base import MethodConfig

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")


def held_out(dataset: Dataset) -> Split:
    """The test split, which no training has seen; the training split of a dataset that has none."""
    test = dataset.split("test")
    return test if len(test) else dataset.split("train")


def told_of(dataset: Dataset, config: MethodConfig, count: int, seed: int = 0, first: int = 0) -> dict[str, Any]:
    """What records `first ... first + count` of the held-out split, in an order that is the seed's, tell a generator.

    A value for each name that the method of `config` wants, as a SampleRequest has it; nothing for one that makes
    images from noise. Past the last of the records they come again.
    """
    return config.told(held_out(dataset), held_out_rows(dataset, count, seed, first)) if config.wants else {}


def truth_of(
    dataset: Dataset, config: MethodConfig, count: int, seed: int = 0, first: int = 0
) -> NDArray[np.uint8] | None:
    """uint8 [count, H, W, C]: what should be made of those same records; None where no image is the right one."""
    return config.truth(held_out(dataset), held_out_rows(dataset, count, seed, first))


def held_out_rows(dataset: Dataset, count: int, seed: int = 0, first: int = 0) -> NDArray[np.int64]:
    """int64 [count]: the rows of those records in the held-out split."""
    size = len(held_out(dataset))
    order = torch.randperm(size, generator=stream_generator("cpu", seed, "inputs")).numpy()
    return order[np.arange(first, first + count) % size]


def read_inputs(place: Path, preparation: Preparation) -> tuple[list[str], NDArray[np.uint8]]:
    """An image file, or all those in a folder by name, prepared as a dataset's: (names, uint8 [k, size, size, C]).

    Raises UserError where there is no image, or one that cannot be read.
    """
    paths = [place]
    if place.is_dir():
        paths = sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise UserError(f"the folder {place} has no images ({', '.join(SUFFIXES)})")
    images = []
    for path in paths:
        try:
            images.append(asked_image(path.read_bytes(), preparation))
        except OSError as error:
            raise UserError(f"the image {path} cannot be read: {error.strerror}") from error
        except BadRecordError as error:
            raise UserError(f"the image {path} cannot be used: {error}") from error
    return [path.stem for path in paths], np.stack(images)
