"""Publishing: a model that anyone can load and serve, without a pickle, ranked against those before it."""

import ast
import base64
import io
import json
import math
import os
import pickletools
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ganlib
from ganlib.errors import UserError
from ganlib.recipe import Recipe
from ganlib.sampling import load_sampler
from ganlib.training.checkpoint import Progress, Snapshot
from pipelines import publish as publishing
from pipelines.publish import Published, publish
from pipelines.tracking import mlflow_client, open_run
from tests.pipelines.conftest import Server, free_port, wait_for

DATASET = "0123456789abcdef" * 4
OTHER_DATASET = "fedcba9876543210" * 4


def write_checkpoint(folder: Path, seed: int, classes: int = 0) -> Path:
    """A checkpoint of a tiny untrained method, 16x16x1, that is told one of so many classes if there are any."""
    condition = {"kind": "embedding", "dim": 8} if classes else {"kind": "none"}
    recipe = Recipe.parse(
        {
            "name": "tiny",
            "data": {"size": 16, "channels": 1, "classes": classes},
            "method": {
                "generator": {"kind": "convnet", "width": 4},
                "discriminator": {"kind": "convnet", "width": 4},
                "latent": {"dim": 8},
                "condition": condition,
            },
            "optim": {
                "generator": {"kind": "adam", "lr": 1e-3},
                "discriminator": {"kind": "adam", "lr": 1e-3},
                "ema_half_life": 100,
            },
            "train": {"batch": 4, "images": 100},
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        method, average = recipe.method.build(recipe.shape), recipe.method.build(recipe.shape).generator
    progress = Progress(images=100, rounds=25)
    snapshot = Snapshot.take(recipe, progress, DATASET, method.generator, average, method.discriminator, {}, {})
    return snapshot.write(folder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "checkpoint-000000000100", seed=0)


@pytest.fixture(scope="module")
def store(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{shutil.copy(empty_database, tmp_path_factory.mktemp('registry'))}"


@pytest.fixture(scope="module")
def run_id(store: str) -> str:
    return open_run(store, "tests", "a run", {}, "a run")


@pytest.fixture(scope="module")
def published(checkpoint: Path, store: str, run_id: str) -> Published:
    metrics = {"fid/classifier": 12.5, "score/classifier": 7.0}
    return publish(checkpoint, "digits", DATASET, metrics, "fid/classifier", store, run_id)


@pytest.fixture(scope="module")
def model_folder(published: Published, store: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's files, as MLflow hands them out."""
    import mlflow

    version = mlflow_client(store).get_model_version(published.name, published.version)
    folder = tmp_path_factory.mktemp("model")
    return Path(mlflow.artifacts.download_artifacts(version.source, dst_path=str(folder), tracking_uri=store))


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Any:
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(str(model_folder))


def request(*rows: tuple[int, int]) -> Any:
    import pandas as pd

    return pd.DataFrame(rows, columns=["count", "seed"])


def decoded(image: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(image, validate=True))) as opened:
        assert opened.format == "PNG"
        return np.asarray(opened)


def test_the_model_is_a_version_with_its_scores_and_an_output_of_its_run(
    published: Published, store: str, run_id: str
) -> None:
    assert published == Published("models:/gan-digits/1", "gan-digits", "1", champion=True)
    client = mlflow_client(store)
    version = client.get_model_version_by_alias("gan-digits", "champion")
    assert (str(version.version), version.run_id, version.status) == ("1", run_id, "READY")
    scores = {"fid/classifier": "12.5", "score/classifier": "7.0"}
    assert {**scores, "gan.metric": "fid/classifier", "gan.dataset": DATASET}.items() <= version.tags.items()
    (output,) = client.get_run(run_id).outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert (logged.name, str(logged.status), logged.source_run_id) == ("generator", "READY", run_id)


def test_the_model_has_a_signature_and_an_example_that_fits_it(model: Any) -> None:
    inputs, outputs = model.metadata.signature.inputs, model.metadata.signature.outputs
    assert [(column.name, innermost(column.type).name, column.required) for column in inputs] == [
        ("count", "long", False),
        ("seed", "long", False),
        ("label", "long", False),
        ("text", "string", False),
        ("domain", "string", False),
        ("box", "double", False),
        ("keypoints", "double", False),
        ("image", "string", False),
    ]
    assert [(column.name, column.type.name) for column in outputs] == [
        ("image", "string"),
        ("seed", "long"),
        ("index", "long"),
    ]
    assert len(model.predict(model.input_example)) == 4


def innermost(kind: Any) -> Any:
    """Of lists of lists, what they are of."""
    from mlflow.types.schema import Array

    return innermost(kind.dtype) if isinstance(kind, Array) else kind


def test_no_file_of_the_model_is_a_pickle_and_only_what_sampling_needs_is_there(model_folder: Path) -> None:
    files = sorted(path.relative_to(model_folder) for path in model_folder.rglob("*") if path.is_file())
    weights = [path for path in files if path.suffix == ".safetensors"]
    assert weights == [Path("artifacts/checkpoint/generator_ema.safetensors")]
    assert {path.name for path in files if path.is_relative_to("artifacts")} == {
        "generator_ema.safetensors",
        "progress.json",
        "recipe.yaml",
    }
    text = {".py", ".jinja", ".yaml", ".json", ".txt", ".typed", ""}
    assert {path.suffix for path in files} <= text | {".safetensors"}
    for path in files:
        content = (model_folder / path).read_bytes()
        with pytest.raises(ValueError, match=r".+"):
            pickletools.dis(content, io.StringIO())
        assert not content.startswith(b"PK"), f"{path} is an archive, as torch.save writes"


def test_the_loaded_model_gives_the_images_of_the_checkpoint(model: Any, checkpoint: Path) -> None:
    answer = model.predict(request((3, 5), (2, 6)))
    assert answer[["seed", "index"]].to_numpy().tolist() == [[5, 0], [5, 1], [5, 2], [6, 0], [6, 1]]
    images = np.stack([decoded(image) for image in answer["image"]])
    assert images.shape == (5, 16, 16)
    sampler = load_sampler(checkpoint)
    np.testing.assert_array_equal(images, np.concatenate([sampler.sample(3, 5), sampler.sample(2, 6)]).squeeze(3))
    again = model.predict(request((1, 5)))
    assert again["image"][0] == answer["image"][0]
    assert answer["image"].nunique() == 5


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([(0, 1)], "count is 0; it has to be 1 to 1024"),
        ([(1025, 1)], "count is 1025; it has to be 1 to 1024"),
        ([(1, -1)], "seed is -1; it has to be 0 to 9223372036854775807"),
        ([(1000, 1), (25, 2)], "1025 images; a request may ask for 1024 in all"),
    ],
)
def test_a_bad_request_is_answered_with_what_is_allowed(
    model: Any, rows: list[tuple[int, int]], complaint: str
) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=complaint) as caught:
        model.predict(request(*rows))
    assert caught.value.get_http_status_code() == 400


