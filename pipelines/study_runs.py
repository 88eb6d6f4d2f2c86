"""A study in MLflow: a parent run, and a nested run a trial, each the replica of a journal.

The driver alone ships, whatever nodes trials run on: their journals lie in their folders, and a folder has one run
however often its trial is lost and taken up again.
"""

from __future__ import annotations

import json
import math
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

from ganlib.data import Dataset
from pipelines.job_link import keep_job_log
from pipelines.journal import Journal, Status, journal_folder, read_entries
from pipelines.run_folder import RunFacts, RunFolder
from pipelines.sender import Sender
from pipelines.tracking import KIND_TAG, host_facts, mlflow_client
from pipelines.train import DRAIN_SECONDS
from tuning.ledger import BAD, Ledger, values_of
from tuning.member import trial_folder
from tuning.record import Study, Trial, TrialStatus

AWAY_SECONDS = 2.0
"""How long the end waits for MLflow to take what a trial has to say, where it has just not taken another's."""

STUDY_TAG = "gan.study"
DATASET_TAG = "gan.study.dataset"
SPACE_TAG = "gan.study.space"
BEST_TAG = "gan.study.best"
"""Of the parent: the study's name, its dataset's digest, its space and the best trial's values as JSON. The best
trial's run has the last one as "true"."""
VALUES_TAG = "gan.trial.values"
"""Of a trial that has ended: the values that it ended with, as JSON; its parameters are those that it began with, and a
population changes them on the way."""


