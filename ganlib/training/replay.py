"""Rounds of training recorded as CUDA graphs: the GPU goes from kernel to kernel, and Python stays out of it.

Python, autograd and the dispatcher take some thirty microseconds to bring a kernel on its way, and a small network's
kernels take three: nine tenths of a round were waiting (`python -m tests.benchmarks gpu`).

What was recorded computes on the very tensors that it was recorded on. What differs from round to round comes in
through tensors that keep their place and are filled anew: the batches, what is drawn, learning rates (`Varying`). Where
Python decides what is done at all, by the number of the step (`Method.occasion`), each decision has a recording of its
own.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ganlib.data.batch import Batch
from ganlib.training.meter import Meter
from ganlib.varying import Varying

WARM_UP = 2
"""Rounds of an occasion that are played as they are before one is recorded: they make the optimizers' state and the
meter's places, and have cuDNN choose its algorithms, which a recording cannot."""

_log = logging.getLogger(__name__)


class Played(NamedTuple):
    """What is still asked of a round when its steps are over: its last batch and latents, and D's mean of the fakes."""

    batch: Batch
    latents: Tensor
    d_fake: Tensor


Steps = Callable[[Sequence[Batch]], Played]
"""The steps of a round on its batches, one for each discriminator step."""


class Recorder(Protocol):
    """What can record work on a device."""

    def apart(self, work: Callable[[], Played]) -> Played:
        """Does `work`, where recording will be done."""

    def record(self, work: Callable[[], Played]) -> tuple[Callable[[], None], Played]:
        """What does `work` again each time that it is called, on the same tensors; nothing is done yet.

        Raises RuntimeError where `work` cannot be recorded.
        """


@dataclass
class _Recording:
    replay: Callable[[], None]
    batches: Sequence[Batch]
    varying: Varying.Places
    counted: Counter[str]
    played: Played


class Player:
    """Plays rounds: the first of an occasion as they are, then from a recording.

    A round that cannot be recorded (the memory does not suffice for a second copy of what it keeps between its passes;
    a network asks the device for a number) is played as it is from then on, which a warning says.
    """

    def __init__(self, recorder: Recorder, varying: Varying, meter: Meter):
        self._recorder: Recorder | None = recorder
        self._varying, self._meter = varying, meter
        self._met: Counter[Hashable] = Counter()
        self._listed: dict[Hashable, tuple[Sequence[Batch], Varying.Places]] = {}
        self._recordings: dict[Hashable, _Recording] = {}

    def play(self, occasion: Hashable, batches: Sequence[Batch], steps: Steps) -> Played:
        """One round of `steps` on `batches`, of all that are played with this `occasion`."""
        if self._recorder is None:
            return steps(batches)
        recording = self._recordings.get(occasion)
        if recording is not None:
            for place, batch in zip(recording.batches, batches, strict=True):
                place.fill(batch)
            self._varying.fill(recording.varying)
            recording.replay()
            self._meter.count(recording.counted)
            return recording.played
        self._met[occasion] += 1
        if self._met[occasion] < WARM_UP:
            return self._recorder.apart(lambda: steps(batches))
        if self._met[occasion] == WARM_UP:
            with self._varying.listing() as places:
                played = self._recorder.apart(lambda: steps(batches))
            self._listed[occasion] = batches, places
            return played
        try:
            self._recordings[occasion] = self._record(*self._listed.pop(occasion), steps)
        except RuntimeError as error:
            self._recorder = None
            self._recordings.clear()
            self._listed.clear()
            _log.warning("rounds are not recorded, and may be slower: %s", " ".join(str(error).split())[:200])
        return self.play(occasion, batches, steps)

    def _record(self, batches: Sequence[Batch], places: Varying.Places, steps: Steps) -> _Recording:
        assert self._recorder is not None
        with self._varying.recalling(places), self._meter.counting() as counted:
            replay, played = self._recorder.record(lambda: steps(batches))
        return _Recording(replay, batches, places, counted, played)


class CudaRecorder:
    """CUDA graphs, all in one pool of memory: no two of them are played at once, and none has what another leaves."""

    def __init__(self, device: torch.device):
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def apart(self, work: Callable[[], Played]) -> Played:
        with self._on_stream():
            return work()

    def record(self, work: Callable[[], Played]) -> tuple[Callable[[], None], Played]:
        graph = torch.cuda.CUDAGraph()
        # Of this thread alone nothing may ask the device meanwhile: others write checkpoints, and judge them.
        with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
            played = work()
        return graph.replay, played

    @contextmanager
    def _on_stream(self) -> Iterator[None]:
        """What is computed meanwhile is computed after all that was, and before all that will be."""
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            yield
        torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)
