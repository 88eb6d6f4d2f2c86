"""What messages between workers take: links, the machines that they join, and the time of an all-reduce."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

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

    def rate(self, size: float) -> float:
        """Bytes/s of a message of so many bytes."""
        return self.bandwidth


@dataclass(frozen=True)
class Loopback:
    """What joins two processes of one machine: memory, the faster the nearer the cache that a message fits in.

    latency: seconds that a message takes whatever its size. rates: bytes of messages, rising, each with the bytes/s at
    which it went.
    """

    latency: float
    rates: tuple[tuple[int, float], ...]

    def __str__(self) -> str:
        (smallest, fast), (largest, slow) = self.rates[0], self.rates[-1]
        return (
            f"{self.latency * 1e6:.0f} us a message, and {fast / 1e9:.2f} GB/s ({smallest / 2**20:.3g} MiB) to "
            f"{slow / 1e9:.2f} GB/s ({largest / 2**20:.3g} MiB)"
        )

    def rate(self, size: float) -> float:
        """Bytes/s of a message of so many bytes, between those measured on a logarithmic scale."""
        sizes, rates = zip(*self.rates, strict=True)
        return float(np.interp(math.log(max(size, 1.0)), np.log(sizes), rates))

    def shared(self, crowding: float, computing: bool = True) -> Loopback:
        """Where so many workers share a core, which all of them need to copy.

        computing: they come from other work, so that a message waits for its receiver's turn on the core as well. Where
        nothing is done but to pass messages, who waits for one has no work to finish first.
        """
        rates = tuple((size, rate / crowding) for size, rate in self.rates)
        return Loopback(self.latency * (crowding if computing else 1.0), rates)


class Behind(NamedTuple):
    """A network between processes, each of which copies what it sends and gets as on its own machine."""

    network: Link
    loopback: Loopback

    @property
    def latency(self) -> float:
        return self.network.latency + self.loopback.latency

    def rate(self, size: float) -> float:
        return min(self.network.bandwidth, self.loopback.rate(size))


Way = Link | Loopback | Behind


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
    inside: Way
    between: Way
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
        ways = [self.inside, self.between] if machines > 1 else [self.inside]
        part = size / workers
        slowest = Link(max(way.latency for way in ways), min(way.rate(part) for way in ways))
        ring = 2 * (workers - 1) * (slowest.latency + part / slowest.bandwidth)
        if not self.trees:
            return ring
        here = min(workers, self.per_machine)
        hops = (here - 1) * self.inside.latency + math.ceil(math.log2(machines)) * self.between.latency
        return min(ring, 2 * hops + 2 * size / slowest.bandwidth)
