"""The stage that trains: the driver's part. It makes the run's folder, starts the workers, and ships the journal."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ganlib.data import Dataset
from ganlib.data.unpaired import epoch_images
from ganlib.errors import UserError
from ganlib.pictures import animate, curves, sheet
from ganlib.recipe import Recipe
from pipelines.cluster import connect, has_gpus, most_of
from pipelines.console import Progress
from pipelines.evaluate import evaluate_checkpoint
from pipelines.health import health_tags, verdicts_of
from pipelines.job_link import keep_job_log
from pipelines.journal import PASSED_OVER_TAG, Journal, Status, journal_folder, read_entries, read_metrics
from pipelines.notice import TerminatedError, answer, ask_and_wait, asked_to_go, on_sigterm
from pipelines.run_folder import Home, RunFacts, RunFolder
from pipelines.sender import Sender
from pipelines.tracking import KIND_TAG, host_facts

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

MAX_FAILURES = 3
"""Times that a run is taken up again after workers died, before it has a newer checkpoint than it began with."""

RESIZE_EVERY_SECONDS = 60.0
"""How often elastic workers look whether there is room for more of them; to take them in costs some seconds."""

LEAVE_SECONDS = 25.0
"""How long the end by SIGTERM waits for the workers' checkpoint; Kubernetes kills after 30 s."""

EVALUATION = {"num_cpus": 1, "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1"}}}
"""What the evaluation beside a training asks of Ray. An environment of its own keeps its processes, which give way to
others, from being taken for training later."""

DRAIN_SECONDS = 60.0
"""How long the end of a run waits for the tracking server; the rest is shipped by the next command on the run."""

_log = logging.getLogger(__name__)

PARTING_SECONDS = 3.0
"""The same, where the process is told to go."""

MARKS = (1, 5, 10, 20, 40, 60)
"""Epochs whose samples stand side by side in one picture (SYSTEMS.md A5)."""

CURVES = {
    "losses": ("loss/discriminator", "loss/generator"),
    "what the discriminator says": ("d_real", "d_heldout", "d_fake", "d_fake_before_g", "d_fake_after_g"),
    "gradient norms": ("gradient/discriminator", "gradient/generator"),
    "fakes against the data": ("variety", "shift"),
    "workers": ("workers",),
}
"""Panels of what ticks say, each where a run has it; elastic ones alone say how many workers they are on."""


