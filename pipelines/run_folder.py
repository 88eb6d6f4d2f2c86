"""Where things lie: the home folder, and in it one folder a run, which is the whole record of that run.

HOME/datasets/<name>-<digest>/       prepared datasets
HOME/runs/<run>/                     recipe.yaml, run.json, checkpoint-*/, evaluations/, pictures/, journal/, lock;
                                     threads.json: of each worker, wherever the run goes on
HOME/jobs/<job>                      of a submitted job, the run or the study that it has begun
HOME/mlflow/                         the local MLflow: SQLite database and artifacts
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from ganlib.errors import UserError
from ganlib.files import write_atomically
from ganlib.recipe import EvaluateConfig, Recipe

MOST_THREADS = 1024
"""A run's folder may be a stranger's."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Home:
    """The folder that holds everything that the product keeps (`--home`, or GAN_HOME)."""

    path: Path

    @property
    def datasets(self) -> Path:
        return self.path / "datasets"

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def stages(self) -> Path:
        return self.path / "stages"

    def create(self) -> Home:
        """Makes the folders. Raises UserError where they cannot be made."""
        try:
            for folder in (self.datasets, self.runs, self.stages):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"the home folder {self.path} cannot be written ({error.strerror}); give another with --home"
            ) from error
        return Home(self.path.resolve())


class RunFacts(BaseModel):
    """What `run.json` holds: what never changes while the run goes on. What other versions say there is passed over."""

    recipe: str
    dataset_path: str
    dataset_name: str
    dataset_digest: str
    created: float


