"""What a dataset looks like: a sheet of its images with all that is known of each."""

from __future__ import annotations

import textwrap
from math import ceil

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ganlib.data import Dataset, Split
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
    pictures = part.take(rows)
    partners = part.take_partner(rows) if part.columns.partner else None
    words = [_words(part, int(row)) for row in rows]
    size = dataset.image_shape[0]
    shown = CELL if size > CELL else size * max(round(CELL / size), 1)
    width = shown * (2 if partners is not None else 1)
    if any(words):
        width = max(width, CELL)
    height = shown + LINE * max((len(lines) for lines in words), default=0)
    across = max(1, round((len(rows) * height / width) ** 0.5))
    sheet = Image.new("RGB", (GAP + across * (width + GAP), GAP + ceil(len(rows) / across) * (height + GAP)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for position, row in enumerate(rows):
        x, y = GAP + position % across * (width + GAP), GAP + position // across * (height + GAP)
        sheet.paste(_sized(pictures[position], shown), (x, y))
        if partners is not None:
            sheet.paste(_sized(partners[position], shown), (x + shown, y))
        _mark(pen, part, int(row), x, y, shown)
        for number, line in enumerate(words[position]):
            pen.text((x, y + shown + number * LINE), line, INK, font)
    return png(sheet)


def _sized(image: NDArray[np.uint8], side: int) -> Image.Image:
    picture = to_image(image)
    filter_ = Image.Resampling.NEAREST if side >= picture.width else Image.Resampling.BOX
    return picture.resize((side, side), filter_)


def _mark(pen: ImageDraw.ImageDraw, part: Split, row: int, x: int, y: int, side: int) -> None:
    """Box and keypoints, which are shares of the sides."""
    if part.columns.boxes:
        left, top, width, height = (float(value) * side for value in np.asarray(part.column("box"))[row])
        pen.rectangle((x + left, y + top, x + left + width, y + top + height), outline=MARK)
    if part.columns.keypoint_names:
        for across, down, seen in np.asarray(part.column("keypoints"))[row]:
            if seen:
                at = x + float(across) * side, y + float(down) * side
                pen.ellipse((at[0] - 2, at[1] - 2, at[0] + 2, at[1] + 2), fill=MARK)


def _words(part: Split, row: int) -> list[str]:
    """At most LINES lines that fit below an image."""
    columns, said = part.columns, []
    if columns.class_names and part.labels is not None:
        said.append(columns.class_names[int(part.labels[row])])
    if columns.domain_names:
        domains = np.asarray(part.column("domains"))[row]
        said.append(", ".join(name for name, there in zip(columns.domain_names, domains, strict=True) if there))
    captions = part.column("captions") if columns.captions else None
    if captions is not None:
        said.append(captions[row][0])
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
