"""Real Ray nodes on this machine, out of sight of other Ray clusters on it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

HEALTH = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1_000}
"""A node that died is missed after five seconds."""

START_SECONDS = 400


@contextmanager
def ray_nodes(*cpus: int) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of a head and other nodes, with so many logical CPUs each; ended with the block."""
    from ray._private import services
    from ray.cluster_utils import Cluster

    find = services.get_node

    def find_patiently(address: str, node_id: str) -> Any:
        """A busy machine takes longer than the 30 s that Ray gives a node to start."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return find(address, node_id)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    folder = tempfile.mkdtemp(prefix="gan", dir="/tmp")  # sockets have short names
    # Where Ray notes the address of a cluster, for any ray.init() that names none.
    elsewhere = mock.patch.dict(os.environ, RAY_TMPDIR=folder)
    with elsewhere, mock.patch.object(services, "get_node", find_patiently):
        nodes = Cluster()
        try:
            for position, count in enumerate(cpus):
                head = {"include_dashboard": False, "_system_config": HEALTH} if position == 0 else {}
                nodes.add_node(num_cpus=count, node_ip_address="127.0.0.1", **head)
            yield nodes
        finally:
            nodes.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def add_node(nodes: Any, cpus: int) -> Any:
    """One more; the node."""
    return nodes.add_node(num_cpus=cpus, node_ip_address="127.0.0.1")
