"""Folders of images that nobody prepared, as samples to be judged: another program's, or another day's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ganlib.data.preparation import Preparation
from ganlib.draws import stream_generator
from ganlib.errors import UserError
from ganlib.inputs import SUFFIXES, read_inputs


class FolderSamples:
    """The images in a folder and those below it, prepared as `preparation` says: samples for `evaluate`.

    They come in an order that is drawn once and for all: by name they are sorted by class as often as not, and some
    metrics are of the first images alone, and standard errors of one tenth after the other. Images of that size already
    are as they stand. Raises UserError for a folder without two of them, and, when it is read, for an image that cannot
    be.
    """

    def __init__(self, folder: Path, preparation: Preparation):
        paths, self.preparation = image_files(folder), preparation
        if len(paths) < 2:
            raise UserError(f"the folder {folder} has one image, and a distance is of two and more")
        order = torch.randperm(len(paths), generator=stream_generator("cpu", 0, "folder"))
        self.paths = [paths[number] for number in order.tolist()]

    @property
    def count(self) -> int:
        return len(self.paths)

    def sample(self, count: int, seed: int = 0, first: int = 0) -> NDArray[np.uint8]:
        """uint8 [count, H, W, C]: images `first ...` of that order, whatever the seed."""
        chosen = self.paths[first : first + count]
        return np.concatenate([read_inputs(path, self.preparation)[1] for path in chosen])


def image_files(folder: Path) -> list[Path]:
    """The images in a folder and those below it, by name. Raises UserError where there are none."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise UserError(f"the folder {folder} has no images ({', '.join(SUFFIXES)})")
    return paths


def sizes_in(folder: Path) -> Counter[tuple[int, int]]:
    """How many images in a folder have which width and height. Raises UserError for one that cannot be read."""
    sizes: Counter[tuple[int, int]] = Counter()
    for path in image_files(folder):
        try:
            with Image.open(path) as image:
                sizes[image.size] += 1
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"the image {path} cannot be used: {error}") from error
    return sizes


def common_side(folders: Sequence[Path]) -> int:
    """The side of the images in all the folders, where they are squares of one size. Raises UserError otherwise."""
    sizes = {folder: sizes_in(folder) for folder in folders}
    found = {size for of_folder in sizes.values() for size in of_folder}
    width, height = next(iter(found))
    if len(found) == 1 and width == height:
        return width
    said = "; ".join(f"{folder}: {shown(of_folder)}" for folder, of_folder in sizes.items())
    raise UserError(
        f"the images are not squares of one size ({said}): say --size N to bring them all to NxN, the centre "
        "square cut out, all else of an image left out, and resized by a Lanczos filter; torch-fidelity and its like "
        "judge whole images, so their numbers are of something else"
    )


def shown(sizes: Counter[tuple[int, int]]) -> str:
    """The commonest sizes, in words."""
    words = [f"{count:,} of {width}x{height}" for (width, height), count in sizes.most_common(3)]
    return ", ".join([*words, f"{len(sizes) - 3} sizes more"] if len(sizes) > 3 else words)
