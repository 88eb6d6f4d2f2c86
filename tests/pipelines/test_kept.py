"""A job's process that is killed, and what of it goes on."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.kept import TIMES, begun, keep, note_begun

DIES = """
import os, signal, sys
from pathlib import Path
log = Path(sys.argv[1])
log.write_text(log.read_text() + "x" if log.exists() else "x")
if len(log.read_text()) <= int(sys.argv[2]):
    os.kill(os.getpid(), getattr(signal, sys.argv[3]))
sys.exit(7)
"""


@pytest.fixture(autouse=True)
def _signals():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("times", "by", "status", "ran"),
    [
        (0, "SIGKILL", 7, 1),
        (2, "SIGKILL", 7, 3),
        (1, "SIGSEGV", 7, 2),
        (100, "SIGKILL", 128 + 9, TIMES + 1),
        (1, "SIGTERM", 128 + 15, 1),  # somebody wanted that
        (1, "SIGINT", 128 + 2, 1),
    ],
)
def test_what_was_killed_runs_again_and_what_ended_does_not(
    times: int, by: str, status: int, ran: int, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    assert keep([sys.executable, "-c", DIES, str(log), str(times), by]) == status
    assert len(log.read_text()) == ran


def test_a_job_that_is_stopped_is_not_begun_again(tmp_path: Path) -> None:
    """Ray asks all processes of a job to end, and kills those that do not."""
    ready = tmp_path / "ready"
    stubborn = f"import signal, time; signal.signal(15, lambda *_: None); open({str(ready)!r}, 'a').write('x')\n"
    stubborn += "while True: time.sleep(0.1)"
    script = f"import sys; from pipelines.kept import keep; sys.exit(keep([sys.executable, '-c', {stubborn!r}]))"
    keeper = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while not ready.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (child,) = (int(pid) for pid in Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text().split())
    for pid, number in ((keeper.pid, signal.SIGTERM), (child, signal.SIGTERM), (child, signal.SIGKILL)):
        subprocess.run(["kill", f"-{int(number)}", str(pid)], check=True)
    assert keeper.wait(60) == 128 + 9
    assert ready.read_text() == "x"


def test_a_job_finds_what_it_had_begun_and_no_other_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAN_JOB", raising=False)
    note_begun(tmp_path, tmp_path / "runs" / "a")
    assert begun(tmp_path) is None
    assert not (tmp_path / "jobs").exists()
    monkeypatch.setenv("GAN_JOB", "gan-train-1")
    assert begun(tmp_path) is None
    note_begun(tmp_path, tmp_path / "runs" / "a")
    assert begun(tmp_path) == tmp_path / "runs" / "a"
    monkeypatch.setenv("GAN_JOB", "gan-train-2")
    assert begun(tmp_path) is None
    monkeypatch.setenv("GAN_JOB", "../gan-train-1")  # a stranger's
    assert begun(tmp_path) == tmp_path / "runs" / "a"
