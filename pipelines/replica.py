"""A run in MLflow, told the journal's records one after another; telling it one twice leaves it as telling it once.

That holds by construction for metrics (MLflow's SQL store keys them by name, step, time and value, all of which the
record carries), tags, parameters, artifacts and the dataset (keyed by name and digest), and pictures (whose file names
here are a function of the record). Logged models are looked for before they are created.
"""

import json
import math
import shutil
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, LoggedModelStatus, Metric, Param, RunTag
from mlflow.tracking.multimedia import compress_image_size
from PIL import Image

from pipelines.journal import metric_values
from pipelines.sent import Sent
from pipelines.tracking import IMAGES_TAG, mlflow_digest, set_tags

Record = dict[str, Any]

# MLflow's limits.
_METRICS_A_REQUEST = 1000
_PARAMS_A_REQUEST = 100
_PARAM_LENGTH = 6000


class UnsendableError(Exception):
    """A record that no retry will make MLflow take; its text says why."""


class Replica:
    """The run `sent.run_id` of `client`'s store. Notes in `sent` what later records need of earlier ones."""

    def __init__(self, client: MlflowClient, run_folder: Path, sent: Sent, run_id: str, experiment_id: str) -> None:
        self._client = client
        self._run_folder = run_folder
        self._sent = sent
        self._run_id = run_id
        self._experiment_id = experiment_id

    def tell(self, records: Sequence[Record]) -> None:
        """Bring the run up to date with one record, or with several of kind "metrics".

        Raises mlflow.MlflowException or requests.RequestException where MLflow does not answer or refuses, and
        UnsendableError for a picture or an artifact that is gone, broken, or elsewhere than in the run's folder.
        """
        record = records[0]
        match record["kind"]:
            case "metrics":
                self._tell_metrics(records)
            case "picture":
                self._tell_picture(record)
            case "artifact":
                path = str(self._existing(record["path"]))
                self._client.log_artifact(self._run_id, path, record["folder"] or None)
            case "checkpoint":
                self._model(record["name"], record["images_seen"])
            case "params":
                self._tell_params(record["values"])
            case "tags":
                set_tags(self._client, self._run_id, record["values"])
            case "dataset":
                self._tell_dataset(record)
            case "finish":
                self._client.set_terminated(self._run_id, record["status"], record["time"])
            case kind:
                raise UnsendableError(f"no such kind of record: {kind}")

    def reopen(self) -> None:
        """The run that had ended goes on."""
        self._client.update_run(self._run_id, status="RUNNING")

    def _tell_metrics(self, records: Sequence[Record]) -> None:
        """Log the values, a checkpoint's also on its logged model; and how far the run is, as the tag `gan.images`."""
        metrics = [metric for record in records for metric in self._metrics_of(record)]
        self._sent.images_seen = max(self._sent.images_seen, *(record["images_seen"] for record in records))
        progress = RunTag(IMAGES_TAG, str(self._sent.images_seen))
        for start in range(0, len(metrics), _METRICS_A_REQUEST):
            self._client.log_batch(self._run_id, metrics[start : start + _METRICS_A_REQUEST], tags=[progress])

    def _metrics_of(self, record: Record) -> list[Metric]:
        step = record["images_seen"]
        judged: tuple[str | None, ...] = ()
        if "checkpoint" in record:
            judged = (self._model(record["checkpoint"], step), *(self._sent.dataset or (None, None)))
        # A logged model has no NaN: MLflow would show 0 there, the best FID of all.
        return [
            Metric(name, value, record["time"], step, *(judged if math.isfinite(value) else ()))
            for name, value in metric_values(record).items()
        ]

    def _model(self, name: str, images_seen: int) -> str:
        """The id of the logged model that stands for the checkpoint `name`; its weights stay where they are."""
        if name in self._sent.models:
            return self._sent.models[name]
        mine = f"source_run_id = '{self._run_id}' AND name = '{name}'"
        found = self._client.search_logged_models([self._experiment_id], mine, max_results=1)
        if found:
            model = found[0]
        else:
            tags = {"gan.checkpoint": str(self._run_folder / name)}
            params = {"images_seen": str(images_seen)}
            model = self._client.create_logged_model(self._experiment_id, name, self._run_id, tags, params)
        if model.status != LoggedModelStatus.READY:
            self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        outputs = self._client.get_run(self._run_id).outputs
        if all(output.model_id != model.model_id for output in (outputs.model_outputs if outputs else [])):
            self._client.log_outputs(self._run_id, [LoggedModelOutput(model.model_id, step=images_seen)])
        self._sent.models[name] = model.model_id
        return str(model.model_id)

    def _tell_picture(self, record: Record) -> None:
        """Store it as `MlflowClient.log_image` does, for a slider over the steps, but under a name that repeats."""
        key, step = record["key"], record["images_seen"]
        once = uuid.uuid5(uuid.NAMESPACE_URL, f"{self._sent.unique}/{key}/{step}")
        name = f"{key.replace('/', '~')}+step+{step}+timestamp+{record['time']}+{once}"
        source = self._existing(record["path"])
        try:
            with Image.open(source) as image:
                small = compress_image_size(image)
        except (OSError, SyntaxError) as error:
            raise UnsendableError(f"{source} is no whole picture: {error}") from None
        with tempfile.TemporaryDirectory() as folder:
            small.save(Path(folder, f"{name}+compressed.webp"))
            shutil.copyfile(source, Path(folder, f"{name}.png"))
            self._client.log_artifacts(self._run_id, folder, "images")
        self._client.set_tag(self._run_id, "mlflow.loggedImages", "True")

    def _tell_params(self, values: dict[str, str]) -> None:
        """Parameters in MLflow never change; where a run resumed with another value, the tag `resumed.NAME` has it."""
        standing = self._client.get_run(self._run_id).data.params
        values = {name: value[:_PARAM_LENGTH] for name, value in values.items()}
        new = [Param(name, value) for name, value in values.items() if name not in standing]
        for start in range(0, len(new), _PARAMS_A_REQUEST):
            self._client.log_batch(self._run_id, params=new[start : start + _PARAMS_A_REQUEST])
        changed = {name: value for name, value in values.items() if standing.get(name, value) != value}
        set_tags(self._client, self._run_id, {f"resumed.{name}": value for name, value in changed.items()})

    def _tell_dataset(self, record: Record) -> None:
        name, digest = record["name"], mlflow_digest(record["digest"])
        profile = json.dumps({**record["profile"], "digest": record["digest"]})
        source = json.dumps({"uri": record["source"]})
        dataset = Dataset(name, digest, "local", source, profile=profile)
        context = InputTag("mlflow.data.context", "training")
        self._client.log_inputs(self._run_id, [DatasetInput(dataset, [context])])
        self._sent.dataset = (name, digest)

    def _existing(self, path: str) -> Path:
        """The file or folder that a record names; not where a stranger's record, or a link of his, leads out."""
        named, home = self._run_folder / path, self._run_folder.resolve()
        if not named.exists():
            raise UnsendableError(f"{named} is gone")
        for one in (named, *named.rglob("*")):
            if not one.resolve().is_relative_to(home):
                raise UnsendableError(f"{one} is not in the run's folder")
        return named
