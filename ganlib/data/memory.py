"""How much memory is to be had now, by what Linux says of the machine and of the control groups it keeps us in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class _Files(NamedTuple):
    """What the files of a version of control groups are called; `caches`: fields of memory.stat that are let go when
    the group is short, the pages of files: they count as used, and data that is mapped would be counted twice."""

    limit: str
    used: str
    caches: tuple[str, str]


_V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
_V2 = _Files("memory.max", "memory.current", ("inactive_file", "active_file"))


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that this process can take without swapping: of the machine, or of a control group that it is in where that
    has less left. root: where /proc and /sys are."""
    meminfo = root / "proc/meminfo"
    if meminfo.is_file():
        machine = int(_fields(meminfo.read_text().replace(":", ""))["MemAvailable"]) * 1024
    else:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(min([machine, *_left_in_groups(root)]), 0)


def _left_in_groups(root: Path) -> Iterator[int]:
    """What is left of the limit of each group that this process is in, the outer ones too."""
    own = root / "proc/self/cgroup"
    for line in own.read_text().splitlines() if own.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, files = (root / "sys/fs/cgroup/memory", _V1) if controllers else (root / "sys/fs/cgroup", _V2)
        # Where a container shows its own group as the top one, the path is that of outside, and nothing is there.
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            group = top.joinpath(*parts[:depth])
            limit = _number(group / files.limit)
            if limit is not None:
                stat = _fields(_text(group / "memory.stat"))
                yield limit - (_number(group / files.used) or 0) + sum(int(stat.get(name, 0)) for name in files.caches)


def _fields(text: str) -> dict[str, str]:
    """Of lines "name value ..."."""
    return {words[0]: words[1] for line in text.splitlines() if len(words := line.split()) > 1}


def _number(path: Path) -> int | None:
    """None where there is no such file, or no number in it ("max")."""
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""
