"""A cluster whose head does no work and whose workers are yet to come, as the launchers in infra/cloud make them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ganlib.data import Preparation, open_source, prepare_dataset
from pipelines.cluster import connect
from pipelines.ray_mapper import RayMapper
from tests.cluster.nodes import add_node, ray_nodes

pytestmark = pytest.mark.slow


def test_a_preparation_waits_for_the_first_node_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    with ray_nodes(0) as nodes, ThreadPoolExecutor(1) as later:
        monkeypatch.setenv("RAY_ADDRESS", nodes.address)
        connect(1)
        try:
            assert "CPU" not in ray.cluster_resources()
            later.submit(add_node, nodes, 1)
            preparation = Preparation(size=16, channels=1)
            there = prepare_dataset(open_source("digits"), preparation, tmp_path / "ray", "d", None, RayMapper())
        finally:
            ray.shutdown()
    alone = prepare_dataset(open_source("digits"), preparation, tmp_path / "alone", "d")
    assert there.digest == alone.digest
