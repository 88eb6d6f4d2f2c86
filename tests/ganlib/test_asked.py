"""What a person types, as numbers: domains by name, boxes, keypoints; and rows of a request, there and back."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganlib.asked import asked_box, asked_domains, asked_keypoints
from ganlib.errors import UserError
from ganlib.served import row_of, told_by_row
from tests.painter import painting

NAMES = ["black", "blue, pale", "red"]
ALL = ("labels", "captions", "domains", "boxes", "keypoints", "inputs")


@pytest.mark.parametrize(
    ("text", "names", "row"),
    [
        ("red", NAMES, [0, 0, 1]),
        (" black , red", NAMES, [1, 0, 1]),
        ("blue, pale", NAMES, [0, 1, 0]),  # a name with a comma in it
        ("1,red", NAMES, [0, 1, 1]),
        ("2", [], [0, 0, 1]),
        ("2", ["2", "1", "0"], [1, 0, 0]),  # a name goes before a number
    ],
)
def test_domains_by_name_or_number(text: str, names: list[str], row: list[int]) -> None:
    asked = asked_domains(text, names, 3)
    assert asked.dtype == np.uint8
    assert asked.tolist() == row


def test_an_unknown_domain_is_answered_with_those_that_are_known() -> None:
    many = [f"domain {number}" for number in range(25)]
    for text, names, count, said in (
        ("green", NAMES, 3, r"there is no domain 'green' \(known: black, blue, pale, red\)"),
        ("red,3", NAMES, 3, r"there is no domain '3'"),
        ("red", [], 3, r"there is no domain 'red' \(known: by number alone, 0 to 2\)"),
        ("", NAMES, 3, r"there is no domain ''"),
        ("x", many, 25, r"domain 18, domain 19 and 5 more\)"),
    ):
        with pytest.raises(UserError, match=said):
            asked_domains(text, names, count)


def test_boxes_and_keypoints() -> None:
    box = asked_box(["0.25", " 0.5", "0.125", "1"])
    assert (box.dtype, box.tolist()) == (np.float32, [0.25, 0.5, 0.125, 1])
    points = asked_keypoints([[0.25, 0.5], None, [], [1, 0, 0], [1, 0, 1]], 5)
    assert points.dtype == np.float32
    assert points.tolist() == [[0.25, 0.5, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 0, 1]]
    for values in (None, 3, [1, 2, 3], [1, 2, 3, "x"], [0, 0, float("inf"), 1], [[0], 0, 1, 1]):
        with pytest.raises(UserError, match="a box is x, y, width and height"):
            asked_box(values)
    for values, said in (
        (None, "those of 2 parts, each there or not; not of None"),
        ([[0, 0]], "those of 2 parts, each there or not; not of 1"),
        ([[0, 0], [1]], "a keypoint is x and y as shares of the sides, as in 0.5,0.25; not 1$"),
        ([[0, 0], [1, 0, 0.5]], "not 1,0,0.5$"),
        ([[0, 0], "ab"], "not 'ab'$"),
    ):
        with pytest.raises(UserError, match=said):
            asked_keypoints(values, 2)


def test_a_row_there_and_back() -> None:
    """What a record tells, written as a request's row, is read as the same."""
    recipe = painting(ALL, classes=10, domains=3, keypoints=2).recipe
    told: dict[str, Any] = {
        "labels": (7, 8),
        "captions": ("a seven", "an eight"),
        "domains": np.array([[0, 1, 1], [1, 0, 0]], np.uint8),
        "boxes": np.array([[0.25, 0.5, 0.125, 0.5], [0, 0, 1, 1]], np.float32),
        "keypoints": np.array([[[0.5, 0.75, 1], [0, 0, 0]]] * 2, np.float32),
        "inputs": np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1), np.uint8),
    }
    row = row_of(told, NAMES)
    assert {name: value for name, value in row.items() if name != "image"} == {
        "label": 7,
        "text": "a seven",
        "domain": "blue, pale,red",
        "box": [0.25, 0.5, 0.125, 0.5],
        "keypoints": [[0.5, 0.75], []],
    }
    with Image.open(io.BytesIO(base64.b64decode(row["image"]))) as image:
        np.testing.assert_array_equal(np.asarray(image), told["inputs"][0, ..., 0])
    plain = ["black", "blue", "red"]
    back = told_by_row(row_of(told, plain), recipe, plain)
    assert back.keys() == told.keys()
    for name, value in back.items():
        np.testing.assert_array_equal(value, told[name][0])


def test_an_image_of_another_size_and_mode_is_prepared_as_the_datasets() -> None:
    """Of 8x24 the centre square, enlarged: a grey of (10 * 299 + 20 * 587 + 30 * 114) / 1000 = 18.15."""
    recipe = painting(("inputs",)).recipe
    picture = Image.new("RGB", (8, 24), "white")
    picture.paste((10, 20, 30), (0, 4, 8, 20))  # the resizing filter reaches over the square's edge
    file = io.BytesIO()
    picture.save(file, "PNG")
    told = told_by_row({"image": base64.b64encode(file.getvalue()).decode()}, recipe, [])
    np.testing.assert_array_equal(told["inputs"], np.full((16, 16, 1), 18, np.uint8))


@pytest.mark.parametrize(
    ("wanted", "row", "said"),
    [
        ((), {"text": "a"}, "the generator of painter takes no text; it takes count, seed$"),
        (("labels", "boxes"), {"image": "a"}, "takes no image; it takes count, seed, label, box$"),
        (("captions",), {}, "the generator of painter has to be told the text; the row has none"),
        (("labels",), {"label": 10}, "label is 10; it has to be 0 to 9"),
        (("captions",), {"text": "  "}, "text is empty; it has to have a word at least"),
        (("domains",), {"domain": 1}, "domain is 1; it has to be a string"),
        (("domains",), {"domain": "red"}, r"there is no domain 'red' \(known: by number alone, 0 to 2\)"),
        (("inputs",), {"image": "äö"}, "image is not base64; it has to be a PNG file in base64"),
        (("inputs",), {"image": "QUJD"}, "image cannot be used: not a JPEG, PNG, BMP, WebP or GIF image"),
    ],
)
def test_a_row_that_cannot_be_understood_is_one_line(wanted: tuple[str, ...], row: dict[str, Any], said: str) -> None:
    recipe = painting(wanted, classes=10, domains=3).recipe
    with pytest.raises(UserError, match=said):
        told_by_row(row, recipe, [])
