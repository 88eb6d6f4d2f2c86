"""The command `gan` in this process, as a person types it."""

from __future__ import annotations

import sys
from unittest import mock

import pytest

from pipelines import console
from pipelines.cli import main

LONG = 100_000.0
"""Seconds."""


def gan(*words: object) -> int:
    """Runs it; its exit status."""
    before, sys.argv = sys.argv, ["gan", *map(str, words)]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line with which it refuses `words`: no line of progress is before it, however slow the machine is."""
    capsys.readouterr()
    with mock.patch.object(console, "LINE_EVERY", LONG):
        assert gan(*words) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("gan: ")
    assert "\n" not in said
    assert "Traceback" not in said
    return said
