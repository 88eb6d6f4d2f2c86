"""How many trials run at once, counted by hand."""

from __future__ import annotations

import pytest
import ray
from ray._private.state import state
from ray.core.generated.autoscaler_pb2 import ClusterConfig, NodeGroupConfig

from ganlib.errors import UserError
from tuning.study import Resources

TWO_CORES = [{"CPU": 2.0}]
ONE_GPU = [{"CPU": 4.0, "GPU": 1.0}]
CLUSTER = [{"CPU": 1.0}, {"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}]


@pytest.mark.parametrize(
    ("nodes", "resources", "places"),
    [
        (TWO_CORES, Resources(), 2),
        (TWO_CORES, Resources(cpus=0.5), 4),
        (TWO_CORES, Resources(workers=2), 1),
        (TWO_CORES, Resources(cpus=0.5, workers=2), 2),
        (CLUSTER, Resources(), 17),
        (CLUSTER, Resources(at_once=5), 5),
        (CLUSTER, Resources(cpus=3), 4),  # two on either node of eight, none on that of one
        (CLUSTER, Resources(gpus=1), 3),
        (CLUSTER, Resources(gpus=2), 1),
        (CLUSTER, Resources(gpus=0.4), 6),  # two a GPU: a share is of one
        (CLUSTER, Resources(cpus=4, gpus=0.5), 4),
        (CLUSTER, Resources(gpus=1, workers=2), 1),
        (CLUSTER, Resources(gpus=0.5, workers=2), 3),
        (ONE_GPU, Resources(gpus=0.5, workers=2), 1),
        ([*TWO_CORES, {}], Resources(), 2),
    ],
)
def test_places(
    nodes: list[dict[str, float]], resources: Resources, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [*({"Alive": True, "Resources": node} for node in nodes), dead])
    monkeypatch.setattr(state, "get_cluster_config", lambda: None)
    assert resources.places() == places


@pytest.mark.parametrize(
    ("nodes", "resources", "places"),
    [
        ([{}], Resources(gpus=1), 6),  # a head that does no work
        ([{}], Resources(), 40),  # 4 x 4 and 3 x 8
        ([{}], Resources(cpus=3), 10),  # one on a node of four, two on one of eight
        ([{}], Resources(gpus=1, workers=4), 1),
        ([{}, {"CPU": 8.0, "GPU": 2.0}], Resources(gpus=1), 6),  # one of the three is there
        ([{"CPU": 64.0, "GPU": 8.0}], Resources(gpus=1), 8),
    ],
)
def test_nodes_that_an_autoscaler_would_bring_have_places(
    nodes: list[dict[str, float]], resources: Resources, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the table is made up, which an autoscaler gives Ray."""
    groups = [NodeGroupConfig(name="cpu", max_count=4, resources={"CPU": 4}),
              NodeGroupConfig(name="gpu", max_count=3, resources={"CPU": 8, "GPU": 2})]  # fmt: skip
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])
    monkeypatch.setattr(state, "get_cluster_config", lambda: ClusterConfig(node_group_configs=groups))
    assert resources.places() == places


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        (Resources(gpus=1, workers=2), "2 workers of 1 CPUs and 1 GPUs each, and the cluster has 4 CPUs, 1 GPUs"),
        (Resources(cpus=5), "a trial takes 5 CPUs, and the cluster has 4 CPUs"),
        (Resources(gpus=1.5), "1.5 GPUs cannot be had"),
    ],
)
def test_what_there_is_no_room_for(resources: Resources, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": ONE_GPU[0]}])
    monkeypatch.setattr(state, "get_cluster_config", lambda: None)
    with pytest.raises(UserError, match=said):
        resources.places()


def test_a_trial_takes_what_is_counted() -> None:
    """With workers its own process takes nothing, of which Ray wants a byte."""
    assert Resources(0.5, 0.25).taken() == {"CPU": 0.5, "GPU": 0.25}
    assert Resources().taken() == {"CPU": 1}
    assert Resources(2, 1, workers=2).taken() == {"memory": 1}
