"""How Ray Train's workers leave: with a checkpoint, at SIGTERM and before their number changes."""

from __future__ import annotations

import logging
import signal
from typing import Any

from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import ResizingState, TrainControllerState

from pipelines.notice import ask_and_wait, note_sigterm
from pipelines.run_folder import RunFolder

RESIZE_SECONDS = 30.0
"""How long a change of the number of workers waits for their checkpoint; without it, the newest has to do."""


def take_sigterm() -> None:
    """Makes SIGTERM a notice for this process, which a Ray worker would end at. To be called in its main thread."""
    signal.signal(signal.SIGTERM, note_sigterm)


class LeavingBackend(_TorchBackend):
    """Torch's process group, in processes that take SIGTERM for a notice."""

    def on_training_start(self, worker_group: Any, backend_config: Any) -> None:
        super().on_training_start(worker_group, backend_config)
        worker_group.execute(take_sigterm)


class LeavingConfig(TorchConfig):
    """What Ray Train knows of torch, with `LeavingBackend`."""

    @property
    def backend_cls(self) -> type[LeavingBackend]:
        return LeavingBackend


class CheckpointBeforeResize(ControllerCallback):
    """Has the workers write a checkpoint before Ray Train replaces them by more or fewer, which it does by killing."""

    def __init__(self, run: RunFolder):
        self.run = run

    def after_controller_state_update(
        self, previous_state: TrainControllerState, current_state: TrainControllerState
    ) -> None:
        if isinstance(current_state, ResizingState) and not ask_and_wait(self.run, "resize", RESIZE_SECONDS):
            logging.getLogger(__name__).warning("the workers are replaced without a checkpoint of this moment")
