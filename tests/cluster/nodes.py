"""Real Ray nodes on this machine, out of sight of other Ray clusters on it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from tests.pipelines.conftest import free_port

SETTINGS = {
    # Nobody looks, and what is started before anything is asked of it is never used: a second of a core each.
    "task_events_report_interval_ms": 0,
    "enable_metrics_collection": False,
    "prestart_worker_first_driver": False,
    # A node that died is missed after five seconds.
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1_000,
    # A busy machine starts a process in minutes.
    "agent_register_timeout_ms": 400_000,
    "worker_register_timeout_seconds": 400,
}
START_SECONDS = 400
PORTS = ("dashboard_agent_listen_port", "metrics_agent_port", "metrics_export_port", "runtime_env_agent_port")


@contextmanager
def ray_nodes(*cpus: int) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of a head and other nodes, with so many logical CPUs each; ended with the block."""
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="gan", dir="/tmp")  # sockets have short names
    # Where Ray notes the address of a cluster, for any ray.init() that names none.
    with mock.patch.dict(os.environ, RAY_TMPDIR=folder):
        # Ray would set signal handlers for it, which a thread that adds a node may not; it is ended below.
        nodes = Cluster(shutdown_at_exit=False)
        try:
            add_node(nodes, cpus[0], include_dashboard=False, _system_config=SETTINGS)
            for count in cpus[1:]:
                add_node(nodes, count)
            yield nodes
        finally:
            nodes.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def add_node(nodes: Any, cpus: int, **more: Any) -> Any:
    """One more; the node.

    A busy machine takes longer over it than the 30 s that Ray gives a node, and the 15 s that a raylet gives its agents
    to say in files which ports they have: both are waited for here, the files are written before. Its address is named:
    in a process that has a Ray of its own, which is for loopback alone (pipelines.cluster), Ray would take that one's.
    """
    from ray._private import services
    from ray._private.node import Node

    address = services.node_ip_address_from_perspective()
    ports = {name: free_port() for name in PORTS}
    find, start = services.get_node, Node.start_ray_processes

    def find_patiently(address: str, node_id: str) -> Any:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return find(address, node_id)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def start_with_ports(node: Any) -> None:
        for name, port in ports.items():
            Path(node.get_session_dir_path(), f"{name}_{node.node_id}").write_text(str(port))
        start(node)

    patience = mock.patch.object(services, "get_node", find_patiently)
    with patience, mock.patch.object(Node, "start_ray_processes", start_with_ports):
        return nodes.add_node(num_cpus=cpus, node_ip_address=address, **ports, **more)
