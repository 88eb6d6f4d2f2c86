"""The chain: prepare, train, evaluate, publish, each known by the digest of what goes into it.

A stage that ran with the same inputs before is not run again; training that broke off goes on from its newest
checkpoint. Each stage is a child run under one MLflow run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganlib.data import Dataset
from ganlib.errors import UserError
from ganlib.files import canonical_digest, file_digest, write_atomically
from ganlib.recipe import Recipe
from pipelines.console import Progress
from pipelines.evaluate import evaluate_checkpoint
from pipelines.prepare import open_recipe_source, preparation_of, prepare
from pipelines.publish import Published, publish
from pipelines.run_folder import Home, RunFolder
from pipelines.tracking import close_run, mlflow_client, open_run, set_tags
from pipelines.train import create_run, train

DESCRIPTIVE = {"about", "source", "workers", "evaluate"}
"""Fields of a recipe that leave the weights as they are (worker counts change them in the last digits only)."""


@dataclass(frozen=True)
class Outcome:
    """What a chain ends with."""

    dataset: Dataset
    run: RunFolder
    checkpoint: Path
    metrics: dict[str, float]
    published: Published
    metric: str


def run_chain(
    recipe: Recipe, home: Home, source: str | None, kind: str | None, tracking_uri: str, say: Callable[[str], None]
) -> Outcome:
    """Runs the stages that have to be run, `say`ing a line for each. Raises UserError where a person has to act."""
    opened = open_recipe_source(recipe, source, kind)
    prepare_inputs = {"source": opened.digest(), "kind": opened.kind, **preparation_of(recipe).model_dump(mode="json")}
    fields = {key: value for key, value in recipe.model_dump(mode="json").items() if key not in DESCRIPTIVE}
    chain = canonical_digest({"prepare": prepare_inputs, "recipe": fields, "evaluate": recipe.evaluate.model_dump()})
    parent = open_run(
        tracking_uri,
        recipe.name,
        f"chain-{recipe.name}",
        {"recipe": recipe.name, "gan.kind": "chain"},
        f"chain-{chain}",
    )
    stages = Stages(home, tracking_uri, recipe.name, parent)
    status = "FAILED"
    try:
        outcome = _run_stages(recipe, home, source, kind, tracking_uri, parent, stages, prepare_inputs, fields, say)
        status = "FINISHED"
        return outcome
    finally:
        close_run(tracking_uri, parent, status)  # type: ignore[arg-type]


def _run_stages(
    recipe: Recipe,
    home: Home,
    source: str | None,
    kind: str | None,
    tracking_uri: str,
    parent: str,
    stages: Stages,
    prepare_inputs: dict[str, Any],
    fields: dict[str, Any],
    say: Callable[[str], None],
) -> Outcome:
    def prepared() -> dict[str, Any]:
        dataset = prepare(recipe, home, source, kind)
        classifier = dataset.manifest.classifier
        counts = {f"images/{split}": float(count) for split, count in dataset.manifest.counts.items()}
        accuracy = {"classifier_accuracy": classifier.accuracy} if classifier else {}
        return {"path": str(dataset.path), "metrics": {**counts, **accuracy}}

    found = stages.run(
        "prepare", prepare_inputs, prepared, lambda old: (Path(old["path"]) / "manifest.json").is_file(), say
    )
    dataset = Dataset.open(Path(found["path"]))

    train_inputs = {"dataset": dataset.digest, "recipe": fields}
    run = RunFolder(home.runs / f"{recipe.name}-{canonical_digest(train_inputs)[:12]}")
    if run.finished:
        say(f"train: as before, {run.name}")
    else:
        if not run.exists:
            create_run(recipe, dataset, home, run.name)
            say(f"train: {run.name}")
        else:
            say(f"train: goes on with {run.name}")
    # A finished run costs nothing here, but what the tracking server has not yet taken is shipped.
    run_id = train(run, tracking_uri, parent)
    checkpoint = run.last_checkpoint()

    def evaluated() -> dict[str, Any]:
        with Progress("evaluate") as progress:
            metrics = evaluate_checkpoint(run, checkpoint.name, dataset, progress.update)
        return {"metrics": metrics}

    content = file_digest(checkpoint / "progress.json")
    evaluate_inputs = {"checkpoint": content, "dataset": dataset.digest, "evaluate": recipe.evaluate.model_dump()}
    metrics = stages.run("evaluate", evaluate_inputs, evaluated, lambda old: True, say)["metrics"]
    metric = next(name for name in metrics if name.startswith("fid/"))

    def published() -> dict[str, Any]:
        done = publish(checkpoint, dataset.name, dataset.digest, metrics, metric, tracking_uri, run_id)
        return {"published": done.__dict__}

    publish_inputs = {**evaluate_inputs, "metrics": metrics, "tracking": tracking_uri}
    done = Published(**stages.run("publish", publish_inputs, published, lambda old: True, say)["published"])
    return Outcome(dataset, run, checkpoint, metrics, done, metric)


class Stages:
    """Remembers what each stage made of which inputs, in `HOME/stages/<stage>-<digest>.json`."""

    def __init__(self, home: Home, tracking_uri: str, experiment: str, parent: str):
        self.home, self.tracking_uri, self.experiment, self.parent = home, tracking_uri, experiment, parent

    def run(
        self,
        name: str,
        inputs: dict[str, Any],
        work: Callable[[], dict[str, Any]],
        stands: Callable[[dict[str, Any]], bool],
        say: Callable[[str], None],
    ) -> dict[str, Any]:
        """What `work` makes of `inputs` (JSON), or made of them before if that still `stands`.

        Recorded as a child run: `metrics` of the result as metrics, the rest as tags.
        """
        digest = canonical_digest({"stage": name, "inputs": inputs})
        record = self.home.stages / f"{name}-{digest[:16]}.json"
        old = self._read(record)
        if old is not None and stands(old):
            say(f"{name}: as before")
            return old
        say(f"{name} ...")
        tags = {"mlflow.parentRunId": self.parent, "recipe": self.experiment, "gan.kind": name}
        run_id = open_run(self.tracking_uri, self.experiment, name, tags, f"{name}-{digest}-{self.parent}")
        status = "FAILED"
        try:
            made = work()
            client = mlflow_client(self.tracking_uri)
            for metric, value in made.get("metrics", {}).items():
                client.log_metric(run_id, metric, value)
            set_tags(client, run_id, {f"gan.{key}": str(value) for key, value in made.items() if key != "metrics"})
            status = "FINISHED"
        finally:
            close_run(self.tracking_uri, run_id, status)  # type: ignore[arg-type]
        write_atomically(record, json.dumps(made, indent=2))
        return made

    @staticmethod
    def _read(record: Path) -> dict[str, Any] | None:
        try:
            value = json.loads(record.read_text())
        except (OSError, ValueError):
            return None
        if not isinstance(value, dict):
            raise UserError(f"{record} is not a stage's record; remove it")
        return value
