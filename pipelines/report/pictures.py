"""The pictures of a report: drawn from a checkpoint, or left by the training; as files and as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganlib.data import Dataset
from ganlib.evaluation.extractor import Extractor
from ganlib.evaluation.memorisation import nearest_in_features, nearest_in_pixels
from ganlib.files import write_atomically
from ganlib.inputs import told_of
from ganlib.methods.noise_to_image import NoiseToImage
from ganlib.pictures import grid, png, side_by_side
from ganlib.sampling import Sampler
from ganlib.sheets import sheet

SEED = 0
"""Of all that is drawn, as of the fixed noise of the pictures along the way."""
NEAREST = 16
"""Samples that are shown beside their nearest training images."""
WALKS, STEPS = 5, 8
"""Rows of an interpolation, and images between its two ends."""
CLASSES, EACH = 12, 10
"""Rows of classes at most, and samples of each."""
FRAMES = 6
"""Sample pictures shown one beside the other."""
MOVING = 40
"""Frames of the animation."""
WIDEST = 720
"""Pixels of a picture's width on the page: two to a pixel of a phone."""
LIGHT = 120_000
"""Bytes of a PNG that goes into the page as it is; a heavier one is compressed."""


@dataclass(frozen=True)
class Picture:
    """A drawn picture: its file, and for the page its data URI, a title and a line on what is to be seen."""

    title: str
    says: str
    path: Path
    data: str


def drawn_from(sampler: Sampler, dataset: Dataset, folder: Path, extractor: Extractor | None = None) -> list[Picture]:
    """Samples, interpolations, nearest training images and per-class rows: those that the generator can have.

    extractor: by whose features training images are nearest too, where one is given.
    """
    found = []
    for stem, title, says, picture in _drawn(sampler, dataset, extractor):
        path = folder / f"{stem}.png"
        write_atomically(path, png(picture))
        found.append(Picture(title, says, path, embedded(picture)))
    return found


def _drawn(
    sampler: Sampler, dataset: Dataset, extractor: Extractor | None
) -> Iterator[tuple[str, str, str, Image.Image]]:
    """(stem of the file, title, what is to be seen, picture) of each."""
    recipe, method, train = sampler.recipe, sampler.method, dataset.split("train")
    seen = f"at {sampler.images_seen:,} images seen, from the fixed noise"
    yield "samples", "Samples", seen, sheet(recipe, dataset, sampler.sample)
    if recipe.data.points:
        return
    classes = dataset.columns.class_names
    if "label" in recipe.method.needs and classes:
        shown = classes[:CLASSES]
        images = sampler.sample(len(shown) * EACH, SEED, labels=np.repeat(np.arange(len(shown)), EACH).tolist())
        rest = f"; the first {len(shown)} of {len(classes)}" if len(classes) > len(shown) else ""
        yield "classes", "Class by class", f"a row each of {', '.join(shown)}{rest}", grid(images, EACH)
    if isinstance(method, NoiseToImage):
        line = method.walk(sampler.generator, WALKS, STEPS, SEED).numpy()
        says = "each row goes from one latent to the next" + (", its class kept" if method.conditional else "")
        yield "interpolations", "Interpolations", says, grid(line, STEPS + 2)
    elif recipe.method.interpolates:
        line = sampler.sample(WALKS + 1, SEED, interpolate=STEPS, **told_of(dataset, recipe.method, WALKS + 1))
        ends = range(0, WALKS * (STEPS + 1), STEPS + 1)
        line = np.concatenate([line[first : first + STEPS + 2] for first in ends])
        says = "each row goes from one held-out record to the next"
        yield "interpolations", "Interpolations", says, grid(line, STEPS + 2)
    samples = sampler.sample(NEAREST, SEED, **told_of(dataset, recipe.method, NEAREST))

    def like(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Training images of the kind that is made: of pairs the side that is the truth."""
        truth = recipe.method.truth(train, rows)
        return train.take(rows) if truth is None else truth

    apart, rows = nearest_in_pixels(samples, like, np.arange(len(train)))
    says = (
        f"each sample, and to its right the training image nearest in pixels, of all {len(train):,}; between the two a "
        f"root mean square of {apart.mean():.3f} of the range in the mean, {apart.min():.3f} at the least"
    )
    views = [samples, like(rows)]
    paired = recipe.method.truth(train, rows) is not None
    if extractor is not None and not paired:  # of pairs one side alone has its features kept, maybe the other
        apart, rows = nearest_in_features(samples, dataset, extractor)
        views.append(train.take(rows))
        says += (
            f"; and further right the one nearest by the features of {extractor.label}, {apart.mean():.3g} away in the "
            f"mean, {apart.min():.3g} at the least"
        )
    yield "nearest", "Nearest training images", says, side_by_side(*views)


def frames(folder: Path) -> list[tuple[int, str]]:
    """(images seen, data URI) of up to FRAMES of the training's sample pictures: the first, the last, and between them
    such as lie evenly on a scale of doublings, as what is learned does."""
    paths = sorted(folder.glob("samples-*.png"))
    if not paths:
        return []
    places = np.unique(np.round(np.geomspace(1, len(paths), min(FRAMES, len(paths)))).astype(int) - 1)
    return [(int(paths[i].stem.rpartition("-")[2]), embedded(Image.open(paths[i]))) for i in places]


def embedded_animation(folder: Path) -> str | None:
    """The training's sample pictures in turn, as the data URI of an animated WebP; None of fewer than two."""
    paths = sorted(folder.glob("samples-*.png"))
    if len(paths) < 2:
        return None
    places = np.unique(np.linspace(0, len(paths) - 1, min(MOVING, len(paths))).round().astype(int))
    pictures = [_smaller(Image.open(paths[i]).convert("RGB")) for i in places]
    durations = [200] * (len(pictures) - 1) + [2000]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "WEBP", save_all=True, append_images=pictures[1:], duration=durations, loop=0, quality=70)
    return _uri(buffer.getvalue(), "webp")


def embedded(picture: Image.Image) -> str:
    """A data URI: a PNG where that is light, else a WebP no wider than the page shows it."""
    whole = png(picture)
    if len(whole) <= LIGHT:
        return _uri(whole, "png")
    buffer = io.BytesIO()
    _smaller(picture.convert("RGB")).save(buffer, "WEBP", quality=85)
    return _uri(buffer.getvalue(), "webp")


def _smaller(picture: Image.Image) -> Image.Image:
    if picture.width <= WIDEST:
        return picture
    return picture.resize((WIDEST, round(picture.height * WIDEST / picture.width)), Image.Resampling.LANCZOS)


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
