"""What generators that make images from images are given: images of a dataset, or of a person's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ganlib.data.dataset import Dataset, Split
from ganlib.data.geometry import Placement
from ganlib.data.pixels import decode
from ganlib.data.preparation import Preparation
from ganlib.data.sources.base import BadRecordError
from ganlib.draws import stream_generator
from ganlib.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")


def held_out(dataset: Dataset) -> Split:
    """The test split, which no training has seen; the training split of a dataset that has none."""
    test = dataset.split("test")
    return test if len(test) else dataset.split("train")


def inputs_of(dataset: Dataset, count: int, seed: int = 0, first: int = 0) -> NDArray[np.uint8]:
    """uint8 [count, H, W, C]: images `first ...` of the held-out split in an order that is the seed's.

    Past the last of them they come again.
    """
    split = held_out(dataset)
    order = torch.randperm(len(split), generator=stream_generator("cpu", seed, "inputs")).numpy()
    return split.take(order[np.arange(first, first + count) % len(split)])


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
            image = decode(path.read_bytes())
        except OSError as error:
            raise UserError(f"the image {path} cannot be read: {error.strerror}") from error
        except BadRecordError as error:
            raise UserError(f"the image {path} cannot be used: {error}") from error
        where = Placement.of(image.width, image.height, preparation.size, preparation.fit)
        images.append(where.apply(image, preparation.channels))
    return [path.stem for path in paths], np.stack(images)
