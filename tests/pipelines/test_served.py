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
from PIL import Image

from pipelines.served_model import Generator
from pipelines.signature import signature_of
from tests.painter import painting

NAMES = ["black", "blue", "red"]


def answer(wanted: tuple[str, ...], rows: list[dict[str, Any]]) -> list[np.ndarray]:
    """The images, uint8 [16, 16], that a painter makes of a request that its signature lets by."""
    generator = Generator()
    generator._sampler = painting(wanted, classes=10, domains=3, keypoints=2)
    generator._domain_names = NAMES
    frame = pd.DataFrame(rows)
    validate_schema(frame, signature_of(generator._sampler.recipe.method).inputs)
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
        (("captions",), [{"text": "a", "count": 1025}], "count is 1025; it has to be 1 to 1024"),
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
