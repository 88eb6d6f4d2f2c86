"""Being asked to go: by SIGTERM, by a node that is reclaimed, or by the process that started the run.

Whoever is asked does not end at once. The training ends at a round (`Trainer.interrupt`), a checkpoint is written, and
then: the run that is to end ends, with a line that says how to go on; the run whose workers are taken away goes on,
from that checkpoint, on others.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Literal

from ganlib.errors import UserError
from ganlib.files import write_atomically
from pipelines.run_folder import RunFolder

if TYPE_CHECKING:
    from ganlib.training.trainer import Trainer

POLL_SECONDS = 0.5

Wish = Literal["stop", "resize"]
"""What the workers of a run are asked for: to end it for now, or to leave so that more or fewer take their places."""

_asked_to_go = threading.Event()
"""Set once this process has had SIGTERM. It outlasts the training thread that a worker starts and ends."""


class TerminatedError(UserError):
    """SIGTERM ended the run for now; its checkpoint stands. The command exits as a shell says it: 128 + SIGTERM."""

    exit_status = 128 + signal.SIGTERM


class RelievedError(Exception):
    """Raised by all workers of a run after they left a checkpoint for others, so that Ray Train starts those."""


def note_sigterm(*_: object) -> None:
    """From now on this process knows that it is to go. A handler of SIGTERM."""
    _asked_to_go.set()


def asked_to_go() -> bool:
    """Whether this process had SIGTERM."""
    return _asked_to_go.is_set()


@contextmanager
def on_sigterm(react: Callable[[], None]) -> Iterator[None]:
    """While the body runs, the first SIGTERM calls `react`, and a second does what it did before.

    `react` runs in the main thread, between two instructions of the body, and may raise. Elsewhere than in the main
    thread, where Python takes no signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, before)
        note_sigterm()
        react()

    _asked_to_go.clear()
    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def heeding(trainer: Trainer, run: RunFolder, on_ray: bool) -> Iterator[None]:
    """Interrupts `trainer` once this process, the node below it or the run is asked to end, while the body runs.

    The first worker says, beside that, how far it is.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(POLL_SECONDS):
            wish = None
            if trainer.world.rank == 0:  # one look a time at storage that all share
                wish = wish_of(run)
                run.note_seen(trainer.progress.images)
            if asked_to_go() or wish is not None or (on_ray and _node_is_reclaimed()):
                trainer.interrupt()
                return

    thread = threading.Thread(target=watch, name="notice", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if trainer.world.rank == 0:  # what was trained since the last look, to whoever watches while the end is judged
            run.note_seen(trainer.progress.images)


def ask(run: RunFolder, wish: Wish) -> None:
    """Asks the workers of `run`, wherever they are, by a file in its folder."""
    write_atomically(_wish_file(run), wish)


def wish_of(run: RunFolder) -> Wish | None:
    """What the workers of `run` are asked for."""
    try:
        said = _wish_file(run).read_text()
    except OSError:
        return None
    return "resize" if said == "resize" else "stop" if said == "stop" else None


def answer(run: RunFolder) -> None:
    """Says that the workers have done what they were asked for, or that nobody asks any more."""
    _wish_file(run).unlink(missing_ok=True)


def ask_and_wait(run: RunFolder, wish: Wish, seconds: float) -> bool:
    """Asks, and waits for the answer for so long. Whether it came."""
    ask(run, wish)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if wish_of(run) is None:
            return True
        time.sleep(0.1)
    answer(run)
    return False


def _wish_file(run: RunFolder) -> Path:
    return run.path / "wish"


def _node_is_reclaimed() -> bool:
    # What Ray Train was told of this worker's group. The public ray.train.get_preemption_info() makes all workers wait
    # for each other, by way of an actor, whenever one looks.
    from ray.train.v2._internal.execution.context import get_train_context

    return get_train_context().preemption_context.preemption_info is not None
