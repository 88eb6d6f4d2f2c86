"""The chain: prepare, train, evaluate, publish, each known by the digest of what goes into it.

A stage that ran with the same inputs before is not run again; training that broke off goes on from its newest
checkpoint. Each stage is a child run under one MLflow run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ganlib.data import Dataset
from ganlib.errors import UserError
from ganlib.evaluation.names import judged_by
from ganlib.files import canonical_digest, file_digest, write_atomically
from ganlib.inputs import told_of
from ganlib.recipe import Recipe
from pipelines.console import Progress
from pipelines.evaluate import evaluate_checkpoint, extractor_name
from pipelines.journal import Status
from pipelines.prepare import DatasetRequest
from pipelines.publish import Published, is_registered, publish
from pipelines.run_folder import RunFolder
from pipelines.tracking import KIND_TAG, close_run, mlflow_client, open_run, set_tags
from pipelines.train import create_run, train

INDIFFERENT = {"about", "source", "workers", "evaluate"}
"""Fields of a recipe that leave the weights as they are (a worker count changes their last digits only)."""

RANKING = ("fid/", "fid_patch/", "fid_target/")
"""What a published generator is ranked by: the first metric of the first of these that its evaluation has."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a chain ends with."""

    dataset: Dataset
    run: RunFolder
    checkpoint: Path
    metrics: dict[str, float]
    published: Published | None


def run_chain(recipe: Recipe, request: DatasetRequest, tracking_uri: str, say: Callable[[str], None]) -> Outcome:
    """Runs the stages that have to be run, `say`ing a line for each.

    Raises UserError where a person has to act, mlflow.MlflowException where MLflow does not answer between two stages;
    the same call goes on from there.
    """
    identity = canonical_digest({"data": request.fingerprint(), "recipe": recipe.model_dump(mode="json")})
    tags = {"recipe": recipe.name, KIND_TAG: "chain"}
    parent = open_run(tracking_uri, recipe.name, f"chain-{recipe.name}", tags, f"chain-{identity}")
    chain = Chain(recipe, request, tracking_uri, parent, say)
    status: Status = "FAILED"
    try:
        dataset = chain.prepare()
        run, run_id = chain.train(dataset)
        metrics = chain.evaluate(run, dataset)
        published = chain.publish(run, run_id, dataset, metrics)
        status = "FINISHED"
    finally:
        close_run(tracking_uri, parent, status)
    return Outcome(dataset, run, run.last_checkpoint(), metrics, published)


@dataclass(frozen=True)
class Chain:
    """The stages of one recipe on one dataset. What each made of which inputs is kept in `HOME/stages`."""

    recipe: Recipe
    request: DatasetRequest
    tracking_uri: str
    parent: str
    say: Callable[[str], None]

    def prepare(self) -> Dataset:
        def work() -> Record:
            dataset = self.request.prepare()
            classifier = dataset.manifest.classifier
            counts = {f"images/{split}": float(count) for split, count in dataset.manifest.counts.items()}
            accuracy = {"classifier_accuracy": classifier.accuracy} if classifier else {}
            return {"path": str(dataset.location), "metrics": {**counts, **accuracy}}

        def stands(old: Record) -> bool:
            try:
                Dataset.open(old["path"])
            except UserError:
                return False
            return True

        inputs = {"data": self.request.fingerprint()}
        return Dataset.open(self._stage("prepare", inputs, work, stands)["path"])

    def train(self, dataset: Dataset) -> tuple[RunFolder, str]:
        """The finished run and the id of its MLflow run."""
        values = self.recipe.model_dump(mode="json")
        fields = {name: value for name, value in values.items() if name not in INDIFFERENT}
        digest = canonical_digest({"dataset": dataset.digest, "recipe": fields})
        run = RunFolder(self.request.home.runs / f"{self.recipe.name}-{digest[:12]}")
        if run.finished:
            self.say(f"train: as before, {run.name}")
        elif run.exists:
            self.say(f"train: goes on with {run.name}")
        else:
            create_run(self.recipe, dataset, self.request.home, run.name)
            self.say(f"train: {run.name}")
        # Of a finished run this only ships what the tracking server has not had yet.
        return run, train(run, self.tracking_uri, self.parent)

    def evaluate(self, run: RunFolder, dataset: Dataset) -> dict[str, float]:
        checkpoint = run.last_checkpoint()

        def work() -> Record:
            with Progress("evaluate") as progress:
                config = self.recipe.evaluate
                return {"metrics": evaluate_checkpoint(run, checkpoint.name, dataset, progress.update, config)}

        metrics: dict[str, float] = self._stage("evaluate", self._judged(run, dataset), work)["metrics"]
        return metrics

    def publish(self, run: RunFolder, run_id: str, dataset: Dataset, metrics: dict[str, float]) -> Published | None:
        """The registered model; None for what the served model has no answer for: points."""
        if self.recipe.data.points:
            self.say("publish: left out, the served model makes images and no points")
            return None
        # By the extractor that the recipe names, where others have judged the run as well.
        judge = extractor_name(self.recipe.method, dataset, self.recipe.evaluate.extractor) or ""
        chosen = [name for name in metrics if judged_by([name], judge)]
        metric = next(name for prefix in RANKING for name in [*chosen, *metrics] if name.startswith(prefix))

        def work() -> Record:
            with Progress("publish"):
                done = publish(
                    run.last_checkpoint(),
                    dataset.name,
                    dataset.digest,
                    metrics,
                    metric,
                    self.tracking_uri,
                    run_id,
                    dataset.columns.domain_names or (),
                    told_of(dataset, self.recipe.method.fitted(dataset), 1),
                )
            return asdict(done)

        inputs = {**self._judged(run, dataset), "metrics": metrics, "tracking": self.tracking_uri}

        def stands(old: Record) -> bool:
            return is_registered(Published(**old), self.tracking_uri)

        made = self._stage("publish", inputs, work, stands)
        return Published(**made)

    def _judged(self, run: RunFolder, dataset: Dataset) -> Record:
        content = file_digest(run.last_checkpoint() / "progress.json")
        return {"checkpoint": content, "dataset": dataset.digest, "evaluate": self.recipe.evaluate.model_dump()}

    def _stage(
        self, name: str, inputs: Record, work: Callable[[], Record], stands: Callable[[Record], bool] = lambda old: True
    ) -> Record:
        """What `work` makes of `inputs` (JSON), or made of them before where that still `stands`.

        A child run records it: `metrics` of the result as metrics, the rest as tags.
        """
        digest = canonical_digest({"stage": name, "inputs": inputs})
        record = self.request.home.stages / f"{name}-{digest[:16]}.json"
        old: Record | None = json.loads(record.read_text()) if record.is_file() else None
        if old is not None and stands(old):
            self.say(f"{name}: as before")
            return old
        self.say(f"{name} ...")
        tags = {"mlflow.parentRunId": self.parent, "recipe": self.recipe.name, KIND_TAG: name}
        run_id = open_run(self.tracking_uri, self.recipe.name, name, tags, f"{name}-{digest}-{self.parent}")
        status: Status = "FAILED"
        try:
            made = work()
            client = mlflow_client(self.tracking_uri)
            for metric, value in made.get("metrics", {}).items():
                client.log_metric(run_id, metric, value)
            set_tags(client, run_id, {f"gan.{key}": str(value) for key, value in made.items() if key != "metrics"})
            status = "FINISHED"
        finally:
            close_run(self.tracking_uri, run_id, status)
        write_atomically(record, json.dumps(made, indent=2))
        return made
