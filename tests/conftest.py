"""One thread a process: two processes of several threads each, on two cores, spin against each other for 30 times the
time that one thread takes."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # for this process, before torch is imported, and for those that tests start
os.environ["OMP_WAIT_POLICY"] = "passive"  # a training has a thread a core all the same
# `mlflow models serve` looks for its server's command there, as in an activated environment.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A training in this process, a fixture's too, leaves it with as many threads as the machine has cores."""
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)


TOLD = "told"
"""A property that a test records to have it said at the end, though the test passes, and in whatever process it ran."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, text in getattr(report, "user_properties", ()):
                if name == TOLD and report.when == "call":
                    terminalreporter.write_line(text)
