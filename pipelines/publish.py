"""Publishing: the generator of a checkpoint as a registered model that MLflow loads, serves and compares."""

import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ganlib
from ganlib.errors import UserError
from ganlib.files import canonical_digest, file_digest
from ganlib.recipe import Recipe
from ganlib.sampling import export_generator
from ganlib.served import COLUMNS, row_of
from pipelines.signature import signature_of
from pipelines.tracking import mlflow_client

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"

# What `ganlib.sampling` and `served_model.py` import; each is pinned to the version that publishes.
_REQUIREMENTS = (
    "mlflow",
    "numpy",
    "pandas",
    "pillow",
    "pyarrow",
    "pydantic",
    "PyYAML",
    "safetensors",
    "scipy",
    "torch",
)

_CONTENT_TAG = "gan.content"
_DATASET_TAG = "gan.dataset"
_METRIC_TAG = "gan.metric"


@dataclass(frozen=True)
class Published:
    """A version of a registered model. `model_uri` is what `mlflow models serve -m` takes."""

    model_uri: str
    name: str
    version: str
    champion: bool


def publish(
    checkpoint: Path,
    dataset_name: str,
    dataset_digest: str,
    metrics: Mapping[str, float],
    metric: str,
    tracking_uri: str,
    run_id: str,
    domain_names: Sequence[str] = (),
    told: Mapping[str, Any] | None = None,
) -> Published:
    """Register the generator of `checkpoint` as a version of `registered_name`'s model, an output of the run `run_id`.

    The version's tags hold its `metrics`, of which `metric` (lower is better) ranks it. It gets the alias `champion`
    where it is the best of the versions that the same metric ranks on the same dataset digest. Scores on another digest
    or by another metric cannot be compared with its own, so they do not keep the alias from it: of the bests, each of
    its dataset, the one published last has it. So a team that prepares its images anew serves what it works on
    now, and a worse model on the old dataset does not bring that back. A score that is no finite number never wins.

    Requests name domains by `domain_names` (by number where there are none). `told`, what a record tells the generator
    (`ganlib.inputs.told_of`), is the model's example of a request.

    Published again, the same weights and code with the same scores are the version that stands.

    Raises UserError for a damaged checkpoint or a name that MLflow has no room for, mlflow.MlflowException where MLflow
    does not answer.
    """
    if not re.fullmatch(r"[\w.-]+", dataset_name):
        raise UserError(f"cannot publish for the dataset {dataset_name!r}: rename it to letters, digits, . _ and -")
    client = mlflow_client(tracking_uri)
    with tempfile.TemporaryDirectory() as folder:
        generator = Path(folder, "checkpoint")
        export_generator(checkpoint, generator)
        name = registered_name(dataset_name, Recipe.load(generator / "recipe.yaml"))
        tags = {
            _CONTENT_TAG: _content_digest(generator),
            _DATASET_TAG: dataset_digest,
            _METRIC_TAG: metric,
            **{key: repr(float(value)) for key, value in metrics.items()},
        }
        mine = next((other for other in _versions(client, name) if tags.items() <= other.tags.items()), None)
        if mine is None:
            model = _log_model(client, generator, run_id, tags, Path(folder), domain_names, told or {})
            mine = _register(client, name, model, tags)
    champion = _is_best(mine, _versions(client, name))
    if champion:
        client.set_registered_model_alias(name, CHAMPION, mine.version)
    return Published(f"models:/{name}/{mine.version}", name, str(mine.version), champion)


def registered_name(dataset_name: str, recipe: Recipe) -> str:
    """`gan-<dataset_name>`, or `gan-<dataset_name>-by-text-and-box` where a request has to say these.

    Generators of one dataset stand in for each other where they take the same requests; one that has to be told
    something else is another model, whose champion is not taken from it by theirs.
    """
    told = [column for column, name in COLUMNS.items() if name in recipe.method.wants]
    return f"gan-{dataset_name}" + (f"-by-{'-and-'.join(told)}" if told else "")


def _log_model(
    client: "MlflowClient",
    generator: Path,
    run_id: str,
    tags: Mapping[str, str],
    scratch: Path,
    domain_names: Sequence[str],
    told: Mapping[str, Any],
) -> "LoggedModel":
    """Upload the model's folder as a logged model, an output of the run at no step in particular."""
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model

    method = Recipe.load(generator / "recipe.yaml").method
    example = None
    if method.wants <= told.keys():
        example = pd.DataFrame([{"count": 1 if told else 4, "seed": 0, **row_of(told, domain_names)}])
    run = client.get_run(run_id)
    logged = client.create_logged_model(
        run.info.experiment_id, "generator", run_id, tags=dict(tags), params=run.data.params, model_type="generator"
    )
    status = LoggedModelStatus.FAILED
    try:
        # The client's own calls rather than mlflow.pyfunc.log_model, which works on the process' one tracking URI.
        mlflow.pyfunc.save_model(
            path=scratch / "model",
            mlflow_model=Model(
                artifact_path=logged.artifact_location,
                run_id=run_id,
                model_id=logged.model_id,
                model_uuid=logged.model_id,
            ),
            python_model=Path(__file__).with_name("served_model.py"),
            artifacts={"checkpoint": str(generator)},
            code_paths=[str(Path(ganlib.__file__).parent)],
            signature=signature_of(method),
            input_example=example,
            # By it the served model knows the domains by their names, which no checkpoint has.
            model_config={"domain_names": list(domain_names)},
            pip_requirements=[f"{package}=={metadata.version(package)}" for package in _REQUIREMENTS],
        )
        client.log_model_artifacts(logged.model_id, str(scratch / "model"))
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        status = LoggedModelStatus.READY
    finally:
        client.finalize_logged_model(logged.model_id, status)
    return logged


def is_registered(published: Published, tracking_uri: str) -> bool:
    """Whether that version is in the registry at `tracking_uri`."""
    versions = _versions(mlflow_client(tracking_uri), published.name)
    return any(str(version.version) == published.version for version in versions)


def _register(client: "MlflowClient", name: str, model: "LoggedModel", tags: Mapping[str, str]) -> "ModelVersion":
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # Its location rather than models:/<id>, which a SQL store resolves by the process' one tracking URI.
    location, run_id = model.artifact_location, model.source_run_id
    return client.create_model_version(name, location, run_id, dict(tags), model_id=model.model_id)


def _versions(client: "MlflowClient", name: str) -> "list[ModelVersion]":
    versions: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        versions += page
        token = page.token
        if not token:
            return versions


def _is_best(mine: "ModelVersion", versions: "list[ModelVersion]") -> bool:
    """Whether no version by the same metric on the same dataset has a lower score; of equals the oldest is the best."""

    def judged_as(version: "ModelVersion") -> tuple[str | None, str | None]:
        return version.tags.get(_METRIC_TAG), version.tags.get(_DATASET_TAG)

    def score(version: "ModelVersion") -> float:
        return float(version.tags[version.tags[_METRIC_TAG]])

    peers = [version for version in versions if judged_as(version) == judged_as(mine) and math.isfinite(score(version))]
    best = min(peers, key=lambda version: (score(version), int(version.version)), default=None)
    return best is not None and best.version == mine.version


def _content_digest(generator: Path) -> str:
    """SHA-256 of the generator and of the code that runs it."""
    package = Path(ganlib.__file__).parent
    served = [Path(__file__).with_name("served_model.py"), *sorted(package.rglob("*.py"))]
    files = [*sorted(generator.iterdir()), *served]
    return canonical_digest([(file.name, file_digest(file)) for file in files])
