"""Memory that is to be had, from the files that Linux would show."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ganlib.data.memory import available_memory

V1, V2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"
UNLIMITED = 9223372036854771712  # what v1 says of no limit


def machine(root: Path, files: dict[str, str]) -> Path:
    """8,000 KiB available, and these files."""
    for name, content in {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def v1(group: str, limit: int, used: int) -> dict[str, str]:
    stat = "cache 7\ninactive_file 1\ntotal_inactive_file 300\ntotal_active_file 40\n"
    values = {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": used, "memory.stat": stat}
    return {f"{V1}{group}/{name}": f"{value}\n" for name, value in values.items()}


def v2(group: str, limit: int | str, used: int) -> dict[str, str]:
    values = {"memory.max": limit, "memory.current": used, "memory.stat": "anon 9\ninactive_file 300\nactive_file 40\n"}
    return {f"{V2}{group}/{name}": f"{value}\n" for name, value in values.items()}


LINES = "5:cpu,cpuacct:/x\n4:memory:{group}\n1:name=systemd:/y\n0::/\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8000 * 1024),
        ({"proc/self/cgroup": "0::/\n"} | v2("", 1_000_000, 600_000), 400_340),
        ({"proc/self/cgroup": "0::/a/b\n"} | v2("", "max", 0) | v2("/a", 1000, 500) | v2("/a/b", "max", 400), 840),
        ({"proc/self/cgroup": "0::/a/b\n"} | v2("/a", 5000, 500) | v2("/a/b", 900, 400), 840),
        # A container that sees its own group as the top one.
        ({"proc/self/cgroup": "0::/docker/0123\n"} | v2("", 1000, 500), 840),
        ({"proc/self/cgroup": "0::/../../other\n"} | v2("", 1000, 500), 840),
        ({"proc/self/cgroup": "0::/\n"} | v2("", 1000, 5000), 0),
        ({"proc/self/cgroup": "0::/\n"} | v2("", 10**12, 500), 8000 * 1024),
        ({"proc/self/cgroup": LINES.format(group="/a")} | v1("", UNLIMITED, 10**9) | v1("/a", 5000, 1000), 4340),
        ({"proc/self/cgroup": LINES.format(group="/a")} | v1("", 2000, 1000), 1340),
        ({"proc/self/cgroup": LINES.format(group="/a")} | v1("/a", UNLIMITED, 1000), 8000 * 1024),
        # Version 2 beside version 1 has no say over memory, nor has a group of another controller.
        ({"proc/self/cgroup": "5:cpu:/a\n0::/b\n"} | v1("/a", 10, 0), 8000 * 1024),
    ],
)
def test_it_is_what_the_machine_and_every_group_have_left(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    """Limit, less what is used, and again what is used for the pages of files: 340 bytes."""
    assert available_memory(machine(tmp_path, files)) == expected


def test_of_this_machine_it_is_some_of_what_it_has() -> None:
    assert 64 << 20 < available_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
