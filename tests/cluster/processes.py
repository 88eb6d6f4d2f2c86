"""Finding, among all processes of a machine on which others run Ray too, those that came of this one."""

import os
import socket
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path


def descendants(title: str, root: int | None = None) -> list[int]:
    """Ids of the processes below `root` (this one if not given) whose command line has `title` in it."""
    parents: dict[int, int] = {}
    titles: dict[int, bytes] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            # "pid (name) state parent ...", where the name may hold anything.
            parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            titles[int(place.name)] = (place / "cmdline").read_bytes()
        except OSError:
            continue
    found = []
    for process in sorted(titles):
        ancestor = process
        while ancestor > 1 and ancestor != (root or os.getpid()):
            ancestor = parents.get(ancestor, 0)
        if ancestor > 1 and title.encode() in titles[process]:
            found.append(process)
    return found


def listened(pids: Iterable[int]) -> set[str]:
    """The addresses on which the processes listen, by /proc/net/tcp and tcp6 (state 0A)."""
    sockets = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(str(descriptor.readlink()))
            except OSError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                words = bytes.fromhex(fields[1].partition(":")[0])
                packed = b"".join(
                    struct.pack(">I", *struct.unpack("<I", words[i : i + 4])) for i in range(0, len(words), 4)
                )
                found.add(socket.inet_ntop(socket.AF_INET if table == "tcp" else socket.AF_INET6, packed))
    return found


def train_workers() -> list[int]:
    """Ray Train's workers."""
    return descendants("ray::RayTrainWorker")


def wait_until(what: Callable[[], object], seconds: float = 1_500) -> None:
    """Returns once `what` is true; fails where that takes longer."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.05)
