"""The process of a submitted job: runs a command of `gan`, and again where it was killed.

    python -P -m pipelines.kept train mnist workers=4

Ray gives a job up whose driver is gone, and the driver is the likeliest to go: it lives on the head beside all else
that eats memory there. What the command had begun it goes on with (`begun`), so that it ends as one that nobody killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ganlib.files import write_atomically
from pipelines.job_link import JOB

TIMES = 3
"""How often a command runs again. What kills it as often as that, memory that is too small say, will do so again."""

ASKED = (signal.SIGTERM, signal.SIGINT)
"""What ends a command because somebody wants that."""


def keep(command: Sequence[str]) -> int:
    """Runs it until it ends by itself, or was killed once more than `TIMES`; its exit status, as a shell has it.

    Where this process is asked to end, Ray has asked all processes of the job: it waits for the command alone.
    """
    stopping: list[int] = []
    for number in ASKED:
        signal.signal(number, lambda number, frame: stopping.append(number))
    for again in range(TIMES + 1):
        process = subprocess.Popen(command)
        if stopping:  # asked before it was there to hear of it
            process.send_signal(stopping[0])
        status = process.wait()
        if status >= 0:
            return status
        name = signal.Signals(-status).name
        if stopping or -status in ASKED or again == TIMES:
            break
        print(f"gan: the job's process was killed ({name}); it goes on", file=sys.stderr, flush=True)
    return 128 - status


def begun(home: Path) -> Path | None:
    """The folder that the job of this process had begun to fill before it was killed; None for none, and outside of
    a job."""
    job = os.environ.get(JOB)
    try:
        return None if job is None else Path(_note(home, job).read_text())
    except OSError:
        return None


def note_begun(home: Path, folder: Path) -> None:
    """Notes that the job of this process, if it is of one, fills `folder`. Raises UserError where the disk refuses."""
    if (job := os.environ.get(JOB)) is not None:
        write_atomically(_note(home, job), str(folder.resolve()))


def _note(home: Path, job: str) -> Path:
    return home / "jobs" / Path(job).name


if __name__ == "__main__":
    sys.exit(keep([sys.executable, "-P", "-m", "pipelines.cli", *sys.argv[1:]]))