@dataclass(frozen=True)
class RunFolder:
    """One run's folder."""

    path: Path

    @classmethod
    def create(cls, path: Path, facts: RunFacts, recipe_yaml: str) -> RunFolder:
        """Makes the folder, `run.json` last."""
        write_atomically(path / "recipe.yaml", recipe_yaml)
        write_atomically(path / "run.json", facts.model_dump_json(indent=2))
        return cls(path)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def pictures(self) -> Path:
        return self.path / "pictures"

    @property
    def exists(self) -> bool:
        return (self.path / "run.json").is_file()

    @contextmanager
    def locked(self, what: str = "run") -> Iterator[None]:
        """Keeps other processes from training this run, or study, while the body runs. Raises UserError where one does.

        By flock: a process that is killed holds nothing. On storage that several machines share it holds between them
        where the storage's flock does (NFS from Linux 2.6.12 on, Lustre and CephFS); not on mounted buckets.
        """
        path = self.path / "lock"
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(
                f"cannot write {path}: {error.strerror}; a run is trained where it can be written"
            ) from error
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.read(file, 200).decode(errors="replace") or "another process"
                raise UserError(
                    f"{what} {self.name} is being trained by {holder}; wait for it, or end it first"
                ) from error
            except OSError as error:
                _log.warning("%s cannot be locked (%s): see that nobody else trains this run", path, error.strerror)
            with suppress(OSError):  # a full disk: the lock holds without its holder's name
                os.ftruncate(file, 0)
                os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            yield
        finally:
            os.close(file)

    def first_recipe(self) -> Recipe:
        """The recipe that it began with. Raises UserError."""
        return Recipe.load(self.path / "recipe.yaml")

    def recipe(self) -> Recipe:
        """The recipe that it began with, at the length that it has now. Raises UserError."""
        recipe, length = self.first_recipe(), self.path / "length.json"
        return recipe.with_overrides(f"train.images={length.read_text()}") if length.is_file() else recipe

    def lengthen(self, images: int) -> None:
        """Sets the length in images; a finished run is then to go on. Schedules stretch with the length."""
        write_atomically(self.path / "length.json", json.dumps(images))
        (self.path / "finished.json").unlink(missing_ok=True)

    def take_over(self, images: int) -> None:
        """Says that from so many images on it goes on with another run's weights."""
        write_atomically(self.path / "taken-over.json", json.dumps(images))

    @property
    def weights_since(self) -> int:
        """How many images had been seen when it took over the weights that it has; 0 where they are its own."""
        taken = self.path / "taken-over.json"
        return int(taken.read_text()) if taken.is_file() else 0

    def note_seen(self, images: int) -> None:
        """Says, to whoever watches, how many images a training has seen between two lines of its journal."""
        with suppress(OSError):  # nothing depends on it
            (self.path / "seen").write_text(str(images))

    def seen(self) -> int | None:
        """What was said last; None where nothing was, or while it is being written."""
        try:
            return int((self.path / "seen").read_text())
        except (OSError, ValueError):
            return None

    def threads(self, now: int) -> int:
        """The threads of each of its workers: `now` where it begins, and from then on what it began with.

        They decide in what order sums are added up: a run that goes on where there are other cores would end with other
        weights. Raises UserError.
        """
        path = self.path / "threads.json"
        if not path.is_file():
            write_atomically(path, json.dumps(now))
        try:
            threads = int(path.read_text())
        except (OSError, ValueError):
            threads = 0
        if not 0 < threads <= MOST_THREADS:
            raise UserError(f"{path} holds no number of threads; remove it, and the run goes on with {now}")
        return threads

    @property
    def finished(self) -> bool:
        """Whether training has come to its end."""
        return (self.path / "finished.json").is_file()

    def finish(self, checkpoint: str) -> None:
        """Says that training ended, with `checkpoint` the last."""
        write_atomically(self.path / "finished.json", json.dumps({"checkpoint": checkpoint}))

    def last_checkpoint(self) -> Path:
        """The last checkpoint of a finished run."""
        return self.path / json.loads((self.path / "finished.json").read_text())["checkpoint"]

    def facts(self) -> RunFacts:
        """Raises UserError where this is no run's folder."""
        try:
            return RunFacts.model_validate_json((self.path / "run.json").read_text())
        except (OSError, ValidationError) as error:
            raise UserError(f"{self.path} is not the folder of a run (it has no whole run.json)") from error

    def evaluation_file(self, checkpoint: str) -> Path:
        """Where the metrics of one checkpoint are kept, as JSON, with what they were taken of."""
        return self.path / "evaluations" / f"{checkpoint}.json"

    def due_mark(self, checkpoint: str) -> Path:
        """Stands for as long as the checkpoint is still to be judged."""
        return self.evaluation_file(checkpoint).with_suffix(".due")

    @contextmanager
    def judging(self, checkpoint: str) -> Iterator[bool]:
        """Whether `checkpoint` is still to be judged; while the body runs, others who ask this wait (flock).

        Who judged it may have been started by a training that was killed since, and outlive it for a while; once that
        is done, the checkpoint may be removed.
        """
        mark = self.due_mark(checkpoint)
        try:
            file = os.open(mark, os.O_RDWR)
        except OSError:  # it is not there, or what is there cannot be written
            yield mark.exists()
            return
        try:
            with suppress(OSError):  # storage without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            yield mark.exists()
        finally:
            os.close(file)

    def evaluation(self, checkpoint: str, config: EvaluateConfig | None = None) -> dict[str, float] | None:
        """The metrics of one checkpoint, or None where it has not been judged, or not on the samples of `config`."""
        try:
            found = json.loads(self.evaluation_file(checkpoint).read_text())
            metrics = {name: float(value) for name, value in found["metrics"].items()}
        except (OSError, ValueError, KeyError):
            return None
        return metrics if config is None or found["of"] == _samples_of(config) else None

    def keep_evaluation(self, checkpoint: str, config: EvaluateConfig, metrics: Mapping[str, float]) -> None:
        """Keeps the metrics that the samples of `config` had."""
        file = self.evaluation_file(checkpoint)
        write_atomically(file, json.dumps({"of": _samples_of(config), "metrics": metrics}, indent=2))


def _samples_of(config: EvaluateConfig) -> dict[str, int]:
    return {"samples": config.samples, "seed": config.seed}


def new_run_name(recipe: str) -> str:
    """A name that no other run has: recipe, time, four random digits."""
    return f"{recipe}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def find_run(home: Home, name: str) -> RunFolder:
    """The run that `name` (a run's name or its folder) means. Raises UserError where there is none."""
    for path in (home.runs / name, Path(name)):
        if (path / "run.json").is_file():
            return RunFolder(path.resolve())
    runs = sorted(path.name for path in home.runs.glob("*") if (path / "run.json").is_file())
    known = f"; the newest runs are {', '.join(runs[-3:])}" if runs else "; there are no runs yet"
    raise UserError(f"there is no run {name!r} in {home.runs}{known}")


def newest_run(home: Home, recipe: str, dataset_digest: str | None = None) -> RunFolder:
    """The newest run of a recipe on a dataset, or on any where None. Raises UserError where there is none."""
    found = []
    for path in home.runs.glob("*"):
        folder = RunFolder(path)
        if folder.exists:
            facts = folder.facts()
            if facts.recipe == recipe and dataset_digest in (None, facts.dataset_digest):
                found.append((facts.created, folder))
    if not found:
        where = f"in {home.runs}" if dataset_digest is None else f"on this dataset in {home.runs}"
        raise UserError(f"there is no run of {recipe!r} {where} to resume; leave out --resume")
    return max(found, key=lambda pair: pair[0])[1]
