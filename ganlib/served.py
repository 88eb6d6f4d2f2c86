"""A row of a request to a published generator: what its columns mean, and which of them a generator takes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ganlib.asked import asked_box, asked_domains, asked_image, asked_keypoints
from ganlib.data.sources.base import BadRecordError
from ganlib.errors import UserError
from ganlib.pictures import png, to_image
from ganlib.recipe import Recipe

COLUMNS = {
    "label": "labels",
    "text": "captions",
    "domain": "domains",
    "box": "boxes",
    "keypoints": "keypoints",
    "image": "inputs",
}
"""A row's columns beside count and seed, and what they are in a SampleRequest."""


EXACT = 2**53
"""Whole numbers up to here are each a float of their own."""


def told_by_row(row: Mapping[str, Any], recipe: Recipe, domain_names: Sequence[str]) -> dict[str, Any]:
    """What a row tells of each of its images: a single value by its name in a SampleRequest.

    label: a class's number. text: a caption. domain: a domain's name or number, or several between commas. box:
    [x, y, width, height], shares of the sides. keypoints: [x, y] of each part, [] for one that is not there. image: a
    PNG (or JPEG, BMP, WebP, GIF) in base64, cropped and resized as the training images were.

    Raises UserError for a column that the generator does not take, one that it wants and the row has not, and a value
    that says nothing; whether what it says can be made is for `ganlib.sampling.checked`.
    """
    given = [column for column in COLUMNS if row.get(column) is not None]
    takes = [column for column, name in COLUMNS.items() if name in recipe.method.takes]
    for column in given:
        if column not in takes:
            raise UserError(
                f"the generator of {recipe.name} takes no {column}; it takes {', '.join(['count', 'seed', *takes])}"
            )
    for column in takes:
        if column not in given and COLUMNS[column] in recipe.method.wants:
            raise UserError(f"the generator of {recipe.name} has to be told the {column}; the row has none")
    return {COLUMNS[column]: _value(column, row[column], recipe, domain_names) for column in given}


def row_of(told: Mapping[str, Any], domain_names: Sequence[str]) -> dict[str, Any]:
    """The row that tells a generator the same as the first of what `told` (by names of a SampleRequest) tells."""
    row: dict[str, Any] = {}
    for column, name in COLUMNS.items():
        if name not in told:
            continue
        value = told[name][0]
        if column == "domain":
            numbers = np.flatnonzero(value).tolist()
            row[column] = ",".join(domain_names[i] if domain_names else str(i) for i in numbers)
        elif column == "keypoints":
            row[column] = [[float(x), float(y)] if there else [] for x, y, there in value]
        elif column == "box":
            row[column] = [float(number) for number in value]
        elif column == "image":
            row[column] = in_base64(value)
        else:
            row[column] = value
    return row


def whole_number(column: str, value: Any, least: int, most: int) -> int:
    """The number in a cell. Raises UserError for anything but a whole one of this range.

    A column of whole numbers that some row leaves out comes as one of floats: 3.0 is 3, and what a float cannot hold
    exactly is refused.
    """
    if isinstance(value, float) and value.is_integer():
        if abs(value) > EXACT:
            raise UserError(
                f"{column} is {value:g}, and other rows have none, so that it is not exact: give every row one"
            )
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= most:
        raise UserError(f"{column} is {value!r}; it has to be {least} to {most}, a whole number")
    return int(value)


def in_base64(image: np.ndarray) -> str:
    """uint8 [H, W, C], C of 1 or 3, as a PNG in base64."""
    return base64.b64encode(png(to_image(image))).decode("ascii")


def _value(column: str, value: Any, recipe: Recipe, domain_names: Sequence[str]) -> Any:
    if column == "label":
        return whole_number("label", value, 0, recipe.data.classes - 1)
    if column == "box":
        return asked_box(value)
    if column == "keypoints":
        return asked_keypoints(value, recipe.data.keypoints)
    if not isinstance(value, str):
        raise UserError(f"{column} is {value!r}; it has to be a string")
    if column == "text":
        if not value.strip():
            raise UserError("text is empty; it has to have a word at least")
        return value
    if column == "domain":
        return asked_domains(value, domain_names, recipe.data.domains)
    try:
        return asked_image(base64.b64decode(value, validate=True), recipe.data.preparation)
    except (binascii.Error, ValueError) as error:
        raise UserError("image is not base64; it has to be a PNG file in base64") from error
    except BadRecordError as error:
        raise UserError(f"image cannot be used: {error}") from error