@pytest.fixture(scope="module")
def told_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("told") / "checkpoint-000000000100", seed=0, classes=3)


def published_and_loaded(checkpoint: Path, name: str, store: str, folder: Path, **told: Any) -> Any:
    """The model that `publish` makes of the checkpoint, told so, as MLflow loads it from the registry."""
    import mlflow

    run = open_run(store, "tests", name, {}, name)
    made = publish(checkpoint, name, DATASET, {"fid/x": 1.0}, "fid/x", store, run, **told)
    version = mlflow_client(store).get_model_version(made.name, made.version)
    files = mlflow.artifacts.download_artifacts(version.source, dst_path=str(folder), tracking_uri=store)
    return mlflow.pyfunc.load_model(files)


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


def test_a_label_that_does_not_fit_is_answered_with_what_is_allowed(model: Any, told_model: Any) -> None:
    from mlflow.exceptions import MlflowException

    for asked, labels, complaint in (
        (told_model, [0, 3], "label is 3; it has to be 0 to 2"),
        (told_model, [-1, 0], "label is -1; it has to be 0 to 2"),
        (model, [0, 0], "row 1: the generator of tiny takes no label; it takes count, seed"),
        (told_model, [1.5, 0], "Incompatible input types for column label"),
    ):
        with pytest.raises(MlflowException, match=complaint) as caught:
            asked.predict(request((1, 1), (1, 2)).assign(label=labels))
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


