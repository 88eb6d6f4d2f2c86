"""Whatever is killed, the run ends with the weights, and MLflow with the metrics, of the run that nothing disturbed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.faults import FAULTS, theatre
from tests.conftest import TOLD

pytestmark = pytest.mark.slow


def test_nothing_is_lost_whatever_is_killed(tmp_path: Path, record_property: Callable[[str, str], None]) -> None:
    """Each kind once, at moments and in an order that the seed draws; `python -m tests.benchmarks faults` more."""
    dice = random.Random(8)
    kinds = list(FAULTS)
    dice.shuffle(kinds)
    with theatre(tmp_path) as scene:
        whole = scene.undisturbed()
        scene.compare(scene.disturbed("disturbed", kinds, dice), whole)
    kinds_met, losses = len(scene.tally.faults), len(scene.tally.losses)
    record_property(TOLD, f"faults: {kinds_met} of {len(FAULTS)} kinds, losses: {losses}")
    assert scene.tally.losses == []
    assert scene.tally.faults == dict.fromkeys(FAULTS, 1)
