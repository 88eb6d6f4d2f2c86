"""The record of a run: JSON lines in the run folder, which need no server and outlast every kill.

A run folder holds `journal/<writer>.jsonl`, each file appended to by one process at a time: "train" by rank 0 of the
training, "evaluate" by the evaluation beside it, "driver" by the process that started them, "report" by `gan report`.
MLflow receives a replica of these files (`pipelines.sender`); curves are drawn from them (`read_metrics`).

A record is one line `{"kind": ..., "time": <milliseconds since the epoch>, ...}`, written by one `write`, so that a
killed process leaves at most one torn line, at the end. Readers leave a torn line alone; the next writer cuts it off.
Numbers that JSON lacks are strings ("nan", "inf", "-inf"), so that any JSON reader reads the file.
"""

import errno
import fcntl
import json
import logging
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from ganlib.errors import UserError

Writer = Literal["train", "evaluate", "driver", "report"]
Status = Literal["FINISHED", "FAILED", "KILLED"]

LOCK_SECONDS = 60.0
"""How long a writer waits for another one of the same file: the first worker of a run for the one that it replaces."""

PASSED_OVER_TAG = "gan.passed_over"
"""What was amiss with a checkpoint that a run could not go on from: a tag in its journal and of its MLflow run."""

# What MLflow takes as the name of a metric, and of an image. Refused here, where the traceback names the caller.
_METRIC_NAME = re.compile(r"[\w.\- :]+(/[\w.\- :]+)*")
_PICTURE_KEY = re.compile(r"[a-zA-Z0-9_\-. ]+(/[a-zA-Z0-9_\-. ]+)*")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A record and where it stands: `file` is the journal's file name, `end` the byte offset just past its line."""

    file: str
    end: int
    record: dict[str, Any]


