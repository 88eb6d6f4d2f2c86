"""Rounds that sleep: a training that takes its time without taking a core, so that there is time to disturb it."""

import os
import time
from pathlib import Path

from ray.train.v2._internal.execution.callback import WorkerCallback

from ganlib.training.trainer import Trainer

PACE = "GAN_TEST_PACE"
"""The environment variable that names a file, which holds the seconds that a round sleeps; not there: none."""

ON_RAY = "tests.cluster.slowly.Slowly"
"""For RAY_TRAIN_CALLBACKS, which has Ray Train's workers do so."""


def slow_rounds(pace: Path) -> None:
    """Makes each round of this process's trainers sleep for as long as the file `pace` says at the time."""
    plain = Trainer._round

    def slow(self: Trainer, *arguments: object, **named: object) -> None:
        plain(self, *arguments, **named)
        if pace.is_file():
            time.sleep(float(pace.read_text() or 0))

    Trainer._round = slow


class Slowly(WorkerCallback):
    """Made in the driver, carried to each worker."""

    def __init__(self) -> None:
        self.pace = Path(os.environ[PACE])

    def after_init_train_context(self) -> None:
        slow_rounds(self.pace)
