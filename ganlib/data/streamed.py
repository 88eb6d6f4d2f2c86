"""Batches of a split that is read as it is used, a window of shards at a time, the next one ahead."""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_right
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganlib.data.augment import Augment
from ganlib.data.batch import COLUMNS, Batch, Batches, row_bytes
from ganlib.data.gather import gather
from ganlib.data.order import BlockOrder, Window
from ganlib.data.shards import ShardReader
from ganlib.data.split import Split
from ganlib.devices import sent

WINDOW_BYTES = 96 << 20
"""Two of these, and what else it takes, stay under 300 MB."""

Fields = dict[str, Any]
"""The columns of a shard by the names that a Batch has for them: arrays, and lists of captions."""


class StreamedBatches(Batches):
    """Reads the shards of a window whole, from disk or object store, and shuffles the rows within it (BlockOrder).

    A window is as many whole shards as their images fit `window_bytes`, at least one. A thread reads the next window
    while this one is used; these two are what is in memory, and shards that are in both are read and held once. Each
    worker reads all of it: its slice of a global batch may come from any shard of the window.
    """

    loading = "streamed"

    def __init__(
        self,
        split: Split,
        batch: int,
        seed: int,
        rows: tuple[int, int],
        device: torch.device | str = "cpu",
        augment: Augment | None = None,
        window_bytes: int = WINDOW_BYTES,
    ):
        super().__init__(split, batch, seed, rows, device, augment)
        self._shards = list(split.shards)
        self._order = BlockOrder([shard.rows for shard in self._shards], window_bytes // row_bytes(split), seed)
        self._held: _HeldWindow | None = None
        self._ahead: _Reading | None = None

    def order(self, epoch: int) -> Tensor:
        return self._order.rows(epoch)

    def _take(self, epoch: int, first: int, last: int) -> Batch:
        windows = self._order.windows(epoch)
        at = bisect_right(windows, first, key=lambda window: window.start) - 1
        parts = []
        while True:
            window = windows[at]
            stop = min(last, window.start + window.rows)
            parts.append(self._hold(window).take(first - window.start, stop - window.start))
            if stop == last:
                break
            first, at = stop, at + 1
        return Batch.of({field: self._join([part[field] for part in parts]) for field in parts[0]})

    def _join(self, parts: list[Any]) -> Any:
        if isinstance(parts[0], list):
            return [value for part in parts for value in part]
        values = torch.from_numpy(parts[0] if len(parts) == 1 else np.concatenate(parts))
        return sent(values, self.device)

    def _hold(self, window: Window) -> _HeldWindow:
        """The window in memory, the reading of its successor begun."""
        if self._held is None or self._held.window != window:
            known = {} if self._held is None else self._known(window, self._held.shards)
            self._held = None  # before more is read
            reading, self._ahead = self._ahead, None
            if reading is not None and reading.window != window:
                reading.end()
                reading = None
            if reading is None:
                reading = self._read(window, known)
            self._held = _HeldWindow(window, reading.result(), self._order.permutation(window).numpy())
            following = self._after(window)
            self._ahead = self._read(following, self._known(following, self._held.shards))
        return self._held

    def _known(self, window: Window, held: Mapping[int, Fields]) -> dict[int, Fields]:
        """Those shards of `window` that are in memory."""
        return {number: held[number] for number in window.shards if number in held}

    def _read(self, window: Window, known: dict[int, Fields]) -> _Reading:
        return _Reading(window, {number: self._shards[number] for number in window.shards}, known)

    def _after(self, window: Window) -> Window:
        """The window that is used next, where all goes in order: one that holds but left-over images is passed over."""
        windows, following = self._order.windows(window.epoch), window.number + 1
        if following < len(windows) and windows[following].start < self.per_epoch * self.batch:
            return windows[following]
        return self._order.windows(window.epoch + 1)[0]


class _HeldWindow:
    """A window whose shards are in memory."""

    def __init__(self, window: Window, shards: Mapping[int, Fields], permutation: NDArray[np.int64]):
        self.window, self.shards = window, shards
        self._permutation = permutation
        self._parts = [shards[number] for number in window.shards]
        self._starts = np.cumsum([0] + [len(part["images"]) for part in self._parts])

    def take(self, first: int, last: int) -> Fields:
        """Positions [first, last) of the window's permutation, copied."""
        chosen = self._permutation[first:last]
        owners = np.searchsorted(self._starts, chosen, side="right") - 1
        rows = chosen - self._starts[owners]
        taken: Fields = {}
        for field, values in self._parts[0].items():
            if isinstance(values, list):
                pairs = zip(owners.tolist(), rows.tolist(), strict=True)
                taken[field] = [self._parts[owner][field][row] for owner, row in pairs]
            else:
                taken[field] = gather([part[field] for part in self._parts], owners, rows)
        return taken


class _Reading:
    """A window that a thread is reading. The thread ends after the shard that it is at once this object is gone."""

    def __init__(self, window: Window, shards: Mapping[int, ShardReader], known: dict[int, Fields]):
        self.window = window
        self._future: Future[dict[int, Fields]] = Future()
        self._stop = threading.Event()
        # Not a daemon: one that is stopped in the middle of Arrow's code, as the interpreter goes, takes it down.
        self._thread = threading.Thread(target=_read_all, args=(shards, known, self._future, self._stop), name="shards")
        self._thread.start()
        weakref.finalize(self, self._stop.set)

    def result(self) -> dict[int, Fields]:
        """By the number of the shard, once all are there. Raises what reading raised."""
        return self._future.result()

    def end(self) -> None:
        """Give it up; what it has read is let go."""
        self._stop.set()
        self._thread.join()


def _read_all(
    shards: Mapping[int, ShardReader],
    known: dict[int, Fields],
    future: Future[dict[int, Fields]],
    stop: threading.Event,
) -> None:
    try:
        found = {}
        for number, shard in shards.items():
            if stop.is_set():
                return
            found[number] = known.get(number) or _fields(shard)
        future.set_result(found)
    except BaseException as error:  # whatever it is, it is the consumer's to see
        future.set_exception(error)


def _fields(shard: ShardReader) -> Fields:
    loaded = shard.load()
    return {field: values for field, name in COLUMNS.items() if (values := getattr(loaded, name)) is not None}
