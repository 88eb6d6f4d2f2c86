"""Ports of this machine's loopback address, for the servers that a command starts."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"

ONLY_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Keeps Ray from replacing 127.0.0.1 by an address of the machine that others reach; every process of a cluster, and
every one that connects to it, has it in its environment."""


def is_free(port: int) -> bool:
    """Whether nothing listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, of those from which the system takes none for connections that go out."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20_000, 32_000)
        if port not in found and is_free(port):
            found.append(port)
    return found
