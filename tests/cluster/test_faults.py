"""Whatever is killed, the run ends with the weights, and MLflow with the metrics, of the run that nothing disturbed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.cluster.faults import FAULTS, theatre

pytestmark = pytest.mark.slow


def test_nothing_is_lost_whatever_is_killed(tmp_path: Path) -> None:
    """Each kind once, at moments and in an order that the seed draws; `tests.benchmarks.faults` draws more of them."""
    dice = random.Random(8)
    kinds = list(FAULTS)
    dice.shuffle(kinds)
    with theatre(tmp_path) as scene:
        whole = scene.undisturbed()
        scene.compare(scene.disturbed("disturbed", kinds, dice), whole)
    assert scene.tally.losses == []
    assert scene.tally.faults == dict.fromkeys(FAULTS, 1)
