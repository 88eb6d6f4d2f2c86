"""Memory that a training frees is there for its next tensors: the pages that were had anew, as the kernel counts."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from ganlib.allocator import keep_freed_memory

if {keep}:
    keep_freed_memory()


def passes():
    for _ in range({times}):
        torch.empty({size} // 4).fill_(1)


passes()  # until there are blocks that fit, alignment included
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
passes()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
SIZE = 40 << 20
"""Bytes: more than glibc ever keeps by itself."""
TIMES = 20
PAGES = SIZE // 4096


def faults(keep: bool) -> int:
    program = PROGRAM.format(keep=keep, size=SIZE, times=TIMES)
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_twenty_tensors_take_the_pages_of_those_before() -> None:
    assert faults(keep=True) < min(PAGES, faults(keep=False))
