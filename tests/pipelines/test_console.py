"""What a person sees of something long, on a real terminal and where the output is a file."""

import os
import pty
import re
import subprocess
import sys
import time

import pytest

from pipelines import console
from pipelines.console import Progress

SCRIPT = """
import time
from pipelines.console import Progress
with Progress("train") as progress:
    time.sleep({silent})
    for done in range({steps}):
        progress.update(100 * done, 1000, "D(x) 0.50")
        time.sleep(0.1)
"""


def on_a_terminal(silent: float, steps: int) -> str:
    """What the script shows on a terminal of its own."""
    terminal, end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    script = SCRIPT.format(silent=silent, steps=steps)
    process = subprocess.Popen([sys.executable, "-c", script], stderr=end, env=environment)
    os.close(end)
    shown = b""
    try:
        while part := os.read(terminal, 65_536):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(terminal)
    assert process.wait() == 0
    return shown.decode()


def test_a_bar_has_rate_and_time_left() -> None:
    shown = on_a_terminal(0.0, 30)
    assert "train" in shown
    assert "D(x) 0.50" in shown
    rates = [float(text) for text in re.findall(r"([0-9,]+) images/s", shown)]
    assert max(rates) <= 1_000  # a hundred every tenth of a second, or slower
    assert min(rates) > 100
    assert re.search(r"0:00:\d\d", shown)


def test_a_bar_appears_before_anything_is_known() -> None:
    shown = on_a_terminal(3.0, 0)
    assert "train" in shown
    assert "images/s" not in shown


def test_nothing_is_shown_of_what_ends_at_once() -> None:
    assert "train" not in on_a_terminal(0.5, 3)


def test_elsewhere_there_are_plain_lines(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "LINE_EVERY", 0.4)
    with Progress("prepare") as progress:
        time.sleep(0.6)
        progress.update(0, 200)
        time.sleep(0.5)
        progress.update(100, 200, "note")
        time.sleep(0.5)
    first, second, third, *_ = capfd.readouterr().err.splitlines()
    assert first == "prepare: 0 s so far"
    assert second == "prepare: 0 of 200 images"
    found = re.fullmatch(r"prepare: 100 of 200 images, (\d+) images/s note, (\d+) s left", third)
    assert found is not None
    assert 50 < int(found[1]) <= 200  # a hundred in half a second, or in more on a busy machine
    with Progress("short") as progress:
        progress.update(1, 1)
    assert capfd.readouterr().err == ""


def test_what_comes_after_the_last_image_is_named(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "LINE_EVERY", 0.2)
    with Progress("train") as progress:
        progress.update(990, 1000)
        progress.close_with("its checkpoint is judged")
        time.sleep(0.5)
    assert set(capfd.readouterr().err.splitlines()) == {"train: its checkpoint is judged"}
