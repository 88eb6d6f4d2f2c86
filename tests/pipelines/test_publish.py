"""Publishing: a model that anyone can load and serve, without a pickle, ranked against those before it."""

import ast
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

import ganlib
from ganlib.errors import UserError
from ganlib.sampling import load_sampler
from pipelines import publish as publishing
from pipelines.publish import Published, publish, registered_name
from pipelines.shipped import find_recipe
from pipelines.tracking import mlflow_client, open_run
from tests.pipelines.conftest import Server, free_port, wait_for
from tests.pipelines.published import DATASET, decoded, request, write_checkpoint

OTHER_DATASET = "fedcba9876543210" * 4


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "checkpoint-000000000100", seed=0)


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
    assert [(column.name, innermost(column.type), column.required) for column in inputs] == [
        ("count", "Any", False),
        ("seed", "Any", False),
        ("label", "Any", False),
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


def innermost(kind: Any) -> str:
    """Of lists of lists, the name of what they are of."""
    from mlflow.types import DataType
    from mlflow.types.schema import Array

    if isinstance(kind, Array):
        return innermost(kind.dtype)
    return kind.name if isinstance(kind, DataType) else str(kind)


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


def test_a_request_of_other_columns_or_types_is_refused(model: Any) -> None:
    import pandas as pd
    from mlflow.exceptions import MlflowException

    for frame, complaint in (
        (
            request((1, 1), (1, 2)).assign(label=[0, 0]),
            "row 1: the generator of tiny takes no label; it takes count, seed",
        ),
        (pd.DataFrame({"images": [1]}), "the request asks for nothing; its rows have some of count, seed, label, text"),
        (pd.DataFrame({"count": ["many"], "seed": [1]}), "count is 'many'; it has to be 1 to 1024, a whole number"),
        (pd.DataFrame({"count": [1.5], "seed": [1]}), "count is 1.5; it has to be 1 to 1024, a whole number"),
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


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        ("mnist", "gan-drawings"),  # told the class or not, as a request likes
        ("dcgan-64", "gan-drawings"),
        ("avatars-text", "gan-drawings-by-text"),
        ("placed-digits", "gan-drawings-by-text-and-box"),
        ("placed-digits-keypoints", "gan-drawings-by-text-and-keypoints"),
        ("facades", "gan-drawings-by-image"),
        ("hair-domains", "gan-drawings-by-domain-and-image"),
        ("hair-unpaired", "gan-drawings-by-domain-and-image"),
    ],
)
def test_generators_that_are_asked_alike_are_one_registered_model(recipe: str, name: str) -> None:
    assert registered_name("drawings", find_recipe(recipe, [])) == name


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
