"""Processes that one command starts in the background and another ends: exactly these, and never others.

Linux reuses process ids, so that a process is known by its id together with the moment at which it started. Each of
ours leads a session of its own: what it starts is found below it, or, once it is gone, by that session.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from ganlib.errors import UserError


class Started(BaseModel):
    """A process that leads a session.

    started: clock ticks between the machine's start and its own. boot: names that start of the machine.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    pid: int
    started: int
    boot: str
    log: str

    @property
    def alive(self) -> bool:
        """Whether it runs still, and not another process under its id."""
        seen = _stat(self.pid)
        return self.boot == boot_id() and seen is not None and seen.started == self.started and seen.state != "Z"


class Stat(NamedTuple):
    """Of /proc/PID/stat: the state's letter, parent, session, start in clock ticks after the machine's."""

    state: str
    parent: int
    session: int
    started: int


def start(name: str, command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path) -> Started:
    """Starts `command` as the leader of a new session, without input, its output appended to `log`.

    Raises UserError where the command cannot be run.
    """
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )
    except OSError as error:
        raise UserError(f"{name} cannot be started ({command[0]}: {error.strerror})") from error
    seen = _stat(process.pid)
    return Started(
        name=name, pid=process.pid, started=seen.started if seen else 0, boot=boot_id(), log=str(log.absolute())
    )


def members(ours: Iterable[Started]) -> dict[int, Stat]:
    """All that runs of `ours`: they themselves, what they started, and what that started.

    A session keeps the id of its leader, which no new process can have while one of the session lives. So of a leader
    that died the rest is found, unless it began before the leader did.
    """
    seen = _table()
    found: set[int] = set()
    for one in ours:
        if one.boot != boot_id():
            continue  # the machine was started again since
        leader = seen.get(one.pid)
        if leader is not None and leader.started != one.started:
            continue  # its id is another's now, and so nothing of its session is left
        found |= {pid for pid, stat in seen.items() if stat.session == one.pid and stat.started >= one.started}
    while below := {pid for pid, stat in seen.items() if stat.parent in found} - found:
        found |= below
    return {pid: seen[pid] for pid in found if seen[pid].state != "Z"}


def end(ours: Sequence[Started], seconds: float) -> int:
    """Ends `ours` and all below them: asks the leaders, the last first, and after `seconds` kills what is left.

    Returns how many were running.
    """
    running = members(ours)
    for one in reversed(ours):
        if one.alive:
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while (left := _still(running) | members(ours)) and time.monotonic() < deadline:
        if not any(one.alive for one in ours):
            break  # what outlives its leader was not asked, and would not end
        _reap(ours)
        time.sleep(0.1)
    while left := _still(running) | members(ours):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _reap(ours)
        time.sleep(0.05)
    return len(running)


def boot_id() -> str:
    """Names the machine's last start."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _still(before: Mapping[int, Stat]) -> dict[int, Stat]:
    """Those of `before` that run still."""
    now = {pid: _stat(pid) for pid in before}
    return {
        pid: stat
        for pid, stat in now.items()
        if stat is not None and stat.started == before[pid].started and stat.state != "Z"
    }


def _reap(ours: Iterable[Started]) -> None:
    """Takes the exit status of those that this very process started; others' parents do it."""
    for one in ours:
        with suppress(ChildProcessError):
            os.waitpid(one.pid, os.WNOHANG)


def _table() -> dict[int, Stat]:
    """Every process of the machine that can be seen."""
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    stats = {pid: _stat(pid) for pid in pids}
    return {pid: stat for pid, stat in stats.items() if stat is not None}


def _stat(pid: int) -> Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")  # a name may be cut inside a letter
    except OSError:
        return None
    # The second field is the command's name in parentheses and may hold anything.
    fields = text.rpartition(")")[2].split()
    return Stat(fields[0], int(fields[1]), int(fields[3]), int(fields[19]))
