"""Whether a training gets GPUs: those that are there, and those that an autoscaler would bring."""

from __future__ import annotations

import pytest
import ray
from ray._private.state import state
from ray.core.generated.autoscaler_pb2 import ClusterConfig, NodeGroupConfig

from pipelines.cluster import has_gpus

# What an autoscaler tells Ray of a cluster: up to 3 nodes of 2 GPUs each, whatever is there now.
GROWING = ClusterConfig(
    node_group_configs=[
        NodeGroupConfig(name="cpu", max_count=4, resources={"CPU": 4}),
        NodeGroupConfig(name="gpu", max_count=3, resources={"CPU": 8, "GPU": 2}),
    ]
)


@pytest.mark.parametrize(
    ("there", "config", "most"),
    [({}, None, 0), ({"GPU": 4.0}, None, 4), ({}, GROWING, 6), ({"GPU": 8.0}, GROWING, 8), ({}, ClusterConfig(), 0)],
)
def test_gpus_that_may_come_count(monkeypatch, there, config, most):
    """Ray's own arithmetic on what the cluster's table has; only the table is made up."""
    monkeypatch.setattr(ray, "cluster_resources", lambda: there)
    monkeypatch.setattr(state, "get_cluster_config", lambda: config)
    assert [has_gpus(count) for count in (most, most + 1)] == [True, False]