def test_a_request_of_other_columns_or_types_is_refused(model: Any) -> None:
    import pandas as pd
    from mlflow.exceptions import MlflowException

    for frame, complaint in (
        (pd.DataFrame({"images": [1]}), "the request asks for nothing; its rows have some of count, seed, label, text"),
        (pd.DataFrame({"count": ["many"], "seed": [1]}), "Incompatible input types for column count"),
        (pd.DataFrame({"count": [1.5], "seed": [1]}), "Incompatible input types for column count"),
    ):
        with pytest.raises(MlflowException, match=complaint):
            model.predict(frame)


def test_loading_needs_neither_this_repository_nor_what_only_training_imports(
    model_folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    """In a process that finds only the model's own `ganlib`, and none of the packages that the model does not list."""
    listed = {line.partition("==")[0].lower() for line in (model_folder / "requirements.txt").read_text().split()}
    unlisted = sorted(name for name in third_party_imports() if distribution(name) not in listed)
    assert {"sklearn", "torchvision"} <= set(unlisted)  # so the test can fail
    script = f"""
import sys
repository = {str(Path(ganlib.__file__).parents[1])!r}
for name in {unlisted!r} + ["pipelines", "ray"]:
    sys.modules[name] = None
import mlflow.pyfunc, pandas
model = mlflow.pyfunc.load_model({str(model_folder)!r})
import ganlib
assert ganlib.__file__.startswith({str(model_folder)!r}), ganlib.__file__
print(model.predict(pandas.DataFrame({{"count": [1], "seed": [7]}}))["image"][0])
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(decoded(result.stdout.strip()), load_sampler(checkpoint).sample(1, 7)[0, :, :, 0])


def third_party_imports() -> set[str]:
    """The top-level names, not of the standard library, that any file of ganlib imports anywhere."""
    names: set[str] = set()
    for path in Path(ganlib.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"ganlib"}


def distribution(module: str) -> str:
    return {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn"}.get(module, module).lower()


@pytest.fixture(scope="module")
def serving(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real `mlflow models serve`."""
    log = tmp_path_factory.mktemp("serving") / "log"
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model_folder), "--env-manager", "local"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=output, stderr=output, start_new_session=True, cwd=log.parent
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", process, log)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(address: str, records: list[dict[str, object]]) -> tuple[int, Any]:
    body = json.dumps({"dataframe_records": records}).encode()
    asked = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.slow
def test_a_served_model_answers_with_images_and_a_bad_request_with_400(serving: str, checkpoint: Path) -> None:
    status, answer = ask(serving, [{"count": 2, "seed": 5}])
    assert status == 200
    assert ask(serving, [{"seed": 0}]) == ask(serving, [{"count": 1}])  # what is left out is 1 and 0
    rows = answer["predictions"]
    assert [(row["seed"], row["index"]) for row in rows] == [(5, 0), (5, 1)]
    images = np.stack([decoded(row["image"]) for row in rows])
    np.testing.assert_array_equal(images, load_sampler(checkpoint).sample(2, 5).squeeze(3))
    assert ask(serving, [{"count": 2, "seed": 5}]) == (status, answer)
    bad_requests: list[tuple[dict[str, object], str]] = [
        ({"count": 0, "seed": 1}, "count is 0; it has to be 1 to 1024"),
        ({"count": 1, "text": "a blue one"}, "the generator of tiny takes no text; it takes count, seed"),
        ({"count": "x", "seed": 1}, "count"),
    ]
    for record, complaint in bad_requests:
        status, answer = ask(serving, [record])
        assert status == 400
        assert complaint in answer["message"]


