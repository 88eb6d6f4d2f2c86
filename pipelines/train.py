"""The stage that trains: the driver's part. It makes the run's folder, starts the workers, and ships the journal."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ganlib.data import Dataset
from ganlib.data.unpaired import epoch_images
from ganlib.errors import UserError
from ganlib.pictures import animate, curves, sheet
from ganlib.recipe import Recipe
from pipelines.cluster import connect
from pipelines.console import Progress
from pipelines.health import health_tags, verdicts_of
from pipelines.journal import Journal, Status, journal_folder, read_entries, read_metrics
from pipelines.run_folder import Home, RunFacts, RunFolder
from pipelines.sender import Sender
from pipelines.tracking import host_facts

MAX_FAILURES = 3
"""Times that a run is taken up again from its newest checkpoint after a worker died."""

EVALUATION = {"num_cpus": 1, "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1"}}}
"""What the evaluation beside a training asks of Ray. An environment of its own keeps its processes, which give way to
others, from being taken for training later."""

DRAIN_SECONDS = 60.0
"""How long the end of a run waits for the tracking server; the rest is shipped by the next command on the run."""

MARKS = (1, 5, 10, 20, 40, 60)
"""Epochs whose samples stand side by side in one picture (SYSTEMS.md A5)."""

CURVES = {
    "losses": ("loss/discriminator", "loss/generator"),
    "what the discriminator says": ("d_real", "d_heldout", "d_fake", "d_fake_before_g", "d_fake_after_g"),
    "gradient norms": ("gradient/discriminator", "gradient/generator"),
    "fakes against the data": ("variety", "shift"),
}


def create_run(recipe: Recipe, dataset: Dataset, home: Home, name: str) -> RunFolder:
    """The folder of a new run."""
    facts = RunFacts(
        unique=f"{name}-{os.urandom(8).hex()}",
        recipe=recipe.name,
        dataset_path=str(dataset.location),
        dataset_name=dataset.name,
        dataset_digest=dataset.digest,
        created=time.time(),
    )
    return RunFolder.create(home.runs / name, facts, recipe.dump())


def train(run: RunFolder, tracking_uri: str, parent_run_id: str | None = None) -> str:
    """Trains `run` to its end, from its newest checkpoint where there is one. Returns the id of its MLflow run.

    Raises UserError where a person has to change something: the run diverged, the storage is full, a worker died too
    often.
    """
    recipe, facts = run.recipe(), run.facts()
    dataset = Dataset.open(facts.dataset_path)
    sender = sender_of(run, tracking_uri, parent_run_id)
    with Journal(run.path, "driver") as journal:
        journal.params(recipe.flat())
        journal.tags(host_facts())
        manifest = dataset.manifest
        profile = {"counts": manifest.counts, "image_shape": manifest.image_shape}
        journal.dataset(dataset.name, dataset.digest, manifest.source.name, profile)
        sender.start()
        status: Status = "FAILED"
        try:
            if not run.finished:
                total = recipe.train.length(epoch_images(dataset, recipe.method.pairing))
                with followed(run, total):
                    fit(run, recipe)
                run.finish(sorted(path.name for path in run.path.glob("checkpoint-*"))[-1])
            draw(run, journal, epoch_images(dataset, recipe.method.pairing))
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            journal.tags(health_tags(verdicts_of(run)))
            journal.finish(status)
            ship(sender, run)
    return sender.run_id or ""


def sender_of(run: RunFolder, tracking_uri: str, parent_run_id: str | None = None) -> Sender:
    """What ships the journal of `run` to MLflow."""
    recipe = run.facts().recipe
    tags = {"recipe": recipe, "gan.folder": str(run.path), "gan.kind": "training"}
    return Sender(run.path, tracking_uri, recipe, run.name, parent_run_id, tags)


def ship(sender: Sender, run: RunFolder) -> None:
    """Waits, for a while, until MLflow has the whole journal; says so where it has not."""
    left = sender.drain(DRAIN_SECONDS)
    if left:
        logging.getLogger(__name__).warning(
            "MLflow has not taken %d records yet; they stay in %s and are shipped by `gan train --run %s`",
            left, run.path / "journal", run.name,
        )  # fmt: skip


def fit(run: RunFolder, recipe: Recipe) -> None:
    """Runs the training loop on as many workers as the recipe says."""
    os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")
    import ray
    from ray.train import (
        CheckpointConfig,
        FailureConfig,
        RunConfig,
        ScalingConfig,
        TrainingFailedError,
        ValidationConfig,
    )
    from ray.train.torch import TorchTrainer

    from pipelines.train_loop import train_loop

    (run.path / "error.txt").unlink(missing_ok=True)
    # Ray's own list of checkpoints would only be second to the folder, which is what a run is resumed from.
    (run.path / "checkpoint_manager_snapshot.json").unlink(missing_ok=True)
    workers = recipe.workers
    cores = len(os.sched_getaffinity(0))
    config: dict[str, Any] = {
        "run_folder": str(run.path),
        "workers": workers,
        "threads": max(cores // max(workers, 1), 1),
    }
    if workers:
        connect(workers)
        gpus = ray.cluster_resources().get("GPU", 0) >= workers
        scaling = ScalingConfig(
            num_workers=workers, use_gpu=gpus, resources_per_worker={"CPU": 1, **({"GPU": 1} if gpus else {})}
        )
    else:
        logging.getLogger("ray.train").setLevel(logging.WARNING)
        scaling = ScalingConfig(num_workers=0)
    trainer = TorchTrainer(
        train_loop,
        train_loop_config=config,
        scaling_config=scaling,
        run_config=RunConfig(
            name=run.name,
            storage_path=str(run.path.parent),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            checkpoint_config=CheckpointConfig(num_to_keep=None),
        ),
        validation_config=ValidationConfig(fn=validate, ray_remote_kwargs=EVALUATION) if workers else None,
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        said = read_error(run)
        raise UserError(said or f"training failed: {' '.join(str(error).split())[:500]}") from error
    said = read_error(run)
    if said:
        raise UserError(said)


def validate(checkpoint: Any, name: str) -> dict[str, float]:
    """Ray Train's validation function: judges checkpoint `name`, beside the training."""
    from pipelines.evaluate import evaluate_beside

    return evaluate_beside(str(Path(checkpoint.path).parent), name)


