"""Every `gan` command of README.md and infra/README.md, run on a cluster of this machine that `gan up` started."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cluster_state import recorded
from tests.cluster.documented import commands, lay_out
from tests.cluster.test_local_cluster import environment, gan

pytestmark = pytest.mark.slow


def test_every_command_of_the_documents_runs_on_a_cluster_of_this_machine(tmp_path: Path) -> None:
    here, home, file = lay_out(tmp_path), tmp_path / "home", tmp_path / "commands.json"
    try:
        gan("up", "--nodes", 3, "--cpus", 2, "--home", home)
        state = recorded(home)
        assert state is not None
        told = commands(state.dashboard, state.mlflow)
        file.write_text(json.dumps(told))
        typed = [sys.executable, "-m", "tests.cluster.typed", str(file)]
        named = {**environment(), "GAN_HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(typed, cwd=here, env=named, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout[-5000:]
        assert "Traceback" not in done.stdout
        assert done.stdout.count("\n--- ") == len(told) > 30
    finally:
        gan("down", "--home", home)