def create_run(recipe: Recipe, dataset: Dataset, home: Home, name: str) -> RunFolder:
    """The folder of a new run."""
    facts = RunFacts(
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
    often, another process trains this very run; and where SIGTERM ended it for now.
    """
    recipe, facts = run.recipe(), run.facts()
    dataset = Dataset.open(facts.dataset_path)
    sender = sender_of(run, tracking_uri, parent_run_id)
    patience = DRAIN_SECONDS
    with run.locked(), Journal(run.path, "driver") as journal:
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
        except (KeyboardInterrupt, TerminatedError):
            status, patience = "KILLED", PARTING_SECONDS
            raise
        except UserError as error:
            journal.tags({"gan.ended": str(error)})
            raise
        finally:
            try:
                journal.tags(health_tags(verdicts_of(run)))
                if (log := keep_job_log(run.path / "job")) is not None:
                    journal.artifact(log, "job")
                journal.finish(status)
            finally:
                ship(sender, run, patience)
    return sender.run_id or ""


def sender_of(run: RunFolder, tracking_uri: str, parent_run_id: str | None = None) -> Sender:
    """What ships the journal of `run` to MLflow."""
    recipe = run.facts().recipe
    tags = {"recipe": recipe, "gan.folder": str(run.path), KIND_TAG: "training"}
    return Sender(run.path, tracking_uri, recipe, run.name, parent_run_id, tags)


def ship(sender: Sender, run: RunFolder, seconds: float = DRAIN_SECONDS) -> None:
    """Waits, for so long, until MLflow has the whole journal; says so where it has not."""
    left = sender.drain(seconds)
    if left:
        _log.warning(
            "MLflow has not taken %d records yet; they stay in %s and are shipped by `gan train --run %s`",
            left, run.path / "journal", run.name,
        )  # fmt: skip


def fit(run: RunFolder, recipe: Recipe) -> None:
    """Runs the training loop on as many workers as the recipe says, and there are, until it comes to its end.

    Raises UserError where a person has to act, TerminatedError where this process had SIGTERM.
    """
    os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "1")  # a spot node has 30 s from its notice on
    from ray.train import TrainingFailedError

    from pipelines.train_loop import failure_of
    from pipelines.writers import unjudged

    if recipe.elastic:  # what was counted may be on a node that is about to go: count again then
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "20")
    answer(run)  # who asked before is gone
    if recipe.most_workers:
        connect(recipe.least_workers, spare=0 if recipe.elastic else 1)
    with on_sigterm(lambda: leave(run) if recipe.most_workers else None):
        while True:
            # Ray's own list of checkpoints would only be second to the folder, which is what a run is resumed from.
            (run.path / "checkpoint_manager_snapshot.json").unlink(missing_ok=True)
            before = newest_name(run)
            try:
                said = trainer_of(run, recipe).fit().return_value
                break
            except SystemError as error:  # what a signal's handler raises inside Ray's core comes out as its cause
                raise error.__cause__ or error from None
            except TrainingFailedError as error:
                if why := failure_of(run):
                    raise UserError(f"a worker cannot train: {why}") from error
                if newest_name(run) == before:
                    raise UserError(f"training failed: {' '.join(str(error).split())[:500]}") from error
                _log.warning("workers failed again; the run goes on from %s", newest_name(run))
    if said:
        raise UserError(said)
    if asked_to_go():
        raise TerminatedError(parting(run))
    for name in unjudged(run):  # what judged it beside the training was killed too often
        evaluate_checkpoint(run, name, Dataset.open(run.facts().dataset_path))


def trainer_of(run: RunFolder, recipe: Recipe) -> TorchTrainer:
    """Ray Train's trainer for `run`; of workers that die it starts others MAX_FAILURES times."""
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, ValidationConfig
    from ray.train.torch import TorchTrainer

    from pipelines.leaving import CheckpointBeforeResize, LeavingConfig
    from pipelines.train_loop import train_loop

    least, most = recipe.least_workers, recipe.most_workers
    judging: dict[str, Any] = dict(EVALUATION)
    if most:
        gpus = has_gpus(least)
        if gpus and recipe.train.evaluate_gpus:
            judging["num_gpus"] = spare_gpus(recipe)
        scaling = ScalingConfig(
            num_workers=recipe.workers,
            use_gpu=gpus,
            resources_per_worker={"CPU": 1, **({"GPU": 1} if gpus else {})},
            elastic_resize_monitor_interval_s=RESIZE_EVERY_SECONDS,
        )
    else:
        logging.getLogger("ray.train").setLevel(logging.WARNING)
        scaling = ScalingConfig(num_workers=0)
    if recipe.elastic:  # its workers take every CPU that there is, and the evaluation, which gives way, must not wait
        judging["num_cpus"] = 0
    return TorchTrainer(
        train_loop,
        train_loop_config={"run_folder": str(run.path), "workers": most},
        torch_config=LeavingConfig(),
        scaling_config=scaling,
        run_config=RunConfig(
            name=run.name,
            storage_path=str(run.path.parent),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            checkpoint_config=CheckpointConfig(num_to_keep=None),
            callbacks=[CheckpointBeforeResize(run)] if recipe.elastic else None,
        ),
        validation_config=ValidationConfig(fn=validate, ray_remote_kwargs=judging) if most else None,
    )


def spare_gpus(recipe: Recipe) -> float:
    """What the evaluation beside a training takes of a GPU. Raises UserError where the workers leave it none."""
    if (there := most_of("GPU")) < recipe.most_workers + recipe.train.evaluate_gpus:
        raise UserError(
            f"train.evaluate_gpus={recipe.train.evaluate_gpus:g} is of a GPU that no worker has, and of {there:g} GPUs "
            f"{recipe.most_workers} workers take one each; use fewer workers, or judge on a CPU (train.evaluate_gpus=0)"
        )
    return recipe.train.evaluate_gpus


def leave(run: RunFolder) -> NoReturn:
    """Has the workers of `run` write a checkpoint, and raises TerminatedError."""
    ask_and_wait(run, "stop", LEAVE_SECONDS)
    raise TerminatedError(parting(run))


def parting(run: RunFolder) -> str:
    """The last line of a run that SIGTERM ended."""
    newest = newest_name(run)
    stands = f"{newest} stands" if newest else "there is no checkpoint yet"
    return f"run {run.name} was ended by SIGTERM, {stands}; `gan train --run {run.name}` goes on"


def newest_name(run: RunFolder) -> str | None:
    """The name of the newest checkpoint, whole or not."""
    return max((path.name for path in run.path.glob("checkpoint-*") if path.is_dir()), default=None)


def validate(checkpoint: Any, name: str) -> dict[str, float]:
    """Ray Train's validation function: judges checkpoint `name`, beside the training."""
    from pipelines.evaluate import evaluate_beside

    return evaluate_beside(str(Path(checkpoint.path).parent), name)


@contextmanager
def followed(run: RunFolder, total: int) -> Iterator[None]:
    """Shows the run's progress, as its journal tells it, while the body runs."""
    stop = threading.Event()

    def follow() -> None:
        path = journal_folder(run.path) / "train.jsonl"
        offset = path.stat().st_size if path.is_file() else 0
        before, note, started = run.seen() or 0, "", False
        seen = before
        with Progress(f"train {run.name}") as progress:
            while not stop.wait(0.5):
                seen = run.seen() or seen  # None where it is being written
                started = started or seen != before
                if started and seen >= total:
                    progress.close_with("all images seen; its last checkpoint is written and judged")
                elif started:
                    progress.update(seen, total, note)
                for entry in read_entries(path, offset):
                    offset = entry.end
                    if entry.record["kind"] == "metrics" and "d_real" in entry.record["values"]:
                        said = entry.record["values"]
                        note = f"D(x) {float(said['d_real']):.2f}  D(G(z)) {float(said['d_fake']):.2f}"
                    elif entry.record["kind"] == "tags" and PASSED_OVER_TAG in entry.record["values"]:
                        _log.warning(entry.record["values"][PASSED_OVER_TAG])

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def is_distance(name: str) -> bool:
    """Whether a metric is a Frechet distance that is drawn: of any kind (patches, translations) and of its floor, but
    of no class by itself, and no error."""
    return name.startswith("fid") and name.count("/") == 1 and "_se/" not in name


def draw(run: RunFolder, journal: Journal, epoch: int) -> None:
    """The curves, the animation and the sheet of the run so far, as artifacts. epoch: its length in images."""
    metrics = read_metrics(run.path)
    series = {title: {name: metrics.get(name, []) for name in names} for title, names in CURVES.items()}
    series["Frechet distance"] = {name: metrics[name] for name in metrics if is_distance(name)}
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
