"""What a person sees while something takes long: bars on a terminal, quiet plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

APPEARS_AFTER = 2.0
LINE_EVERY = 15.0


class Progress:
    """A bar with images/s and time left on a terminal; elsewhere a line now and then. Nothing for what ends within 2 s.

    Used as a context manager; `update(done, total)` may be called as often as it likes.
    """

    def __init__(self, title: str, unit: str = "images"):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self.title, self.unit = title, unit
        self._console = Console(stderr=True)
        self._shown = self._line = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._bar: Progress | None = None
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
            self._task = self._bar.add_task(title, total=None, note="")

    def update(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total`; `note` is shown beside the rate."""
        now = time.monotonic()
        if self._first is None:
            # Rates count from the first word on: what goes before it is starting up.
            self._first = now, done
        since, before = self._first
        rate = (done - before) / (now - since) if now > since else 0.0
        said = f"{rate:,.0f} {self.unit}/s {note}".strip()
        if self._bar is not None:
            if now - self._shown > APPEARS_AFTER and not self._bar.live.is_started:
                self._bar.start()
            self._bar.update(self._task, completed=done, total=total, note=said)
        elif now - self._line > LINE_EVERY:
            self._line = now
            # The first word knows no rate yet, and so says neither rate nor time left.
            pace = f", {said}, {max(total - done, 0) / rate:.0f} s left" if rate else ""
            print(f"{self.title}: {done:,} of {total:,} {self.unit}{pace}", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
