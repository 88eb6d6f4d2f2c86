"""Rounds that sleep: a training that takes its time without taking a core, so that there is time to disturb it."""

import os
import time

from ray.train.v2._internal.execution.callback import WorkerCallback

from ganlib.training.trainer import Trainer

SECONDS = "GAN_TEST_ROUND_SECONDS"


def slow_rounds(seconds: float) -> None:
    """Makes every round of this process's trainers take so much longer."""
    plain = Trainer._round

    def slow(self: Trainer, *arguments: object, **named: object) -> None:
        plain(self, *arguments, **named)
        time.sleep(seconds)

    Trainer._round = slow


class Slowly(WorkerCallback):
    """Named in RAY_TRAIN_CALLBACKS: slows the rounds of Ray Train's workers by what SECONDS says."""

    def __init__(self) -> None:
        self.seconds = float(os.environ[SECONDS])

    def after_init_train_context(self) -> None:
        slow_rounds(self.seconds)


ON_RAY = "tests.cluster.slowly.Slowly"
"""For RAY_TRAIN_CALLBACKS."""
