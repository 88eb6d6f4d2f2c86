"""What a person sees while something takes long: bars on a terminal, quiet plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple

APPEARS_AFTER = 2.0
LINE_EVERY = 15.0


class Word(NamedTuple):
    """What was said last: so much of so much is done, at that moment."""

    done: int
    total: int
    note: str
    when: float


class Progress:
    """A bar with images/s and time left on a terminal; elsewhere a line now and then. Nothing for what ends within 2 s.

    Used as a context manager; `update(done, total)` may be called as often as it likes, or not at all: a bar that has
    been told nothing yet moves without saying how far it is.
    """

    def __init__(self, title: str, unit: str = "images"):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self.title, self.unit = title, unit
        self._began = time.monotonic()
        self._first: Word | None = None
        self._last: Word | None = None
        self._closing = ""
        self._over = threading.Event()
        self._bar: Progress | None = None
        console = Console(stderr=True)
        if console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
            self._task = self._bar.add_task(title, total=None, note="")
        self._shows = threading.Thread(target=self._show, name="progress", daemon=True)

    def update(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total`; `note` is shown beside the rate."""
        word = Word(done, total, note, time.monotonic())
        # Rates count from the first word on: what goes before it is starting up.
        self._first, self._last = self._first or word, word
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, note=self._pace(word))

    def close_with(self, what: str) -> None:
        """All of it is done, and `what` takes a while yet."""
        self._closing = what
        if self._bar is not None:
            total = self._last.total if self._last else None
            self._bar.update(self._task, completed=total, total=total, note=what)

    def _pace(self, word: Word) -> str:
        """`120 images/s`, which the first word does not know yet, and the note."""
        return f"{self._rate(word):,.0f} {self.unit}/s {word.note}".strip() if self._rate(word) else word.note

    def _rate(self, word: Word) -> float:
        first = self._first or word
        return (word.done - first.done) / (word.when - first.when) if word.when > first.when else 0.0

    def _show(self) -> None:
        if self._bar is not None:
            from rich.errors import LiveError

            if not self._over.wait(APPEARS_AFTER):
                with suppress(LiveError):  # one bar at a time: this is part of what another shows
                    self._bar.start()
            return
        while not self._over.wait(LINE_EVERY):
            print(f"{self.title}: {self._line()}", file=sys.stderr, flush=True)

    def _line(self) -> str:
        word = self._last
        if self._closing:
            return self._closing
        if word is None:
            return f"{time.monotonic() - self._began:.0f} s so far"
        rate, of = self._rate(word), f"{word.done:,} of {word.total:,} {self.unit}"
        left = [f"{max(word.total - word.done, 0) / rate:.0f} s left"] if rate else []
        return ", ".join([of, *filter(None, [self._pace(word)]), *left])

    def __enter__(self) -> Progress:
        self._shows.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._shows.join()
        if self._bar is not None:
            self._bar.stop()
