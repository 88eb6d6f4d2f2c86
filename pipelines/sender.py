"""Ships the journal of a run to MLflow, from a thread of its own, for as long as it takes.

The server may be down for an hour, and the sender or the whole machine may be killed at any moment: each record arrives
once. `journal/sent.json` says how far the sender is; what was shipped after it was last written is shipped again, and
`pipelines.replica` makes that harmless.
"""

import heapq
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.journal import Entry, journal_folder, read_entries
from pipelines.sent import Sent
from pipelines.tracking import KIND_TAG, experiment_id, mlflow_client, open_run, reason, set_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipelines.replica import Replica

_POLL_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 30.0
_ENTRIES_A_PASS = 500

# What MLflow answers to a record that it will never take. Anything else may pass: a proxy's 404 while it restarts too.
_REFUSALS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS"}
_REFUSAL_STATUSES = {400, 413, 415, 422}

_log = logging.getLogger(__name__)


class _NoParentError(Exception):
    """The run that is to be the parent does not stand yet."""


class Sender:
    """Makes MLflow's run the replica of `run_folder`'s journal.

    The run is found again by its tag `gan.run`, so that a folder has one run in an experiment however often training
    is killed and resumed; a store that has never heard of it, or lost it, gets the whole journal. `tags` are set on the
    run; `parent_run_id` nests it: where that is a function that says None, nothing is shipped until it says an id. One
    sender at a time for a folder.
    """

    def __init__(
        self,
        run_folder: Path,
        tracking_uri: str,
        experiment: str,
        run_name: str,
        parent_run_id: str | Callable[[], str | None] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self._run_folder = run_folder.absolute()
        self._tracking_uri = tracking_uri
        self._experiment = experiment
        self._run_name = run_name
        self._own_tags, self._parent = dict(tags or {}), parent_run_id
        self._sent_file = journal_folder(self._run_folder) / "sent.json"
        self._sent = Sent.load(self._sent_file, tracking_uri, experiment)
        self._replica: Replica | None = None
        self._thread: threading.Thread | None = None
        self._draining = threading.Event()
        self._deadline = math.inf

    @property
    def run_id(self) -> str | None:
        """The id of MLflow's run; None until it exists."""
        return self._sent.run_id

    def standing(self) -> str | None:
        """Its id as long as the store has it, as far as is known: not that of a store which has since lost it."""
        return self._sent.run_id if self._replica is not None else None

    def start(self) -> None:
        """Tail the journal from a daemon thread; returns at once, whether MLflow answers or not."""
        self._draining.clear()
        self._deadline = math.inf
        self._thread = threading.Thread(target=self._tail, args=[self._thread], name="mlflow-sender", daemon=True)
        self._thread.start()

    def drain(self, timeout: float) -> int:
        """Ship what stands, end the thread, and return how many records remain; takes `timeout` seconds at the most."""
        if self._thread is None or not self._thread.is_alive():
            self.start()
        assert self._thread is not None
        self._deadline = time.monotonic() + timeout
        self._draining.set()
        self._thread.join(timeout)
        return sum(1 for _ in self._entries())

    def _tail(self, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()  # a drain that ran out of time leaves it in the middle of a request
        waits = _waits()
        away = False
        while time.monotonic() < self._deadline:
            last = self._draining.is_set()  # asked before shipping, so that nothing recorded before it is left out
            try:
                self._ship()
                if away:
                    _log.warning("MLflow at %s answers again and has every record", self._tracking_uri)
                if last:
                    return
                away, waits, wait = False, _waits(), _POLL_SECONDS
            except _NoParentError:  # whose own sender says why
                wait = _POLL_SECONDS
            except Exception as error:  # the training must outlive anything that MLflow does
                if not away:
                    _log.warning("MLflow at %s is away, the journal waits: %s", self._tracking_uri, reason(error))
                away, wait = True, next(waits)
            if last:
                time.sleep(min(wait, _POLL_SECONDS))  # someone waits for the end
            else:
                self._draining.wait(wait)

    def _ship(self) -> None:
        """Ship every complete record; raises where MLflow does not answer."""
        try:
            while time.monotonic() < self._deadline:
                entries = list(itertools.islice(self._entries(), _ENTRIES_A_PASS))
                if self._replica is None:
                    self._replica = self._attach(entries)
                    continue  # a run that is new to this store gets the journal from its start
                if not entries:
                    return
                for shipment in _shipments(entries):
                    self._ship_together(self._replica, shipment)
        except Exception:
            self._replica = None  # the store that comes back may have lost the run
            raise

    def _ship_together(self, replica: "Replica", entries: Sequence[Entry]) -> None:
        """Ship one entry, or several of kind "metrics"; what MLflow refuses is passed over with a warning."""
        sent, first = self._sent, entries[0]
        finish = first.record["kind"] == "finish"
        try:
            if not finish and any(entry.file == sent.finished_by for entry in entries):
                replica.reopen()
                sent.finished_by = None
            replica.tell([entry.record for entry in entries])
            if finish:
                sent.finished_by = first.file
        except Exception as error:
            if not self._is_refusal(error):
                raise
            if len(entries) > 1:
                for entry in entries:
                    self._ship_together(replica, [entry])
                return
            _log.warning("MLflow refuses a record (%s) of %s: %s", first.record["kind"], first.file, reason(error))
        for entry in entries:
            sent.offsets[entry.file] = entry.end
        sent.save(self._sent_file)

    def _is_refusal(self, error: Exception) -> bool:
        """Whether the record is at fault, so that MLflow will never take it, and not the store or the way to it."""
        from mlflow.exceptions import MlflowException
        from requests import HTTPError

        from pipelines.replica import UnsendableError

        match error:
            case UnsendableError():
                return True
            case MlflowException(error_code=code) if code in _REFUSALS:
                # To a run that was deleted MLflow refuses everything.
                return self.run_id is not None and _is_active(mlflow_client(self._tracking_uri), self.run_id)
            case HTTPError(response=response) if response is not None:
                return response.status_code in _REFUSAL_STATUSES
        return False

    def _attach(self, entries: Sequence[Entry]) -> "Replica":
        """Find the run or create it, begun with its first record; where it is another than was known, start over."""
        from pipelines.replica import Replica

        tags = self._tags()
        client = mlflow_client(self._tracking_uri)
        run_id = self._sent.run_id
        if run_id is not None and _is_active(client, run_id):
            # What it is it was begun as: a study's trial stays one, whoever judges it or reports on it later.
            set_tags(client, run_id, {name: value for name, value in tags.items() if name != KIND_TAG})
        else:
            self._sent.save(self._sent_file)  # its `unique`, before there is a run that carries it
            begun = entries[0].record["time"] if entries else None
            run_id = open_run(
                self._tracking_uri, self._experiment, self._run_name, tags, self._sent.unique, start_time=begun
            )
            self._sent.begin(run_id)
            self._sent.save(self._sent_file)
        return Replica(client, self._run_folder, self._sent, run_id, experiment_id(client, self._experiment))

    def _tags(self) -> dict[str, str]:
        """Of the run. Raises _NoParentError."""
        parent = self._parent() if callable(self._parent) else self._parent
        if parent is None and self._parent is not None:
            raise _NoParentError
        return self._own_tags | ({"mlflow.parentRunId": parent} if parent else {})

    def _entries(self) -> Iterator[Entry]:
        """The records that were not shipped, of all writers by time, each writer's in their order."""
        files = sorted(self._sent_file.parent.glob("*.jsonl"))
        journals = [read_entries(path, self._sent.offsets.get(path.name, 0)) for path in files]
        return heapq.merge(*journals, key=lambda entry: entry.record["time"])


def _waits() -> Iterator[float]:
    """Seconds to wait after the first failure, the second, ...: 1, 2, 4, up to the longest."""
    return (min(2.0**failures, _LONGEST_WAIT_SECONDS) for failures in itertools.count())


def _shipments(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """What is shipped together: neighbouring metrics; anything else alone."""
    for are_metrics, group in itertools.groupby(entries, lambda entry: entry.record["kind"] == "metrics"):
        if are_metrics:
            yield list(group)
        else:
            yield from ([entry] for entry in group)


def _is_active(client: "MlflowClient", run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