class StudyRuns:
    """Journals and senders of the study in `folder`. Hears of every change to a trial (`tuning.ledger.Told`)."""

    def __init__(self, folder: Path, study: Study, dataset: Dataset, tracking_uri: str, settings: dict[str, Any]):
        self.folder, self.dataset, self.uri = folder, dataset, tracking_uri
        self._recipe: str = study.recipe["name"]
        self._journal = Journal(folder, "driver")
        # MLflow takes no * in a parameter's name; the tag has the space as it was written.
        space = {f"space.{path.replace('*', 'all')}": text for path, text in study.space.items()}
        facts = {
            name: getattr(study, name) for name in ("search", "scheduler", "metric", "mode", "seed", "trials_wanted")
        }
        self._journal.params({**facts, "rungs": study.rungs, **settings, **space})
        self._journal.tags(host_facts() | {SPACE_TAG: json.dumps(study.space)})
        self._describe(self._journal)
        tags = {"recipe": self._recipe, "gan.folder": str(folder), KIND_TAG: "study", STUDY_TAG: study.name}
        self._parent = Sender(folder, tracking_uri, self._recipe, study.name, None, tags | {DATASET_TAG: study.dataset})
        self._parent.start()
        self._senders: dict[int, Sender] = {}
        self._pool = ThreadPoolExecutor(1)
        self._drains: list[tuple[Sender, Future[int]]] = []
        self._patience = DRAIN_SECONDS

    @property
    def run_id(self) -> str:
        """The parent's; "" where MLflow has not had it yet."""
        return self._parent.run_id or ""

    def told(self, ledger: Ledger, trial: Trial) -> None:
        """The trial began, had a reading, or ended."""
        run = RunFolder(trial_folder(self.folder, trial.number))
        if not run.exists:
            self._create(ledger, trial, run)
        if trial.number not in self._senders:
            self._senders[trial.number] = self._sender(ledger.study, trial, run)
            self._senders[trial.number].start()
        self._say_best(ledger.study)
        if trial.status == "running":
            return
        self._say_counts(ledger.study)
        with Journal(run.path, "driver") as journal:
            values = json.dumps(values_of(ledger.study, trial.number))
            journal.tags({"gan.trial.status": trial.status, "gan.trial.says": trial.says, VALUES_TAG: values})
            journal.finish("FAILED" if trial.status in BAD else "FINISHED")
        self._drain(self._senders[trial.number])

    def go_on(self, ledger: Ledger) -> None:
        """What a driver that was killed had recorded, and had not said or sent."""
        for trial in ledger.study.trials:
            run = RunFolder(trial_folder(self.folder, trial.number))
            said = read_entries(journal_folder(run.path) / "driver.jsonl")
            if trial.status == "running" or all(entry.record["kind"] != "finish" for entry in said):
                self.told(ledger, trial)
            else:
                self._drain(self._sender(ledger.study, trial, run))

    def end(self, ledger: Ledger, made: list[Path], status: Status) -> int:
        """Ships what there is, files that the study made (below its folder) among it. Returns the records left over."""
        study = ledger.study
        for number, sender in self._senders.items():
            if study.trials[number].status == "running":  # the study broke off
                self._drain(sender)
        left = sum(self._ship(sender) for sender, drain in self._drains if drain.result())  # it may be back
        if study.best is not None:
            best = study.trials[study.best]
            self._journal.tags(
                {BEST_TAG: json.dumps(values_of(study, best.number)), "gan.study.best_trial": str(best.number)}
            )
            run = RunFolder(trial_folder(self.folder, best.number))
            with Journal(run.path, "driver") as journal:
                journal.tags({BEST_TAG: "true"})
                journal.finish("FINISHED")
            left += self._ship(self._sender(study, best, run))
        for path in made:
            self._journal.artifact(path, "study")
        if (log := keep_job_log(self.folder / "job")) is not None:
            self._journal.artifact(log, "job")
        self._journal.finish(status)
        left += self._parent.drain(DRAIN_SECONDS)
        self._pool.shutdown()
        self._journal.close()
        return left

    def _drain(self, sender: Sender) -> None:
        """Beside the study, one after the other."""
        self._drains.append((sender, self._pool.submit(self._ship, sender)))

    def _ship(self, sender: Sender) -> int:
        """Returns the records left over. Where MLflow is away, one trial waits for it, and those after it hardly."""
        left = sender.drain(self._patience)
        self._patience = AWAY_SECONDS if left else DRAIN_SECONDS
        return left

    def _create(self, ledger: Ledger, trial: Trial, run: RunFolder) -> None:
        recipe = ledger.recipe(trial.number)
        facts = RunFacts(
            recipe=recipe.name,
            dataset_path=str(self.dataset.location),
            dataset_name=self.dataset.name,
            dataset_digest=self.dataset.digest,
            created=trial.began,
        )
        RunFolder.create(run.path, facts, recipe.dump())
        with Journal(run.path, "driver") as journal:
            journal.params(recipe.flat())
            journal.tags({"gan.trial": str(trial.number)} | host_facts())
            if trial.repeats is not None:
                journal.tags({"gan.trial.repeats": str(trial.repeats)})
            self._describe(journal)

    def _sender(self, study: Study, trial: Trial, run: RunFolder) -> Sender:
        tags = {"recipe": self._recipe, "gan.folder": str(run.path), KIND_TAG: "trial", STUDY_TAG: study.name}
        name = f"{study.name}-{trial.number:04d}"
        return Sender(run.path, self.uri, self._recipe, name, self._parent.standing, tags)

    def _describe(self, journal: Journal) -> None:
        manifest = self.dataset.manifest
        profile = {"counts": manifest.counts, "image_shape": manifest.image_shape}
        journal.dataset(self.dataset.name, self.dataset.digest, manifest.source.name, profile)

    def _say_best(self, study: Study) -> None:
        """The best so far against what the study has cost, in images seen over all its trials."""
        readings = [trial.best(study.mode) for trial in study.trials]
        values = [reading.value for reading in readings if reading is not None and math.isfinite(reading.value)]
        cost = sum(trial.readings[-1].images for trial in study.trials if trial.readings)
        if values:
            best = min(values) if study.mode == "min" else max(values)
            self._journal.metrics(cost, {study.metric: best})

    def _say_counts(self, study: Study) -> None:
        """How many trials are what, against how many have ended: an end may come without a reading, at no more cost."""
        counts = {f"trials/{status}": 0.0 for status in get_args(TrialStatus)}
        for trial in study.trials:
            counts[f"trials/{trial.status}"] += 1
        self._journal.metrics(len(study.trials) - int(counts["trials/running"]), counts)


def earlier_bests(tracking_uri: str, recipe: str, dataset_digest: str) -> list[dict[str, Any]]:
    """The best values of the studies of a recipe on a dataset that MLflow has, the newest first.

    Raises mlflow.MlflowException where MLflow does not answer.
    """
    client = mlflow_client(tracking_uri)
    experiment = client.get_experiment_by_name(recipe)
    if experiment is None:
        return []
    mine = f"tags.`{KIND_TAG}` = 'study' AND tags.`{DATASET_TAG}` = '{dataset_digest}'"
    runs = client.search_runs([experiment.experiment_id], mine, order_by=["attributes.start_time DESC"])
    return [json.loads(run.data.tags[BEST_TAG]) for run in runs if BEST_TAG in run.data.tags]
