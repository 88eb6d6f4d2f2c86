"""The picture that a run draws from its held-out records every so often, laid out by what the generator is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ganlib.data.dataset import Dataset
from ganlib.inputs import held_out, held_out_rows, told_of
from ganlib.pictures import SMALL, grid, scatter, side_by_side, table, to_image
from ganlib.recipe import Recipe

GRID = 64
"""Images in a grid, drawn from one fixed noise all through a run."""
CLOUD = 2_000
"""Points in its place, where samples are points."""
ROWS, COLUMNS = 8, 8
"""Of a table: records, and what is made of each."""
DOMAINS = 12
"""Columns of domains at most: the first of them."""
MARK = (230, 30, 60)

Sample = Callable[..., Any]
"""A Trainer's or Sampler's `sample`: (count, **told) -> uint8 (points: float32) [count, H, W, C], of seed 0."""


def sheet(recipe: Recipe, dataset: Dataset, sample: Sample) -> Image.Image:
    """Points: a cloud before the data's. Inputs and domains: a row an image, a column a domain. Inputs: each before
    what is made of it, and before what should be where that is known. Captions, boxes, keypoints: a row a record, its
    caption to the left, box and parts drawn thin, and in each column one noise for all of them. Else a grid."""
    wants = recipe.method.wants
    if recipe.data.points:
        data = dataset.split("train")
        return scatter(np.asarray(sample(CLOUD)), data.take(np.arange(min(len(data), CLOUD))))
    if {"inputs", "domains"} <= wants:
        return _in_every_domain(recipe, dataset, sample)
    if "inputs" in wants:
        return _made_of_inputs(recipe, dataset, sample)
    if wants & {"captions", "boxes", "keypoints"}:
        return _as_told(recipe, dataset, sample)
    return grid(np.asarray(sample(GRID, **told_of(dataset, recipe.method, GRID))))


def _in_every_domain(recipe: Recipe, dataset: Dataset, sample: Sample) -> Image.Image:
    """Where each record is in one domain, the target is the column's; else the record's own with that one turned."""
    split, rows = held_out(dataset), held_out_rows(dataset, ROWS)
    told = recipe.method.told(split, rows)
    column = split.column("domains")
    assert column is not None, "what the method needs, the trainer has seen to"
    one = np.eye(column.shape[1], dtype=np.uint8)[:DOMAINS]  # [shown, D]
    exclusive = bool((column.sum(1) == 1).all())
    targets = np.stack([one if exclusive else own ^ one for own in column[rows]])  # [ROWS, shown, D]
    told = {**_repeated(told, len(one)), "domains": targets.reshape(-1, column.shape[1])}
    made = np.asarray(sample(len(rows) * len(one), **told))
    inputs = told["inputs"][:: len(one)]
    cells = np.concatenate([inputs[:, None], made.reshape(len(rows), len(one), *made.shape[1:])], 1)
    return table(cells, above=["input", *(dataset.columns.domain_names or [])[: len(one)]])


def _made_of_inputs(recipe: Recipe, dataset: Dataset, sample: Sample) -> Image.Image:
    split, rows = held_out(dataset), held_out_rows(dataset, GRID // 2)
    told = recipe.method.told(split, rows)
    views = [told["inputs"], np.asarray(sample(len(rows), **told))]
    truth = recipe.method.truth(split, rows)
    return side_by_side(*views, *([] if truth is None else [truth]))


def _as_told(recipe: Recipe, dataset: Dataset, sample: Sample) -> Image.Image:
    told = told_of(dataset, recipe.method, ROWS)
    cells = []
    for row in range(ROWS):
        # Each asked for alone, so that all begin with the same noises.
        of_row = {name: values[row : row + 1] for name, values in told.items()}
        images = np.asarray(sample(COLUMNS, **_repeated(of_row, COLUMNS)))
        box, keypoints = (of_row[name][0] if name in told else None for name in ("boxes", "keypoints"))
        cells.append(images if box is None and keypoints is None else _marked(images, box, keypoints))
    return table(np.stack(cells), left=told.get("captions", ()))


def _repeated(told: Mapping[str, Any], times: int) -> dict[str, Any]:
    """The same with every value so many times over."""
    return {
        name: np.repeat(values, times, 0)
        if isinstance(values, np.ndarray)
        else tuple(value for value in values for _ in range(times))
        for name, values in told.items()
    }


def _marked(
    images: NDArray[np.uint8], box: NDArray[np.float32] | None, keypoints: NDArray[np.float32] | None
) -> NDArray[np.uint8]:
    """uint8 [n, H, W, C] -> [n, zoom H, zoom W, 3]: on each the box (shares of the sides) an outline, parts dots."""
    zoom = max(SMALL // images.shape[1], 1)
    marked = []
    for image in images:
        plain = to_image(image).convert("RGB")
        picture = plain.resize((plain.width * zoom, plain.height * zoom), Image.Resampling.NEAREST)
        pen, sides = ImageDraw.Draw(picture), np.array(picture.size)
        if box is not None:
            first, last = box[:2] * sides, (box[:2] + box[2:]) * sides - 1
            pen.rectangle((*first.round().tolist(), *np.maximum(last, first).round().tolist()), outline=MARK)
        for x, y, there in () if keypoints is None else keypoints:
            if there:
                across, down = float(x) * sides[0], float(y) * sides[1]
                pen.ellipse((across - 2, down - 2, across + 2, down + 2), fill=MARK)
        marked.append(np.asarray(picture))
    return np.stack(marked)
