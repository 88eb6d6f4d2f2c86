"""What messages between workers take: links, the machines that they join, and the time of an all-reduce."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

from ganlib.errors import UserError

LATENCY = 20e-6
"""Seconds of a message between two machines where nothing else is said: a switch, two network stacks, a kernel's start.
Assumed."""

PAYLOAD = 0.94
"""The share of an Ethernet link that is data: of 1,538 bytes that a full frame takes on the wire, TCP brings 1,448."""


class Link(NamedTuple):
    """Seconds that a message takes whatever its size, and bytes/s in each direction."""

    latency: float
    bandwidth: float


def parse_network(text: str) -> Link:
    """ "100Gb" (gigabits a second), "12.5GB" (gigabytes), "800Mb"; with a latency: "100Gb,5us".

    Bits are a network's and lose `PAYLOAD`; bytes are taken as what arrives. Raises UserError.
    """
    rate, _, delay = text.replace(" ", "").partition(",")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([GM])(b|bit|B)(?:/s|ps)?", rate)
    late = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms)", delay) if delay else None
    if found is None or float(found[1]) == 0 or (delay and late is None):
        raise UserError(
            f"the network {text!r} has no rate with a unit; write 100Gb (bits), 12.5GB (bytes) or 100Gb,5us"
        )
    size = float(found[1]) * {"G": 1e9, "M": 1e6}[found[2]]
    seconds = LATENCY if late is None else float(late[1]) * {"us": 1e-6, "ms": 1e-3}[late[2]]
    return Link(seconds, size if found[3] == "B" else size / 8 * PAYLOAD)


@dataclass(frozen=True)
class Cluster:
    """Machines of `per_machine` workers each.

    inside: the link between two workers of a machine. between: each machine's link to the others. trees: whether the
    library may go by trees where rings are slower (NCCL does, gloo does not).
    """

    per_machine: int
    inside: Link
    between: Link
    trees: bool = True

    def machines(self, workers: int) -> int:
        return -(-workers // self.per_machine)

    def all_reduce(self, size: float, workers: int) -> float:
        """Seconds in which `workers` workers add up `size` bytes each.

        A ring of n: 2 (n - 1) steps, in each of which every worker passes on a part of S / n bytes, as fast as the
        slowest of its links (Patarasu & Yuan 2009, "Bandwidth optimal all-reduce algorithms"):

            t = 2 (n - 1) latency + 2 (n - 1) / n S / bandwidth

        Trees: a chain of g workers in each machine and a tree of the m machines, up and down, through which the data
        streams at the slowest link's speed (NCCL's double binary tree):

            t = 2 ((g - 1) latency_inside + ceil(log2 m) latency_between) + 2 S / bandwidth
        """
        if workers == 1:
            return 0.0
        machines = self.machines(workers)
        slowest = self.inside
        if machines > 1:
            between = self.between
            slowest = Link(max(between.latency, slowest.latency), min(between.bandwidth, slowest.bandwidth))
        steps = 2 * (workers - 1)
        ring = steps * slowest.latency + steps / workers * size / slowest.bandwidth
        if not self.trees:
            return ring
        here = min(workers, self.per_machine)
        hops = (here - 1) * self.inside.latency + math.ceil(math.log2(machines)) * self.between.latency
        return min(ring, 2 * hops + 2 * size / slowest.bandwidth)
