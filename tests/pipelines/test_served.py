"""What a served generator is told, and by which signature, without MLflow's server."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import validate_schema
from mlflow.models.utils import _enforce_schema
from mlflow.pyfunc.scoring_server import infer_and_parse_data
from PIL import Image

from pipelines.served_model import Generator
from pipelines.signature import signature_of
from tests.painter import painting

NAMES = ["black", "blue", "red"]


def answer(wanted: tuple[str, ...], rows: list[dict[str, Any]], taken: tuple[str, ...] = ()) -> list[np.ndarray]:
    """The images, uint8 [16, 16], that a painter makes of a request that its signature lets by."""
    generator = Generator()
    generator._sampler = painting(wanted, taken, classes=10, domains=3, keypoints=2)
    generator._domain_names = NAMES
    inputs = signature_of(generator._sampler.recipe.method).inputs
    frame = _enforce_schema(infer_and_parse_data({"dataframe_records": rows}, inputs), inputs)  # as a server does
    found = generator.predict(None, frame)  # type: ignore[arg-type]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(image)))) for image in found["image"]]


def test_a_row_tells_all_of_its_images_the_same() -> None:
    rows = [
        {"count": 2, "seed": 5, "text": "blue", "box": [0, 0, 1, 1]},
        {"count": 1, "seed": 6, "text": "ten bytes!", "box": [0.1, 0.2, 0.5, 0.25]},
    ]
    made = answer(("captions", "boxes"), rows)
    assert [image[0, :4].tolist() for image in made] == [[5, 0, 0, 4], [5, 1, 0, 4], [6, 0, 0, 10]]
    assert [image[2, :4].tolist() for image in made] == [[0, 0, 200, 200]] * 2 + [[20, 40, 100, 50]]


def test_rows_may_leave_out_what_others_have() -> None:
    made = answer((), [{"count": 2, "seed": 5}, {"seed": 2**53}, {"count": 1}])
    assert [image[0, :2].tolist() for image in made] == [[5, 0], [5, 1], [2**53 % 256, 0], [0, 0]]
    labelled = answer((), [{"label": 3, "seed": 1}, {"seed": 2}], ("labels",))
    assert [image[0, :3].tolist() for image in labelled] == [[1, 0, 3], [2, 0, 0]]
    large = answer((), [{"seed": 2**60 + 1}, {"seed": 7}])  # exact where every row has one
    assert [image[0, 0] for image in large] == [1, 7]


def test_keypoints_domains_and_images() -> None:
    (image,) = answer(("captions", "keypoints"), [{"text": "a", "keypoints": [[0.5, 0.25], []]}])
    assert image[0, :4].tolist() == [0, 0, 0, 1]  # count 1 of seed 0 where neither is said
    assert image[3, :6].tolist() == [100, 50, 200, 0, 0, 0]
    file = io.BytesIO()
    Image.new("L", (30, 20), 77).save(file, "PNG")
    text = base64.b64encode(file.getvalue()).decode()
    made = answer(("inputs", "domains"), [{"image": text, "domain": "red"}, {"image": text, "domain": "black,1"}])
    assert [image[1, :3].tolist() for image in made] == [[0, 0, 1], [1, 1, 0]]
    assert all((image[4:] == 77).all() for image in made)


@pytest.mark.parametrize(
    ("wanted", "rows", "said"),
    [
        (("boxes",), [{"box": [0.5, 0, 0.75, 1]}], "the box 0.5,0,0.75,1 .* is not inside the canvas"),
        (("boxes",), [{"box": [0.5, 0.5]}], "a box is x, y, width and height"),
        (("captions",), [{"text": "a"}, {"text": " "}], "row 2: text is empty"),
        (("captions",), [{"text": "a"}, {"text": None}], "row 2: the generator of painter has to be told the text"),
        (("captions",), [{"text": "a", "image": "b"}], "takes no image; it takes count, seed, text"),
        (("domains",), [{"domain": "green"}], r"there is no domain 'green' \(known: black, blue, red\)"),
        (("keypoints",), [{"keypoints": [[0.5, 2.0], []]}], "keypoints are x and y as shares of the image's sides"),
        (("keypoints",), [{"keypoints": [[0.5, 0.5]]}], "keypoints are those of 2 parts, each there or not; not of 1"),
        (("captions",), [{"text": "a", "count": 1025}], "count is 1025; it has to be 1 to 1024, a whole number"),
        (("captions",), [{"text": "a", "count": 1.5}], "count is 1.5; it has to be 1 to 1024, a whole number"),
        (("captions",), [{"text": "a", "seed": True}], "seed is True; it has to be 0 to 9223372036854775807, a whole"),
        (("captions",), [{"text": "a", "seed": "b"}], "seed is 'b'; it has to be 0 to"),
        (("labels",), [{"label": 10}], "label is 10; it has to be 0 to 9"),
        (
            ("captions",),
            [{"text": "a", "seed": 2**60 + 1}, {"text": "b"}],
            "row 1: seed is 1.15292e.18, and other rows",
        ),
        (("captions",), [{"text": "a", "count": 700}] * 2, "1400 images; a request may ask for 1024 in all"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    wanted: tuple[str, ...], rows: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(MlflowException, match=said) as caught:
        answer(wanted, rows)
    assert caught.value.get_http_status_code() == 400
    assert "\n" not in caught.value.message


def test_the_signature_requires_what_the_generator_has_to_be_told() -> None:
    signature = signature_of(painting(("captions", "boxes"), ("labels",)).recipe.method)
    required = {column.name for column in signature.inputs if column.required}
    assert required == {"text", "box"}
    assert {column.name for column in signature.inputs} == {
        "count", "seed", "label", "text", "domain", "box", "keypoints", "image",
    }  # fmt: skip
    with pytest.raises(MlflowException, match=r"missing inputs \['box'\]"):
        validate_schema(pd.DataFrame([{"text": "a"}]), signature.inputs)
