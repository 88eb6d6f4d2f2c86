"""Elastic workers on real Ray nodes that join, are reclaimed with notice, and die without: the curve stays the same."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import train as stage
from pipelines.journal import read_metrics
from pipelines.run_folder import Home, RunFolder
from pipelines.shipped import find_recipe
from tests.cluster.processes import train_workers, wait_until
from tests.cluster.slowly import ON_RAY, SECONDS
from tests.cluster.tiny import BATCH, ROUNDS_A_TICK, TINY, lengths, prepare, ticks_of

pytestmark = pytest.mark.slow

TICKS = 60
LENGTHS = lengths(TICKS, checkpoint_every=5, evaluate_every=TICKS)
HEALTH = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1_000}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Ray nodes of one CPU each, as real processes; here one."""
    import ray
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="gan", dir="/tmp")  # sockets have short names
    monkeypatch.setenv("RAY_TMPDIR", folder)  # where others' ray.init() would look for a cluster, too
    monkeypatch.setenv("RAY_TRAIN_CALLBACKS", ON_RAY)
    monkeypatch.setenv(SECONDS, "0.1")
    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": HEALTH}
    )
    try:
        ray.init(address=nodes.address, log_to_driver=False)
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def drain(node: Any, seconds: float) -> None:
    """What a cloud's notice becomes: the node is to go within so many seconds, and takes no more work."""
    from ray.core.generated import autoscaler_pb2

    accepted, why = node.get_gcs_client().drain_node(
        node.node_id,
        autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION,
        "preempted",
        int((time.time() + seconds) * 1000),
    )
    assert accepted, why


def test_nodes_join_are_reclaimed_and_die_and_the_curve_is_that_of_one_process(
    cluster: Any, tmp_path: Path, tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "RESIZE_EVERY_SECONDS", 1.0)
    home = Home(tmp_path / "home").create()
    dataset = prepare(home)
    elastic = stage.create_run(find_recipe("ring", [*TINY, *LENGTHS, "workers=[1, 2]"]), dataset, home, "elastic")
    said: list[str] = []

    def workers() -> float:
        points = read_metrics(elastic.path).get("workers", [(0, 0.0)])
        return points[-1][1]

    def disturb() -> None:
        wait_until(lambda: workers() == 1)
        node = cluster.add_node(num_cpus=1)
        wait_until(lambda: workers() == 2)
        said.append("joined")
        before = newest(elastic)
        drain(node, 60)
        wait_until(lambda: newest(elastic) > before)
        said.append("left a checkpoint")
        # It is the notice's: regular ones are a multiple of five ticks.
        wait_until(lambda: workers() == 1)
        cluster.remove_node(node)
        said.append("went")
        node = cluster.add_node(num_cpus=1)
        wait_until(lambda: workers() == 2)
        cluster.remove_node(node, allow_graceful=False)
        said.append("died")

    thread = threading.Thread(target=disturb, daemon=True)
    thread.start()
    stage.train(elastic, tracking_uri)
    thread.join(30)
    assert said == ["joined", "left a checkpoint", "went", "died"]
    assert not train_workers()

    fixed = stage.create_run(find_recipe("ring", [*TINY, *LENGTHS]), dataset, home, "fixed")
    stage.train(fixed, tracking_uri)
    theirs, ours = ticks_of(fixed.path), ticks_of(elastic.path)
    assert list(ours) == list(theirs) == [ROUNDS_A_TICK * BATCH * tick for tick in range(1, TICKS + 1)]
    for images, metrics in theirs.items():
        assert ours[images] == pytest.approx(metrics, abs=1e-4), images
    losses = [metrics["loss/discriminator"] for metrics in theirs.values()]
    assert max(losses) - min(losses) > 0.05  # it is a training that they agree on
    assert {count for _, count in read_metrics(elastic.path)["workers"]} == {1, 2}


def newest(run: RunFolder) -> str:
    return stage.newest_name(run) or ""
