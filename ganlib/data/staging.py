"""Where a dataset is while it is not whole: a hidden folder that a later preparation of the same goes on with."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from ganlib.data.dataset import Dataset
from ganlib.data.locks import held
from ganlib.data.manifest import FILE_NAME, Manifest
from ganlib.data.plan import ShardTask
from ganlib.data.shard_writer import ShardOutcome, outcome_file
from ganlib.data.storage import FileEntry, Location
from ganlib.errors import UserError

_DAY = 24 * 3600
_ABANDONED = 30 * _DAY
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{12}\.tmp", re.DOTALL)
_STAGED = re.compile(r"\.staging-[0-9a-f]{12}(\.lock)?")
# Requests to an object store wait on each other's answers; a disk needs few.
_REQUESTS = 16


class Staging:
    """The staging of the dataset with this fingerprint in the folder or prefix `into`.

    nameless: the fingerprint of the same under whatever name.
    """

    def __init__(self, into: Location, fingerprint: str, nameless: str) -> None:
        self.into = into
        self.place = into / f".staging-{fingerprint[:12]}"
        self._memory, self._last = (into / ".prepared" / f"{one}.json" for one in (fingerprint, nameless))

    def prepared(self, any_name: bool = False) -> Dataset | None:
        """The dataset that this fingerprint gave before, where it still stands whole; of `any_name`, or else the one
        that the same gave last. Raises UserError."""
        for memory in (self._memory, self._last) if any_name else (self._memory,):
            if memory.kind() is None:
                continue
            with suppress(UserError, ValueError, TypeError, KeyError, RecursionError):
                name = json.loads(memory.read())["dataset"]
                if re.fullmatch(r"[^/]+-[0-9a-f]{12}", name):
                    return Dataset.open(self.into / name)
        return None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process of this machine, or thread, prepares the same dataset into the same folder.

        Nothing is locked on an object store: there two write the same objects, and none that is written ever changes.
        Whoever comes to the end first takes what is staged away, and the others have that dataset.
        """
        with held(self.place):
            yield

    def finished(self, tasks: Sequence[ShardTask]) -> list[ShardOutcome]:
        """What a preparation that was cut off has done of the tasks."""
        if self.place.kind() != "folder":
            return []
        sizes = {entry.name: entry.size for entry in self.place.list()}

        def outcome(task: ShardTask) -> ShardOutcome | None:
            with suppress(UserError, ValueError):
                found = ShardOutcome.model_validate_json((self.place / outcome_file(task)).read())
                if found.task == task and (sizes.get(task.file) == found.bytes or found.rows == 0):
                    return found
            return None

        with ThreadPoolExecutor(_REQUESTS) as pool:
            found = pool.map(outcome, [task for task in tasks if outcome_file(task) in sizes])
        return [one for one in found if one is not None]

    def settle(self, manifest: Manifest, outcomes: Sequence[ShardOutcome]) -> Dataset:
        """Take what the manifest names to its own place, the manifest last; a whole dataset that stands there stays."""
        place = self.into / f"{manifest.name}-{manifest.digest[:12]}"
        if not _is_whole(place):
            staged = {one.task.file: one.staged for one in outcomes}
            files = {shard.file: staged[shard.file] for shard in manifest.shards}
            (self._copy if self.into.local is None else self._rename)(manifest, files, place)
        self._end(place)
        return Dataset.open(place)

    def clear_leftovers(self) -> None:
        """Remove what writers that were killed, more than a day ago, left in the local folder; and what is staged of
        other datasets, where for a month nobody has gone on with it."""
        with suppress(UserError):
            for entry in self.into.list():
                if _STAGED.fullmatch(entry.name) and not entry.name.startswith(self.place.name):
                    with suppress(UserError):
                        self._remove_abandoned(entry)
        for path in self.into.local.iterdir() if self.into.local else ():
            with suppress(OSError):
                if _LEFTOVER.fullmatch(path.name) and time.time() - path.stat().st_mtime > _DAY:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _remove_abandoned(self, entry: FileEntry) -> None:
        """entry: a staging folder, or the lock that one has."""
        place = self.into / entry.name.removesuffix(".lock")
        changed = max((file.modified_ns for file in place.list()), default=0) if entry.folder else entry.modified_ns
        if time.time() - changed / 1e9 > _ABANDONED:
            with held(place, wait=False) as ours:
                if ours and entry.folder:
                    place.remove()

    def _end(self, place: Location) -> None:
        # The dataset stands; that a second preparation may have to look at its source again is no reason to fail.
        with suppress(UserError):
            for memory in (self._last, self._memory):
                memory.write(json.dumps({"dataset": place.name}).encode())
        self.place.remove()

    def _rename(self, manifest: Manifest, files: Mapping[str, str], place: Location) -> None:
        manifest.write(self.place)
        # The outcomes first: if this is cut off, shards that have another content by then are made anew.
        for entry in self.place.list():
            if entry.name not in {FILE_NAME, *files.values()}:
                (self.place / entry.name).remove()
        # What may stand there is a broken dataset of ours, by its name, and it is in the staging folder again.
        place.remove()
        try:
            for file, staged in files.items():
                Path(self.place.path, staged).rename(Path(self.place.path, file))
            Path(self.place.path).rename(place.path)
        except OSError as error:
            # Another source of the same content, with a fingerprint of its own, may just have been prepared.
            if not _is_whole(place):
                raise UserError(f"cannot write {place}: {error.strerror or error}") from error

    def _copy(self, manifest: Manifest, files: Mapping[str, str], place: Location) -> None:
        """What stands there is written over by its equal, and not removed: another, who has the same to write, may have
        come to its end since, and may be read."""

        def copy(file: str) -> None:
            (self.place / files[file]).copy(place / file)

        with ThreadPoolExecutor(_REQUESTS) as pool:
            list(pool.map(copy, files))
        if not _is_whole(place):  # as is one that has the record of its classifier by now
            manifest.write(place)


def _is_whole(place: Location) -> bool:
    with suppress(UserError):
        Dataset.open(place)
        return True
    return False