def test_the_champion_is_the_best_on_its_dataset(tmp_path: Path, tracking_uri: str) -> None:
    client = mlflow_client(tracking_uri)
    run = open_run(tracking_uri, "tests", "a run", {}, "a run")
    seeds = iter(range(100))

    def champion_after(dataset: str, metric: str, score: float) -> str | None:
        checkpoint = write_checkpoint(tmp_path / f"checkpoint-{(seed := next(seeds))}", seed)
        made = publish(checkpoint, "digits", dataset, {metric: score}, metric, tracking_uri, run)
        assert made.version == str(seed + 1)
        aliases = client.get_registered_model("gan-digits").aliases
        alias = str(aliases["champion"]) if aliases else None
        assert made.champion == (alias == made.version)
        return alias

    fid = "fid/classifier"
    assert champion_after(DATASET, fid, math.nan) is None
    assert champion_after(DATASET, fid, 20.0) == "2"
    assert champion_after(DATASET, fid, 30.0) == "2"
    assert champion_after(DATASET, fid, 20.0) == "2"  # as good is not better
    assert champion_after(DATASET, fid, 9.5) == "5"  # as text, 9.5 is above 20.0
    assert champion_after(OTHER_DATASET, fid, 50.0) == "6"  # the first on a new dataset
    assert champion_after(DATASET, fid, 10.0) == "6"  # not the best on the old one
    assert champion_after(DATASET, fid, 9.0) == "8"
    assert champion_after(DATASET, "fid/random", 100.0) == "9"  # the first by another metric
    assert champion_after(DATASET, fid, math.inf) == "9"
    assert champion_after(DATASET, "fid/classifier-1a2b3c4d", 200.0) == "11"  # the first by another classifier


def test_published_again_it_is_the_version_that_stands(tmp_path: Path, tracking_uri: str) -> None:
    run = open_run(tracking_uri, "tests", "a run", {}, "a run")
    checkpoint = write_checkpoint(tmp_path / "checkpoint", 0)
    first, second = (
        publish(checkpoint, "digits", DATASET, {"fid/x": 3.0}, "fid/x", tracking_uri, run) for _ in range(2)
    )
    assert first == second
    client = mlflow_client(tracking_uri)
    assert len(client.search_model_versions("name = 'gan-digits'")) == 1
    assert len(client.get_run(run).outputs.model_outputs) == 1
    third = publish(checkpoint, "digits", DATASET, {"fid/x": 2.0}, "fid/x", tracking_uri, run)
    assert (third.version, third.champion) == ("2", True)


def test_what_cannot_be_published_is_one_clear_line_and_leaves_nothing(
    checkpoint: Path, tmp_path: Path, tracking_uri: str
) -> None:
    run = open_run(tracking_uri, "tests", "a run", {}, "a run")
    damaged = tmp_path / "checkpoint"
    shutil.copytree(checkpoint, damaged)
    with (damaged / "generator_ema.safetensors").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(UserError, match=r"generator_ema\.safetensors has 100 bytes"):
        publish(damaged, "digits", DATASET, {"fid/x": 1.0}, "fid/x", tracking_uri, run)
    with pytest.raises(UserError, match="cannot publish for the dataset 'my/digits'"):
        publish(checkpoint, "my/digits", DATASET, {"fid/x": 1.0}, "fid/x", tracking_uri, run)
    client = mlflow_client(tracking_uri)
    assert list(client.search_registered_models()) == []
    assert client.get_run(run).outputs.model_outputs == []


def test_publishing_leaves_the_working_folder_and_the_global_tracking_uri_alone(
    checkpoint: Path, tmp_path: Path, tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:5000")
    run = open_run(tracking_uri, "tests", "a run", {}, "a run")
    publish(checkpoint, "digits", DATASET, {"fid/x": 1.0}, "fid/x", tracking_uri, run)
    assert list(empty.iterdir()) == []
    assert mlflow.get_tracking_uri() == "http://elsewhere:5000"


@pytest.mark.slow
def test_it_publishes_through_a_server_too(server: Server, checkpoint: Path, tmp_path: Path) -> None:
    import mlflow

    run = open_run(server.uri, "publishing", "a run", {}, "a run")
    made = publish(checkpoint, "served", DATASET, {"fid/x": 1.0}, "fid/x", server.uri, run)
    assert made == Published("models:/gan-served/1", "gan-served", "1", champion=True)
    source = mlflow_client(server.uri).get_model_version_by_alias("gan-served", "champion").source
    folder = mlflow.artifacts.download_artifacts(source, dst_path=str(tmp_path), tracking_uri=server.uri)
    image = mlflow.pyfunc.load_model(folder).predict(request((1, 7)))["image"][0]
    np.testing.assert_array_equal(decoded(image), load_sampler(checkpoint).sample(1, 7)[0, :, :, 0])


def test_every_requirement_is_pinned(model_folder: Path) -> None:
    from importlib.metadata import version

    pinned = dict(line.split("==") for line in (model_folder / "requirements.txt").read_text().split())
    assert pinned == {package: version(package) for package in publishing._REQUIREMENTS}
