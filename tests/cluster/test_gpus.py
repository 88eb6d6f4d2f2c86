"""Whether a training gets GPUs: those that are there, and those that an autoscaler would bring."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines.cluster import connect, has_gpus

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    import ray

    connect(1, object_store_bytes=200 << 20)
    yield
    ray.shutdown()


def test_a_cluster_that_grows_has_the_gpus_that_it_may_have():
    from ray._private.worker import global_worker
    from ray.core.generated.autoscaler_pb2 import ClusterConfig, NodeGroupConfig

    assert not has_gpus(1)  # none here, and no autoscaler
    # What an autoscaler tells the cluster when it starts: two groups of nodes, none of which is there yet.
    groups = [
        NodeGroupConfig(name="cpu", max_count=4, resources={"CPU": 4}),
        NodeGroupConfig(name="gpu", max_count=3, resources={"CPU": 8, "GPU": 2}),
    ]
    report = ClusterConfig(node_group_configs=groups)
    global_worker.gcs_client.report_cluster_config(report.SerializeToString())
    assert has_gpus(1)
    assert has_gpus(6)  # 3 nodes of 2
    assert not has_gpus(7)
