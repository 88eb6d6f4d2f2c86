"""What a dataset looks like: a sheet of its images with all that is known of each."""

from __future__ import annotations

import textwrap
from math import ceil

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ganlib.data import Columns, Dataset, Split
from ganlib.data.layout import Rows
from ganlib.data.sources import SplitName
from ganlib.errors import UserError
from ganlib.pictures import png, to_image

CELL = 112
"""Pixels of an image's side on the sheet: about so many, smaller images being enlarged by whole factors, their pixels
seen; and just so many of a larger one."""
GAP, LINE, LINES = 8, 12, 3
INK, MARK = "black", (230, 30, 60)


def contact_sheet(dataset: Dataset, split: SplitName, count: int) -> bytes:
    """PNG of `count` images spread evenly over a split: partners beside them, boxes and keypoints drawn, words below.

    Points (float32 datasets) are drawn as a scatter or a histogram. Raises UserError for an empty split.
    """
    part = dataset.split(split)
    if not len(part):
        raise UserError(f"dataset {dataset.name} has no {split} images to show")
    rows = np.unique(np.linspace(0, len(part) - 1, count).round().astype(np.int64))
    if part.columns.dtype == "float32":
        return _points(part)
    shown = part.records(rows)
    pictures, partners = shown.arrays["image"], shown.arrays.get("partner")
    words = [_words(part.columns, shown, row) for row in range(len(rows))]
    size = dataset.image_shape[0]
    side = CELL if size > CELL else size * max(round(CELL / size), 1)
    width = side * (2 if partners is not None else 1)
    if any(words):
        width = max(width, CELL)
    height = side + LINE * max((len(lines) for lines in words), default=0)
    across = max(1, round((len(rows) * height / width) ** 0.5))
    sheet = Image.new("RGB", (GAP + across * (width + GAP), GAP + ceil(len(rows) / across) * (height + GAP)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for row in range(len(rows)):
        x, y = GAP + row % across * (width + GAP), GAP + row // across * (height + GAP)
        sheet.paste(_sized(pictures[row], side), (x, y))
        if partners is not None:
            sheet.paste(_sized(partners[row], side), (x + side, y))
        _mark(pen, shown, row, x, y, side)
        for number, line in enumerate(words[row]):
            pen.text((x, y + side + number * LINE), line, INK, font)
    return png(sheet)


def _sized(image: NDArray[np.uint8], side: int) -> Image.Image:
    picture = to_image(image)
    filter_ = Image.Resampling.NEAREST if side >= picture.width else Image.Resampling.BOX
    return picture.resize((side, side), filter_)


def _mark(pen: ImageDraw.ImageDraw, shown: Rows, row: int, x: int, y: int, side: int) -> None:
    """Box and keypoints, which are shares of the sides."""
    if "box" in shown.arrays:
        left, top, width, height = (float(value) * side for value in shown.arrays["box"][row])
        pen.rectangle((x + left, y + top, x + left + width, y + top + height), outline=MARK)
    for across, down, seen in shown.arrays["keypoints"][row] if "keypoints" in shown.arrays else ():
        if seen:
            at = x + float(across) * side, y + float(down) * side
            pen.ellipse((at[0] - 2, at[1] - 2, at[0] + 2, at[1] + 2), fill=MARK)


def _words(columns: Columns, shown: Rows, row: int) -> list[str]:
    """At most LINES lines that fit below an image."""
    said = []
    if columns.class_names:
        said.append(columns.class_names[int(shown.arrays["label"][row])])
    if columns.domain_names:
        there = zip(columns.domain_names, shown.arrays["domains"][row], strict=True)
        said.append(", ".join(name for name, in_it in there if in_it))
    if shown.captions is not None:
        said.append(shown.captions[row][0])
    lines = [line for text in said for line in textwrap.wrap(text, CELL // 6) or [""]]
    return lines if len(lines) <= LINES else [*lines[: LINES - 1], lines[LINES - 1][:-1] + "…"]


def _points(part: Split) -> bytes:
    """All points (at most 20,000): a histogram in one dimension, a scatter of the first two otherwise."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = part.take(np.arange(min(len(part), 20_000))).reshape(min(len(part), 20_000), -1)
    figure = Figure(figsize=(5, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if points.shape[1] == 1:
        axes.hist(points[:, 0], bins=200)
    else:
        axes.scatter(points[:, 0], points[:, 1], s=2)
        axes.set_aspect("equal")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
