"""A worker's round of training without a dataset and without the other workers: to be counted, or timed.

The round is `Trainer._round` itself, so what is counted is what trains: which fakes are made anew, which side is
frozen, which step takes the penalty. The other workers are a process group that answers at once and adds nothing.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ganlib.data.batch import Batch
from ganlib.draws import Draws
from ganlib.errors import UserError
from ganlib.networks.layers import bind_draws
from ganlib.penalties import GradientPenalty
from ganlib.recipe import Recipe
from ganlib.training.checkpoint import Progress
from ganlib.training.meter import Meter
from ganlib.training.side import Side
from ganlib.training.trainer import Trainer
from ganlib.training.world import World

CAPTION = " ".join(f"word{number}" for number in range(16))
"""Stands for the captions of a dataset: what text costs goes by their length, and is little."""

BACKEND = "rehearsed"


class Rehearsal(Trainer):
    """The last of `workers` workers (its slice is the largest) of a run of `recipe`, on one batch that never changes.

    Called inside `others`, where there are others. Numbers are of no meaning; adaptive steps are all taken.
    """

    _meter: Meter

    def __init__(self, recipe: Recipe, workers: int = 1, device: torch.device | str = "cpu"):
        if workers > recipe.train.batch:
            raise UserError(f"train.batch ({recipe.train.batch}) has to be at least the workers ({workers})")
        text = getattr(recipe.method, "text", None)
        if text is not None:
            told = {"text": text.fitted([[CAPTION]], "the rehearsal")}
            recipe = recipe.model_copy(update={"method": recipe.method.model_copy(update=told)})
        self.recipe, self.device = recipe, torch.device(device)
        self.world = World(workers - 1, workers)
        train = recipe.train
        rows = self.world.rows(train.batch)
        self.images_here = rows[1] - rows[0]
        self.share = self.images_here / train.batch
        self.images_total = 10**12
        self.progress = Progress(loading="resident")
        self.batches: Any = _Same(batch_of(recipe, self.images_here, self.device))
        self.draws = Draws(train.seed, train.batch, rows, self.device)
        self.method = recipe.method.build(recipe.shape)
        self.method.to(self.device).to(memory_format=torch.channels_last)
        self._set_up()

    def as_fake(self, mode: Any) -> None:
        """Makes weights and batch tensors of `mode`, torch's FakeTensorMode: these have shapes and no numbers."""
        from torch._subclasses.fake_tensor import FakeCopyMode

        with FakeCopyMode(mode), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Accessing the data pointer of FakeTensor"
            )  # deepcopy asks; there is none
            self.method = copy.deepcopy(self.method)
        columns = vars(self.batches.batch)
        fakes = {name: mode.from_tensor(x) if isinstance(x, Tensor) else x for name, x in columns.items()}
        self.batches = _Same(Batch(**fakes))
        with mode, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
            self._set_up()

    def round(self, step: int) -> None:
        """One round whose first discriminator step has this number."""
        self.progress.discriminator_steps = step
        self.progress.images += 1  # of a moving average the half-life is never 0
        self._round(self._meter, last=False)
        self._meter = Meter(self.world, self.device)

    def _set_up(self) -> None:
        bind_draws(self.method, self.draws)
        self.method.draws = self.draws
        optim = self.recipe.optim
        self.average: nn.Module | None = None
        if optim.ema_half_life:
            self.average = copy.deepcopy(self.method.generator).requires_grad_(False)
        self.generator = Side(self.method.generator, optim.generator, self.world)
        self.discriminator = Side(self.method.discriminator, optim.discriminator, self.world)
        self._meter = Meter(self.world, self.device)

    def _mean(self, value: Tensor) -> float:
        self.world.sum(value.float())
        return 0.0


class _Same:
    """The batch of any number."""

    def __init__(self, batch: Batch):
        self.batch = batch

    def __getitem__(self, index: int) -> Batch:
        return self.batch


def batch_of(recipe: Recipe, rows: int, device: torch.device) -> Batch:
    """`rows` records with every column that the method needs: noise in [-1, 1], class 0, whole boxes."""
    height, width, channels = recipe.image
    generator = torch.Generator(device).manual_seed(0)

    def images() -> Tensor:
        pixels = torch.rand(rows, height, width, channels, generator=generator, device=device)
        return pixels.mul_(2).sub_(1).permute(0, 3, 1, 2)

    needs, data = recipe.method.needs, recipe.data
    paired = "partner" in needs or recipe.method.pairing == "unpaired"
    return Batch(
        images(),
        labels=torch.zeros(rows, dtype=torch.int64, device=device) if "label" in needs else None,
        domains=torch.eye(data.domains or 2, device=device)[:1].repeat(rows, 1) if "domains" in needs else None,
        captions=[[CAPTION]] * rows if "captions" in needs else None,
        boxes=torch.tensor([[0.0, 0.0, 1.0, 1.0]], device=device).repeat(rows, 1) if "box" in needs else None,
        keypoints=torch.full((rows, data.keypoints, 3), 0.5, device=device) if "keypoints" in needs else None,
        partners=images() if paired else None,
    )


def kinds_of_round(recipe: Recipe) -> list[tuple[int, float]]:
    """The rounds that differ in their work: (number of the first discriminator step, share of all rounds).

    A lazy penalty is due at the steps 0, `every`, 2 `every`, ...; of rounds of d steps, those in which it is due as
    often are one kind. Shares sum to 1; the kind with the most work comes last.
    """
    steps, penalty = recipe.train.steps.discriminator, getattr(recipe.method, "penalty", None)
    if not isinstance(penalty, GradientPenalty):
        return [(1, 1.0)]
    period = math.lcm(steps, penalty.every) // steps
    kinds: dict[int, list[int]] = {}
    for first in range(0, period * steps, steps):
        due = sum(penalty.due(step) for step in range(first, first + steps))
        kinds.setdefault(due, []).append(first)
    return [(rounds[0], len(rounds) / period) for _, rounds in sorted(kinds.items())]


class Others(dist.ProcessGroup):
    """A process group whose other members agree to everything at once; `sizes`: bytes of each all-reduce, in order."""

    latest: ClassVar[list[Others]] = []
    """The one that stands: torch makes it, and does not hand it out."""

    def __init__(self, rank: int, size: int):
        super().__init__(rank, size)
        self.sizes: list[int] = []

    def getBackendName(self) -> str:  # noqa: N802 (torch's name)
        return BACKEND

    def allreduce(self, tensors: list[Tensor], options: Any = None) -> Any:  # type: ignore[override]
        self.sizes += [x.numel() * x.element_size() for x in tensors]
        future: torch.futures.Future[list[Tensor]] = torch.futures.Future()
        future.set_result(tensors)
        return torch._C._distributed_c10d._create_work_from_future(future)


@cache
def _register() -> None:
    def create(store: Any, rank: int, size: int, timeout: Any) -> Others:
        Others.latest[:] = [Others(rank, size)]
        return Others.latest[0]

    dist.Backend.register_backend(BACKEND, create, devices=["cpu", "cuda"])


@contextmanager
def others(workers: int) -> Iterator[list[int]]:
    """Makes this process the last of `workers`; gives the list that the bytes of each all-reduce are added to.

    Raises RuntimeError where the process has a group already.
    """
    if workers == 1:
        yield []
        return
    if dist.is_initialized():
        raise RuntimeError("a rehearsal wants a process that is in no process group")
    _register()
    dist.init_process_group(BACKEND, store=dist.HashStore(), rank=workers - 1, world_size=workers)
    try:
        yield Others.latest[0].sizes
    finally:
        dist.destroy_process_group()