def read_error(run: RunFolder) -> str | None:
    """The line that a worker left for the person, if it did."""
    path = run.path / "error.txt"
    return path.read_text() if path.is_file() else None


@contextmanager
def followed(run: RunFolder, total: int) -> Iterator[None]:
    """Shows the run's progress, as its journal tells it, while the body runs."""
    stop = threading.Event()

    def follow() -> None:
        path, offset = journal_folder(run.path) / "train.jsonl", 0
        with Progress(f"train {run.name}") as progress:
            while not stop.wait(0.5):
                for entry in read_entries(path, offset):
                    offset = entry.end
                    if entry.record["kind"] == "metrics" and "d_real" in entry.record["values"]:
                        said = entry.record["values"]
                        note = f"D(x) {float(said['d_real']):.2f}  D(G(z)) {float(said['d_fake']):.2f}"
                        progress.update(entry.record["images_seen"], total, note)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def draw(run: RunFolder, journal: Journal, epoch: int) -> None:
    """The curves, the animation and the sheet of the run so far, as artifacts. epoch: its length in images."""
    metrics = read_metrics(run.path)
    series = {title: {name: metrics.get(name, []) for name in names} for title, names in CURVES.items()}
    distances = [name for name in metrics if name.startswith("fid") and name.count("/") == 1 and "_se/" not in name]
    series["Frechet distance"] = {name: metrics[name] for name in distances}
    curves(series, run.pictures / "curves.png")
    samples = sorted(run.pictures.glob("samples-*.png"))
    animate(samples, run.pictures / "animation.gif")
    seen = [int(path.stem.rpartition("-")[2]) for path in samples]
    marks = [(mark, next((i for i, images in enumerate(seen) if images >= mark * epoch), None)) for mark in MARKS]
    reached = {f"{mark} epoch{'s' * (mark > 1)}": samples[i] for mark, i in marks if i is not None}
    drawn = ["curves.png", "animation.gif"]
    if reached:
        sheet(reached, run.pictures / "epochs.png")
        drawn.append("epochs.png")
    for name in drawn:
        journal.artifact(run.pictures / name, "pictures")
