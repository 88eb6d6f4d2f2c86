"""Who writes a run's checkpoints and has them judged, beside the training.

Ray Train's asynchronous upload and validation, or a thread and a process of this one's own.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol

import ray.train
from ray.train import Checkpoint, CheckpointUploadMode, ValidationTaskConfig

from ganlib.errors import UserError
from ganlib.training.checkpoint import Snapshot
from pipelines.evaluate import evaluate_beside
from pipelines.journal import Journal
from pipelines.run_folder import RunFolder

JUDGE_TRIES = 3
"""Times that a checkpoint is judged anew because the process that judged it was killed."""


class Writer(Protocol):
    """Takes checkpoints off the training's hands."""

    def write(self, name: str, snapshot: Snapshot | None, judge: bool, metrics: dict[str, float]) -> None:
        """Sees that `snapshot` (None on all workers but the first) becomes checkpoint `name`, judged if `judge`."""

    def judge(self, name: str) -> None:
        """Sees that a checkpoint that stands is judged."""

    def failure(self) -> str | None:
        """What has gone wrong with a checkpoint so far, in a line."""

    def written(self) -> None:
        """Waits until every checkpoint stands that was to be written."""

    def close(self, now: bool = False) -> None:
        """Waits for what is under way; `now`: for what is written alone. What is not judged then is judged later."""


class RayWriter:
    """Ray Train's asynchronous checkpoint upload and validation. Every worker has to make the same calls."""

    def __init__(self, run: RunFolder, shelf: Shelf | None):
        self.run, self.shelf = run, shelf
        self._under_way: list[threading.Event] = []
        self._failure: str | None = None

    def write(self, name: str, snapshot: Snapshot | None, judge: bool, metrics: dict[str, float]) -> None:
        def upload(checkpoint: Checkpoint, _: str) -> Checkpoint:
            try:
                assert snapshot is not None
                assert self.shelf is not None
                self.shelf.put(name, snapshot, judge)
            except UserError as error:  # raised here it would end as a failure of Ray's, to be tried again
                self._failure = str(error)
            finally:
                written.set()
            return checkpoint

        written = threading.Event()
        ray.train.report(
            metrics,
            checkpoint=self._checkpoint(name) if snapshot is not None else None,
            checkpoint_dir_name=name,
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
            checkpoint_upload_fn=upload if snapshot is not None else None,
            # What is reported is where the checkpoint stays: there is no copy to be removed.
            delete_local_checkpoint_after_upload=False,
            # Only the worker that brings the checkpoint may ask for its validation.
            validation=_validation(name) if judge and snapshot is not None else False,
        )
        if snapshot is not None:
            self._under_way.append(written)

    def judge(self, name: str) -> None:
        ray.train.report(
            {},
            checkpoint=self._checkpoint(name) if self.shelf is not None else None,
            checkpoint_dir_name=name,
            checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD,
            validation=_validation(name) if self.shelf is not None else False,
        )

    def failure(self) -> str | None:
        return self._failure

    def written(self) -> None:
        for written in self._under_way:
            written.wait()

    def close(self, now: bool = False) -> None:
        """The validations are Ray Train's to wait for."""
        self.written()

    def _checkpoint(self, name: str) -> Checkpoint:
        return Checkpoint.from_directory(self.run.path / name)


def _validation(name: str) -> ValidationTaskConfig:
    return ValidationTaskConfig(fn_kwargs={"name": name})


class LocalWriter:
    """A thread that writes and a process that judges, for training in the calling process."""

    def __init__(self, shelf: Shelf):
        self.shelf = shelf
        self._writing, self._waiting = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._judging = _judges()
        self._pending: list[Future[Any]] = []
        self._over = False

    def write(self, name: str, snapshot: Snapshot | None, judge: bool, metrics: dict[str, float]) -> None:
        assert snapshot is not None
        self._pending.append(self._writing.submit(self._put, name, snapshot, judge))

    def judge(self, name: str) -> None:
        self._pending.append(self._waiting.submit(self._judge, name))

    def failure(self) -> str | None:
        ended = [future.exception() for future in self._pending if future.done()]
        return next((str(error) for error in ended if isinstance(error, UserError)), None)

    def written(self) -> None:
        self._writing.submit(lambda: None).result()

    def close(self, now: bool = False) -> None:
        """Raises what went wrong."""
        self._writing.shutdown(wait=True)
        self._over = now
        if now:
            for process in multiprocessing.active_children():  # those that judge are all that there are
                process.terminate()
        self._waiting.shutdown(wait=True, cancel_futures=now)
        self._judging.shutdown(wait=True, cancel_futures=now)
        for future in self._pending:
            if not future.cancelled():
                future.result()

    def _put(self, name: str, snapshot: Snapshot, judge: bool) -> None:
        self.shelf.put(name, snapshot, judge)
        if judge:
            self.judge(name)

    def _judge(self, name: str) -> None:
        for _ in range(JUDGE_TRIES):
            if self._over:
                return
            try:
                self._judging.submit(evaluate_beside, str(self.shelf.run.path), name).result()
                return
            except BrokenProcessPool:
                self._judging = _judges()
        logging.getLogger(__name__).warning("%s is judged later: the process that judges was killed again", name)


def _judges() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Ends this process once the one that started it is gone: killed, it ends no pool, whose process waits for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@dataclass(frozen=True)
class Shelf:
    """The checkpoints of a run: the newest `keep` stay, and those that are still to be judged."""

    run: RunFolder
    journal: Journal
    keep: int

    def put(self, name: str, snapshot: Snapshot, judge: bool) -> None:
        """Writes a checkpoint, says so in the journal, and removes what is no longer kept."""
        if judge:  # marked first: a checkpoint that stands is judged, whenever this process may die
            mark = self.run.due_mark(name)
            try:
                mark.parent.mkdir(exist_ok=True)
                mark.touch()
            except OSError as error:
                raise UserError(f"cannot write {mark}: {error.strerror}; choose a folder that has room") from error
        snapshot.write(self.run.path / name)
        self.journal.checkpoint(snapshot.progress.images, name)
        waiting = unjudged(self.run)
        for old in sorted(self.run.path.glob("checkpoint-*"))[: -self.keep]:
            if old.name not in waiting:
                shutil.rmtree(old, ignore_errors=True)


def unjudged(run: RunFolder) -> list[str]:
    """The checkpoints of `run` that were to be judged and have not been."""
    names = sorted(path.name for path in run.path.glob("checkpoint-*"))
    return [name for name in names if run.due_mark(name).exists()]
