"""Where a trial stands on its rungs, where it goes on from, and what its processes have of a machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ganlib.errors import UserError
from ganlib.training.checkpoint import checkpoint_name, newest_checkpoint, read_contents
from pipelines.run_folder import RunFolder
from tuning.member import Task


@dataclass(frozen=True)
class Share:
    """What each process that trains has of its machine, as Ray counts it: the trial's own, or each of its workers."""

    cpus: float = 1
    gpus: float = 0

    @property
    def threads(self) -> int:
        return max(int(self.cpus), 1)

    @property
    def device(self) -> str | None:
        """The GPU that Ray gave it, for None; Ray does not hide GPUs from a process that asked for none."""
        return None if self.gpus else "cpu"


def where_to_start(task: Task, run: RunFolder) -> Path | None:
    """The checkpoint that a trial goes on from: its own newest, or another's that it takes over. None: from nothing.

    Raises UserError where the one that it takes over is gone.
    """
    own = newest_checkpoint(run.path)
    if task.start is None:
        return own
    folder, images = task.start
    behind = rungs_behind(task, images)
    if own is not None and rungs_behind(task, read_contents(own).progress.images) > behind:
        return own  # trained since it took over
    taken = folder / checkpoint_name(images)
    if not taken.is_dir():
        raise UserError(f"checkpoint {taken}, which trial {task.number} was to go on with, is gone")
    return taken


def rungs_behind(task: Task, images: int) -> int:
    """How many of the task's rungs are reached with so many images."""
    return sum(rung <= images for rung in task.rungs)
