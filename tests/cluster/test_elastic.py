"""Elastic workers on real Ray nodes that join, are reclaimed with notice, and die without: the curve stays the same."""

from __future__ import annotations

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
from tests.cluster.nodes import add_node, ray_nodes
from tests.cluster.processes import train_workers, wait_until
from tests.cluster.slowly import ON_RAY, PACE
from tests.cluster.tiny import BATCH, ROUNDS_A_TICK, TINY, lengths, prepare, ticks_of

pytestmark = pytest.mark.slow

TICKS = 80
"""800 rounds. What two workers round otherwise has grown to 5e-6 in the losses by then; by 1,500 rounds to 2e-4."""
LENGTHS = lengths(TICKS, checkpoint_every=TICKS, evaluate_every=TICKS)


@pytest.fixture
def pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds how many seconds a round sleeps."""
    file = tmp_path / "pace"
    file.write_text("0.3")
    monkeypatch.setenv("RAY_TRAIN_CALLBACKS", ON_RAY)
    monkeypatch.setenv(PACE, str(file))
    return file


@pytest.fixture
def cluster(pace: Path) -> Iterator[Any]:
    """Ray nodes of one CPU each, as real processes; here one."""
    import ray

    with ray_nodes(1) as nodes:
        ray.init(address=nodes.address, log_to_driver=False)
        try:
            yield nodes
        finally:
            ray.shutdown()


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
    cluster: Any, pace: Path, tmp_path: Path, tracking_uri: str, monkeypatch: pytest.MonkeyPatch
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
        node = add_node(cluster, 1)
        wait_until(lambda: workers() == 2)
        said.append("joined")
        before = newest(elastic)
        assert before > ""  # written when the node joined: no regular one is due before the end
        drain(node, 60)
        wait_until(lambda: newest(elastic) > before)
        said.append("left a checkpoint")
        wait_until(lambda: workers() == 1)
        cluster.remove_node(node)
        said.append("went")
        node = add_node(cluster, 1)
        wait_until(lambda: workers() == 2)
        cluster.remove_node(node, allow_graceful=False)
        said.append("died")
        wait_until(lambda: workers() == 1)
        pace.unlink()

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
        assert ours[images].keys() == metrics.keys()
        for name, value in metrics.items():
            # Where rounding takes a unit past ReLU's corner its gradient jumps, and the norm with it; a loss does not.
            bound = 5e-3 if name.startswith("gradient/") else 1e-4
            assert ours[images][name] == pytest.approx(value, abs=bound), (images, name)
    losses = [metrics["loss/discriminator"] for metrics in theirs.values()]
    assert max(losses) - min(losses) > 0.05  # it is a training that they agree on
    assert {count for _, count in read_metrics(elastic.path)["workers"]} == {1, 2}


def newest(run: RunFolder) -> str:
    return stage.newest_name(run) or ""