class Journal:
    """Appends to `run_folder/journal/<writer>.jsonl`; a context manager that closes the file.

    Once only across resumes: a training that was killed repeats the ticks after its newest checkpoint, so what the file
    already says is skipped: a metric at an `images_seen` where it has a value, a picture at an `images_seen` where
    it has one, a checkpoint by its name. The first value stands; a resumed run repeats it bit for bit. A clock that is
    set back does not set a file's times back: they stand still until it has caught up.

    The file is locked (flock), so that a process that is thought dead and lives does not write into it beside this one.
    Raises UserError where the folder or the file cannot be written, or another process writes it for LOCK_SECONDS more.
    """

    def __init__(self, run_folder: Path, writer: Writer) -> None:
        self._run_folder = run_folder.absolute()
        self._path = journal_folder(self._run_folder) / f"{writer}.jsonl"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise UserError(f"cannot write the journal {self._path}: {error.strerror}") from error
        _lock(self._file, self._path)
        self._recorded: set[tuple[str, str, int]] = set()
        self._time = end = 0
        for entry in read_entries(self._path):
            self._recorded.update(_identities(entry.record))
            self._time = max(self._time, entry.record.get("time", 0))
            end = entry.end
        os.ftruncate(self._file, end)

    def metrics(self, images_seen: int, values: Mapping[str, float], checkpoint: str | None = None) -> None:
        """Record `values` at `images_seen`; `checkpoint` names the checkpoint folder that they judge.

        Values may be NaN or infinite. Raises ValueError for a name that MLflow would refuse.
        """
        for name in values:
            if not _METRIC_NAME.fullmatch(name):
                raise ValueError(f"not a metric's name: {name!r}; letters, digits, _ - . : space, parts joined by /")
        new = {name: value for name, value in values.items() if ("metrics", name, images_seen) not in self._recorded}
        if new:
            of = {} if checkpoint is None else {"checkpoint": checkpoint}
            numbers = {name: _to_json(float(value)) for name, value in new.items()}
            self._append("metrics", images_seen=images_seen, values=numbers, **of)

    def picture(self, images_seen: int, key: str, path: Path) -> None:
        """Record the PNG at `path`, inside the run folder, as the picture `key` at `images_seen`."""
        if not _PICTURE_KEY.fullmatch(key):
            raise ValueError(f"not a picture's key: {key!r}; ASCII letters, digits, _ - . space, parts joined by /")
        if ("picture", key, images_seen) not in self._recorded:
            self._append("picture", images_seen=images_seen, key=key, path=self._relative(path))

    def artifact(self, path: Path, folder: str = "") -> None:
        """Record a file or folder of the run folder as an artifact, below `folder` there; again once it has changed."""
        self._append("artifact", path=self._relative(path), folder=folder)

    def checkpoint(self, images_seen: int, name: str) -> None:
        """Record that the checkpoint folder `name` stands complete in the run folder."""
        if ("checkpoint", name, images_seen) not in self._recorded:
            self._append("checkpoint", images_seen=images_seen, name=name)

    def params(self, values: Mapping[str, Any]) -> None:
        """Record the recipe's fields by their dotted paths: strings as they are, anything else as JSON."""
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
        self._append("params", values=texts)

    def tags(self, values: Mapping[str, str]) -> None:
        """Record tags; a later value replaces an earlier one."""
        self._append("tags", values=dict(values))

    def dataset(self, name: str, digest: str, source: str, profile: Mapping[str, Any]) -> None:
        """Record the dataset that the run reads: its digest, where it came from, its counts and shapes (JSON)."""
        self._append("dataset", name=name, digest=digest, source=source, profile=dict(profile))

    def finish(self, status: Status) -> None:
        """Record how the run ended. Whatever this writer records after it says that the run goes on."""
        self._append("finish", status=status)

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _append(self, kind: str, **fields: Any) -> None:
        self._time = max(self._time, time.time_ns() // 1_000_000)
        record = {"kind": kind, "time": self._time, **fields}
        line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        before = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) != len(line):
                # A full disk takes half a line; left there, it would spoil the next one too.
                os.ftruncate(self._file, before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise UserError(f"cannot write the journal {self._path}: {error.strerror}") from error
        self._recorded.update(_identities(record))

    def _relative(self, path: Path) -> str:
        return path.absolute().relative_to(self._run_folder).as_posix()


def _lock(file: int, path: Path) -> None:
    """Takes the lock that a process which ends, in whatever way, gives back; closes `file` where it cannot be had."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                os.close(file)
                raise UserError(f"another process writes the journal {path}; wait for it, or end it") from error
            time.sleep(0.1)
        except OSError:
            return  # storage without locks


def journal_folder(run_folder: Path) -> Path:
    return run_folder / "journal"


def read_entries(path: Path, offset: int = 0) -> Iterator[Entry]:
    """The complete records of one journal file from byte `offset` on, in order; none where there is no file.

    A line that is no record (a disk that lost power writes zeros) is passed over with a warning.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError("not an object")
            except ValueError as error:
                _log.warning("%s holds a line that is no record, before byte %d: %s", path, offset, error)
                continue
            yield Entry(path.name, offset, record)


def metric_values(record: Mapping[str, Any]) -> dict[str, float]:
    """The values of a record of kind "metrics", NaN and infinities included."""
    return {name: float(value) for name, value in record["values"].items()}


def read_metrics(run_folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every metric of the run, from all its writers: name -> [(images_seen, value), ...] by rising images_seen."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(journal_folder(run_folder).glob("*.jsonl")):
        for entry in read_entries(path):
            if entry.record["kind"] == "metrics":
                for name, value in metric_values(entry.record).items():
                    curves.setdefault(name, []).append((entry.record["images_seen"], value))
    for points in curves.values():
        points.sort(key=lambda point: point[0])
    return curves


def _identities(record: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """What a record says once and for all: (kind, name, images_seen)."""
    kind = record["kind"]
    if kind == "metrics":
        for name in record["values"]:
            yield kind, name, record["images_seen"]
    elif kind == "picture":
        yield kind, record["key"], record["images_seen"]
    elif kind == "checkpoint":
        yield kind, record["name"], record["images_seen"]


def _to_json(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
