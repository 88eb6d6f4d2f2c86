"""What a command starts for itself listens on this machine's loopback alone: `gan ui`, and Ray for a run of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.processes import descendants, listened, wait_until
from tests.cluster.test_local_cluster import environment
from tests.pipelines.conftest import free_port

pytestmark = pytest.mark.slow

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
SHORT = ("train.images=5000", "train.tick=1000", "train.evaluate_every=5000", "evaluate.samples=64")


@contextmanager
def started(*words: object) -> Iterator[subprocess.Popen[str]]:
    """`gan` with these words, as a process; ended at the end."""
    command = [sys.executable, "-m", "pipelines.cli", *map(str, words)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment(), stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate()


def test_mlflows_page_is_for_this_machine_alone(tmp_path: Path) -> None:
    with started("ui", "--home", tmp_path, "--port", free_port()) as process:
        wait_until(lambda: listened(descendants("", process.pid)) or process.poll() is not None, 120)
        assert process.poll() is None
        assert listened(descendants("", process.pid)) <= LOOPBACK


def test_the_ray_of_a_run_is_for_this_machine_alone(tmp_path: Path) -> None:
    found: dict[int, set[str]] = defaultdict(set)
    workers: set[int] = set()

    def over() -> bool:
        workers.update(descendants("ray::RayTrainWorker", process.pid))
        for pid in descendants("", process.pid):
            found[pid] |= listened([pid])
        time.sleep(0.5)  # to look takes as long as it rests
        return process.poll() is not None

    with started("train", "ring", "workers=1", *SHORT, "--home", tmp_path) as process:
        wait_until(over, 300)
        assert process.returncode == 0, process.communicate()[0]
    # torch's TCPStore, in which a run's workers find each other, knows no address but all of the machine's.
    daemons = [addresses for pid, addresses in found.items() if pid not in workers]
    assert workers
    assert set.union(*daemons)
    assert set.union(*daemons) <= LOOPBACK
