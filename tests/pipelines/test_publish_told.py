"""Published models of generators that are told something: a class, an image, words and a place, a domain."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganlib.recipe import Recipe
from ganlib.sampling import load_sampler
from ganlib.training.checkpoint import Progress, Snapshot
from tests.pipelines.published import DATASET, decoded, published_and_loaded, request, write_checkpoint


@pytest.fixture(scope="module")
def told_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("told") / "checkpoint-000000000100", seed=0, classes=3)


@pytest.fixture(scope="module")
def told_model(told_checkpoint: Path, store: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The published model of a generator that is told one of three classes."""
    return published_and_loaded(told_checkpoint, "told", store, tmp_path_factory.mktemp("told-model"))


def test_a_row_may_name_the_class_of_its_images(told_model: Any, told_checkpoint: Path) -> None:
    import pandas as pd

    sampler = load_sampler(told_checkpoint)

    def images(frame: pd.DataFrame) -> np.ndarray:
        return np.stack([decoded(image) for image in told_model.predict(frame)["image"]])[..., None]

    found = images(request((2, 5), (3, 6)).assign(label=[2, 0]))
    expected = np.concatenate([sampler.sample(2, 5, labels=[2, 2]), sampler.sample(3, 6, labels=[0, 0, 0])])
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(found[:2], images(request((2, 5)).assign(label=[1])))
    # Nobody names one: in turn, and the image of a class is the one that is made where it is named.
    np.testing.assert_array_equal(images(request((4, 5))), sampler.sample(4, 5, labels=[0, 1, 2, 0]))


def test_a_label_that_does_not_fit_is_answered_with_what_is_allowed(told_model: Any) -> None:
    from mlflow.exceptions import MlflowException

    for labels, complaint in (
        ([0, 3], "label is 3; it has to be 0 to 2"),
        ([-1, 0], "label is -1; it has to be 0 to 2"),
        ([1.5, 0], "label is 1.5; it has to be 0 to 2, a whole number"),
    ):
        with pytest.raises(MlflowException, match=complaint) as caught:
            told_model.predict(request((1, 1), (1, 2)).assign(label=labels))
        assert caught.value.get_http_status_code() == 400


