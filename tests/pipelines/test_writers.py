"""Who judges the checkpoints of a training in one process, when that training is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from ganlib.recipe import EvaluateConfig
from pipelines.evaluate import evaluate_beside
from pipelines.run_folder import RunFolder
from pipelines.writers import _judges

PATIENCE = 120
NAME = "checkpoint-000000000640"

PARENT = """
import os, time
from pipelines.writers import _judges

if __name__ == "__main__":
    judges = _judges()
    print(judges.submit(os.getpid).result(), flush=True)
    time.sleep(600)
"""


def _open_files(pid: int) -> list[str]:
    found = []
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            found.append(str(file.readlink()))
    return found


def _runs(process: Path) -> bool:
    try:
        return "State:\tZ" not in (process / "status").read_text()
    except OSError:
        return False


def test_a_checkpoint_that_another_process_judges_is_waited_for_and_not_read_again(tmp_path: Path) -> None:
    """The other one is done, and the checkpoint is removed, while the second waits: it has what the first found."""
    run = RunFolder(tmp_path)
    run.evaluation_file(NAME).parent.mkdir()
    mark = run.due_mark(NAME)
    mark.touch()
    with _judges() as judges:
        (pid,) = {judges.submit(os.getpid).result()}
        with run.judging(NAME) as due:
            assert due
            second = judges.submit(evaluate_beside, str(tmp_path), NAME)
            deadline = time.monotonic() + PATIENCE
            while str(mark) not in _open_files(pid):
                assert time.monotonic() < deadline
                assert not second.done()
                time.sleep(0.01)
            run.keep_evaluation(NAME, EvaluateConfig(), {"fid/classifier": 5.0})
            mark.unlink()
        assert second.result(PATIENCE) == {"fid/classifier": 5.0}
    assert json.loads(run.evaluation_file(NAME).read_text())["metrics"] == {"fid/classifier": 5.0}


def test_who_judges_ends_with_the_training_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    command = [sys.executable, str(tmp_path / "parent.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}) as parent:
        assert parent.stdout is not None
        child = Path("/proc") / parent.stdout.readline().decode().strip()
        assert _runs(child)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while _runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)
