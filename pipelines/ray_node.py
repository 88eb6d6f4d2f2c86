"""`ray start`, on the loopback address and on a busy machine: python -m pipelines.ray_node start --head ...

Ray replaces 127.0.0.1 by an address of the machine that others reach, and listens on every one that it has; it keeps to
loopback where it takes the machine for one that cannot be in a cluster (pipelines.ports.ONLY_LOOPBACK). Here
loopback it is, and yet several nodes of one machine are a cluster.

Ray's raylet dies where its agents take more than 15 s to tell their ports, which on a laptop that trains they do. The
ports are given here, so that they are told before the agents start.
"""

from typing import Any

import ray
from ray._private import ray_constants, services
from ray._private.node import Node
from ray.scripts.scripts import main

LOOPBACK = "127.0.0.1"

_raylet: Any = ray._raylet  # compiled; its stub leaves these names out
_start_raylet = Node.start_raylet


def loopback(address: str | None = None) -> str:
    """The address of this node, from whatever address it is seen."""
    return LOOPBACK


def start_raylet(node: Any, *values: Any, **named: Any) -> None:
    """Ray's own, after the agents' ports were written where it looks for them."""
    given = node._ray_params
    for name, port in {
        _raylet.METRICS_AGENT_PORT_NAME: given.metrics_agent_port,
        _raylet.METRICS_EXPORT_PORT_NAME: given.metrics_export_port,
        _raylet.DASHBOARD_AGENT_LISTEN_PORT_NAME: given.dashboard_agent_listen_port,
        _raylet.RUNTIME_ENV_AGENT_PORT_NAME: given.runtime_env_agent_port,
    }.items():
        _raylet.persist_port(node._session_dir, node._node_id, name, port)
    _start_raylet(node, *values, **named)


if __name__ == "__main__":
    services.get_node_ip_address = loopback
    Node.start_raylet = start_raylet
    ray_constants.ENABLE_RAY_CLUSTER = (
        True  # of this process alone: its children have ONLY_LOOPBACK from the environment
    )
    main()
