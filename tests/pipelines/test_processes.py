"""Processes in the background: which are ours, and that these and no others are ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipelines import processes
from pipelines.processes import Started, end, members, start


def tree(folder: Path, name: str = "tree") -> Started:
    """A leader with a child of its session, and another that has a session of its own."""
    script = (
        "import subprocess, sys, time\n"
        "subprocess.Popen(['sleep', '600'])\n"
        "subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    started = start(name, [sys.executable, "-c", script], folder / f"{name}.log", os.environ, folder)
    deadline = time.monotonic() + 120
    while "ready" not in (folder / f"{name}.log").read_text() or len(members([started])) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return started


def test_a_process_is_ended_with_all_that_it_started_and_nothing_else(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "600"])
    ours, other = tree(tmp_path), tree(tmp_path, "other")
    try:
        assert ours.alive
        assert len(members([ours])) == 3
        assert end([ours], 30) == 3
        assert not ours.alive
        assert members([ours]) == {}
        assert end([ours], 30) == 0
        assert len(members([other])) == 3
        assert bystander.poll() is None
    finally:
        end([other], 0)
        bystander.kill()
        bystander.wait()


def test_what_a_killed_leader_left_in_its_session_is_found(tmp_path: Path) -> None:
    ours = tree(tmp_path)
    apart = [pid for pid, stat in members([ours]).items() if stat.session != ours.pid]
    os.kill(ours.pid, signal.SIGKILL)
    os.waitpid(ours.pid, 0)
    try:
        assert [stat.session for stat in members([ours]).values()] == [ours.pid]
        assert end([ours], 30) == 1
    finally:
        os.kill(apart[0], signal.SIGKILL)  # a session of its own, and no parent: nothing says whose it was


def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    ours = start("deaf", [sys.executable, "-c", script], tmp_path / "log", os.environ, tmp_path)
    while "deaf" not in (tmp_path / "log").read_text():
        time.sleep(0.05)
    assert end([ours], 0.3) == 1
    assert not ours.alive


def test_another_process_under_the_same_id_is_not_ours(tmp_path: Path) -> None:
    other = tree(tmp_path)
    try:
        for change in ({"started": other.started - 1}, {"boot": "before"}):
            stale = other.model_copy(update=change)
            assert not stale.alive
            assert members([stale]) == {}
            assert end([stale], 1) == 0
        assert len(members([other])) == 3
    finally:
        end([other], 0)


def test_a_process_whose_name_is_cut_inside_a_letter_is_seen_too() -> None:
    """The kernel keeps 15 bytes of a name."""
    naming = (
        "import ctypes, time\n"
        "ctypes.CDLL(None).prctl(15, b'trainings-gr\\xc3', 0, 0, 0)  # PR_SET_NAME\n"
        "print(flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", naming], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            assert processes._table()[process.pid].parent == os.getpid()
        finally:
            process.kill()