def first_weights(folder: Path, data: dict[str, Any], method: dict[str, Any]) -> Path:
    """A checkpoint of a method that has not been trained, 16x16x1."""
    recipe = Recipe.parse(
        {
            "name": method["kind"],
            "data": {"size": 16, "channels": 1, **data},
            "method": method,
            "optim": {name: {"kind": "adam", "lr": 1e-3} for name in ("generator", "discriminator")},
            "train": {"batch": 4, "images": 100},
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = recipe.method.build(recipe.shape)
    state = built.own_state()
    return Snapshot.take(recipe, Progress(), DATASET, built.generator, None, built.discriminator, {}, state).write(
        folder
    )


@pytest.fixture(scope="module")
def encoder_model(store: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The published model of a generator that makes images from images, an example with it; and its sampler."""
    networks = {name: {"kind": "convnet", "width": 4} for name in ("generator", "discriminator")}
    method = {"kind": "encoder", "encoder": {"widths": [4]}, **networks}
    checkpoint = first_weights(tmp_path_factory.mktemp("encoder") / "checkpoint", {}, method)
    folder = tmp_path_factory.mktemp("encoder-model")
    model = published_and_loaded(checkpoint, "encoder", store, folder, told={"inputs": noise16(1, 0)})
    return model, load_sampler(checkpoint)


def noise16(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 1), np.uint8)


def encoded(pictures: np.ndarray) -> list[str]:
    """uint8 [n, H, W, 1] as PNG files in base64."""
    texts = []
    for pixels in pictures:
        file = io.BytesIO()
        Image.fromarray(pixels[..., 0]).save(file, "PNG")
        texts.append(base64.b64encode(file.getvalue()).decode())
    return texts


def test_a_published_encoder_makes_images_of_those_in_the_request(encoder_model: Any) -> None:
    import pandas as pd
    from mlflow.exceptions import MlflowException

    model, sampler = encoder_model
    (required,) = (column.name for column in model.metadata.signature.inputs if column.required)
    assert required == "image"
    example = model.input_example
    assert example[["count", "seed"]].to_numpy().tolist() == [[1, 0]]
    np.testing.assert_array_equal(decoded(example["image"][0]), noise16(1, 0)[0, ..., 0])
    pictures = noise16(2, 1)
    answer = model.predict(pd.DataFrame({"image": encoded(pictures)}))
    assert answer[["seed", "index"]].to_numpy().tolist() == [[0, 0], [0, 0]]
    found = np.stack([decoded(image) for image in answer["image"]])
    np.testing.assert_array_equal(found, sampler.sample(2, inputs=pictures)[..., 0])
    for image, complaint in (("?", "image is not base64"), ("AAAA", "image cannot be used: not a JPEG, PNG")):
        with pytest.raises(MlflowException, match=complaint) as caught:
            model.predict(pd.DataFrame({"image": [image]}))
        assert caught.value.get_http_status_code() == 400
    with pytest.raises(MlflowException, match=r"missing inputs \['image'\]"):
        model.predict(pd.DataFrame({"count": [1]}))


def answered(model: Any, rows: list[dict[str, Any]]) -> np.ndarray:
    """uint8 [n, 16, 16, 1]: the images of a request."""
    import pandas as pd

    return np.stack([decoded(image) for image in model.predict(pd.DataFrame(rows))["image"]])[..., None]


def refused(model: Any, row: dict[str, Any], complaint: str) -> None:
    import pandas as pd
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=complaint) as caught:
        model.predict(pd.DataFrame([row]))
    assert caught.value.get_http_status_code() == 400
    assert "\n" not in caught.value.message


def test_a_published_gawwn_draws_what_a_request_says_where_it_says(store: str, tmp_path: Path) -> None:
    network = {"width": 4, "widest": 8, "map": 8}
    text = {"vocabulary": ["a", "red", "blue", "bar"], "words": 3, "embedding": 4, "dim": 6}
    method = {"kind": "gawwn", "text": text, "short": 5, "latent": {"dim": 3}, "generator": network,
              "discriminator": network}  # fmt: skip
    checkpoint = first_weights(tmp_path / "checkpoint", {}, method)
    corner, right = [0.0, 0.0, 0.5, 0.5], [0.5, 0.25, 0.5, 0.75]
    told = {"captions": ("a red bar",), "boxes": np.array([corner], np.float32)}
    model = published_and_loaded(checkpoint, "placed", store, tmp_path, told=told)
    assert {column.name for column in model.metadata.signature.inputs if column.required} == {"text", "box"}
    assert model.input_example[["text", "box"]].to_numpy().tolist() == [["a red bar", corner]]

    rows = [{"count": 2, "seed": 5, "text": "a red bar", "box": corner},
            {"count": 1, "seed": 5, "text": "blue", "box": corner},
            {"count": 1, "seed": 5, "text": "a red bar", "box": right}]  # fmt: skip
    found, sampler = answered(model, rows), load_sampler(checkpoint)
    expected = [
        sampler.sample(row["count"], row["seed"], captions=[row["text"]] * row["count"],
                       boxes=np.array([row["box"]] * row["count"], np.float32))
        for row in rows
    ]  # fmt: skip
    np.testing.assert_array_equal(found, np.concatenate(expected))
    # Of one noise, other words and another place are other images.
    assert not np.array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[3])
    refused(
        model, {"text": "a green bar", "box": corner}, r"has words unknown here: green \(known: a, red, blue, bar\)"
    )
    refused(
        model, {"text": "a red bar", "box": [0.5, 0.0, 0.6, 1.0]}, "the box 0.5,0,0.6,1 .* is not inside the canvas"
    )


def test_a_published_cyclegan_translates_a_requests_images(store: str, tmp_path: Path) -> None:
    method = {"kind": "cyclegan", "generator": {"width": 4, "blocks": 1}, "pool": 2,
              "discriminator": {"width": 4, "layers": 1, "norm": "instance"}}  # fmt: skip
    checkpoint = first_weights(tmp_path / "checkpoint", {"domains": 2}, method)
    told = {"inputs": noise16(1, 0), "domains": np.array([[0, 1]], np.uint8)}
    names = ["blonde", "blue"]
    model = published_and_loaded(checkpoint, "hair", store, tmp_path, told=told, domain_names=names)
    assert model.input_example["domain"].tolist() == ["blue"]

    one, other = noise16(2, 1)
    images = encoded(np.stack([one, one, other]))
    found = answered(
        model,
        [{"image": image, "domain": domain} for image, domain in zip(images, ("blue", "blonde", "1"), strict=True)],
    )
    asked = np.array([[0, 1], [1, 0], [0, 1]], np.uint8)
    expected = load_sampler(checkpoint).sample(3, inputs=np.stack([one, one, other]), domains=asked)
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(found[0], found[1])  # by the one generator and by the other
    refused(model, {"image": images[0], "domain": "green"}, r"there is no domain 'green' \(known: blonde, blue\)")
    refused(model, {"image": images[0], "domain": "blonde,blue"}, "an image goes to one domain")
