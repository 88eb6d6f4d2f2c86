"""The alternating loop. It yields; it calls nobody back.

    for tick in Trainer(recipe, dataset).run():
        print(tick.images_seen, tick.metrics)

The notebook prints a tick, the Ray worker reports it, a test asserts on it. Time is counted in images that the
discriminator has seen, over all workers.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ganlib.allocator import keep_freed_memory
from ganlib.data.batches import Batch, Batches, choose_loading, open_batches
from ganlib.data.dataset import Dataset, Split
from ganlib.data.unpaired import UnpairedBatches, epoch_images, open_unpaired
from ganlib.devices import best_device
from ganlib.draws import Draws, stream_seed
from ganlib.errors import UserError
from ganlib.inputs import told_of
from ganlib.methods.base import SampleRequest
from ganlib.networks.layers import bind_draws
from ganlib.precision import autocast, computes_bf16
from ganlib.recipe import Recipe
from ganlib.training.checkpoint import Progress, Snapshot, State, read_checkpoint
from ganlib.training.fit import require_fit
from ganlib.training.meter import Meter
from ganlib.training.optimizers import update_average
from ganlib.training.probe import Probe
from ganlib.training.replay import CudaRecorder, Played, Player, Recorder
from ganlib.training.side import Side
from ganlib.training.world import World

HEED_EVERY = 8
"""Rounds after which, within a tick, several workers ask each other whether to end; they wait for the device."""


@dataclass(frozen=True)
class Tick:
    """A stretch of training. `metrics` are means over it; `due` says what its end is an occasion for.

    images_per_second counts the time in the loop alone, not the consumer's. seconds: training time since the run began.
    """

    images_seen: int
    images_total: int
    metrics: dict[str, float]
    images_per_second: float
    seconds: float
    due: frozenset[str] = field(default_factory=frozenset)  # of "samples", "checkpoint", "evaluation"
    final: bool = False


class Trainer:
    """Trains `recipe` on the training split of `dataset`; `resume` is a checkpoint folder to go on from.

    recorder: what records rounds to replay them; None: on a GPU its own, else nothing.

    Raises UserError for a dataset that does not fit the recipe, a checkpoint that cannot be read or is of another
    shape, and a run that diverged (a loss that is not a number).
    """

    _player: Player | None = None

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        device: torch.device | str | None = None,
        resume: Path | None = None,
        world: World | None = None,
        recorder: Recorder | None = None,
    ):
        require_fit(recipe, dataset)
        self.recipe, self.dataset = recipe, dataset
        self.device = torch.device(device or best_device())
        self.world = world or World.current()
        self.interrupted, self._asked = False, False
        if self.device.type == "cpu":
            keep_freed_memory()
        if recorder is None and self.device.type == "cuda":
            recorder = CudaRecorder(self.device)
        self._recorder = recorder
        self._meter = Meter(self.world, self.device)
        self._measured: dict[str, Tensor] = {}
        self._build(None if resume is None else self._read(resume), resume)

    def _build(self, resumed: State | None, resume: Path | None) -> None:
        """All that training is made of, for the recipe as it is by now; in the state `resumed` where there is one."""
        dataset = self.dataset
        begun = resumed.progress.images - resumed.progress.tick_images if resumed is not None else 0
        recipe = self.recipe.at(begun)
        method = recipe.method.fitted(dataset, None if resumed is None else resumed.recipe.method)
        recipe = self.recipe = recipe.model_copy(update={"method": method})
        train, split = recipe.train, dataset.split("train")
        self.progress = self._settled(split) if resumed is None else resumed.progress
        pairing = recipe.method.pairing
        self.images_total = train.length(epoch_images(dataset, pairing))
        rows = self.world.rows(train.batch)
        self.share = (rows[1] - rows[0]) / train.batch
        opened = open_unpaired if pairing == "unpaired" else open_batches
        self.batches: Batches | UnpairedBatches = opened(
            split, train.batch, train.seed, rows, self.device, self.progress.loading, recipe.data.augment
        )
        self.draws = Draws(train.seed, train.batch, rows, self.device)
        self.probe = Probe(recipe, dataset, rows, self.device, self.world)

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(train.seed, "init"))
            self.method = recipe.method.build(recipe.shape)
        self.method.to(self.device).to(memory_format=torch.channels_last)
        bind_draws(self.method, self.draws)
        self.method.draws = self.draws
        self.average: nn.Module | None = None
        if recipe.optim.ema_half_life:
            self.average = copy.deepcopy(self.method.generator).requires_grad_(False)
        self.generator = Side(self.method.generator, recipe.optim.generator, self.world)
        self.discriminator = Side(self.method.discriminator, recipe.optim.discriminator, self.world)
        if resumed is not None:
            self._load(resumed, resume or Path("memory"))
        self._player = None
        if self._recorder is not None and self.recordable:
            self._player = Player(self._recorder, self.draws.varying, self._meter)
        if train.compile:
            self.method.generator.compile()
            self.method.discriminator.compile()

    def run(self) -> Iterator[Tick]:
        """Trains to the recipe's length, handing out a tick every `train.tick` images and at the end.

        Of a run that diverges the last tick, for which nothing is due, has what is not a number; then it raises. A run
        that is interrupted ends early, `interrupted` is true, and a snapshot taken then goes on from that very round.
        """
        meter = self._meter
        while self.progress.images < self.images_total:
            if not self.progress.tick_images:
                self._keep_to_schedule()
            train, start, before = self.recipe.train, time.perf_counter(), self.progress.images
            began = before - self.progress.tick_images
            target = min(_next_multiple(began, train.tick), self.images_total)
            while self.progress.images < target:
                self._round(meter, last=self.progress.images + train.batch * train.steps.discriminator >= target)
                if self.progress.images < target and self._heed(HEED_EVERY):
                    self.progress.seconds += time.perf_counter() - start
                    self.progress.tick_images = self.progress.images - began
                    self._measured = meter.state()
                    return
            self.progress.tick_images, self._measured = 0, {}
            metrics = meter.read()  # the one place that waits for the device
            seconds = time.perf_counter() - start
            self.progress.seconds += seconds
            seen, final = self.progress.images, self.progress.images >= self.images_total
            rate = (seen - before) / seconds
            bad = [name for name, value in metrics.items() if not math.isfinite(value)]
            if bad:
                yield Tick(seen, self.images_total, metrics, rate, self.progress.seconds)  # for the record
                raise UserError(
                    f"training diverged between {before} and {seen} images: {bad[0]} is {metrics[bad[0]]}; "
                    "lower the learning rates (optim.*.lr), or use train.precision=fp32"
                )
            every = {
                "samples": train.sample_every,
                "checkpoint": train.checkpoint_every,
                "evaluation": train.evaluate_every,
            }
            due = {name for name, n in every.items() if final or began // n < seen // n}
            if any(began < epochs * self.batches.count <= seen for epochs in train.sample_epochs):
                due.add("samples")
            yield Tick(seen, self.images_total, metrics, rate, self.progress.seconds, frozenset(due), final)
            if not final and self._heed():
                return

    def interrupt(self) -> None:
        """Asks `run` to end: after the round under way, or, where several workers have to agree on it, soon after.

        One worker that is asked is enough. To be called from any thread, and from a signal's handler.
        """
        self._asked = True

    def sample(self, count: int, seed: int = 0, **told: Any) -> Tensor:
        """uint8 [count, H, W, C] from the generator's moving average (from the generator where none is kept).

        What is told is by name, as a SampleRequest has it; where nothing is, and the generator has to be told, input
        images among it, it is what the dataset's test split tells.
        """
        told = told or told_of(self.dataset, self.recipe.method, count, seed)
        return self.method.sample(self.average or self.method.generator, SampleRequest(count, seed, **told))

    def snapshot(self) -> Snapshot:
        """A copy on the CPU of everything that a checkpoint holds, taken now; writing it can wait."""
        return Snapshot.take(
            recipe=self.recipe,
            progress=self.progress,
            dataset=self.dataset.digest,
            generator=self.method.generator,
            average=self.average,
            discriminator=self.method.discriminator,
            optimizers={
                "generator": self.generator.optimizer_state(),
                "discriminator": self.discriminator.optimizer_state(),
            },
            method=self.method.own_state(),
            meter=self._measured,
        )

    def _round(self, meter: Meter, last: bool) -> None:
        """Some discriminator steps, then some generator steps (SYSTEMS.md, "ways of stepping")."""
        count = self.recipe.train.steps.discriminator
        self.draws.at(self.progress.rounds, self._done())
        steps = range(self.progress.discriminator_steps, self.progress.discriminator_steps + count)
        batches = [self.batches[step] for step in steps]
        occasion = tuple(self.method.occasion(step) for step in steps)
        if self._player is None or None in occasion:
            played = self._steps(meter, batches)
        else:
            played = self._player.play(occasion, batches, lambda batches: self._steps(meter, batches))
        self.progress.discriminator_steps += count
        self.progress.images += self.recipe.train.batch * count
        if self.average is not None:
            update_average(
                self.average,
                self.method.generator,
                self.recipe.train.batch * count,
                self.progress.images,
                self.recipe.optim.ema_half_life,
            )
        if last:
            self.draws.again()  # a replay asks for none
            meter.add({"d_fake_before_g": played.d_fake}, self.share)
            with self._autocast():
                looked = self.probe.look(
                    self.method, played.batch, played.latents, self.progress.images // self.recipe.train.tick
                )
            for name, (value, weight) in looked.items():
                meter.add({name: value}, weight)
        self.progress.rounds += 1

    def _steps(self, meter: Meter, batches: Sequence[Batch]) -> Played:
        """What of a round the device does; `batches`: one for each discriminator step.

        It may be recorded, and played again for a later round: whatever differs from round to round is asked of
        `self.draws`, or of `Method.occasion`.
        """
        self.draws.again()  # a recording that failed asked for some of them
        steps = self.recipe.train.steps
        fakes: Tensor | None = None
        latents: Tensor | None = None
        for i, batch in enumerate(batches):
            if latents is None or steps.noise == "fresh":
                latents = self.method.draw(self.draws, f"discriminator/{i}")
            if fakes is None or steps.noise == "fresh" or self.recipe.method.follows_batch:
                # Of the graph only the first generator step has a use, and only if it takes these very fakes.
                with torch.set_grad_enabled(steps.noise == "shared"), self._autocast():
                    fakes = self.method.generate(batch, latents)
            with self._autocast():
                step = self.progress.discriminator_steps + i
                loss = self.method.discriminator_loss(batch, fakes.detach(), step)
            meter.add({**loss.parts}, self.share)
            if not self._leave_out(meter, "discriminator", loss.parts["d_real"], loss.parts["d_fake"], steps.margin):
                norm = self.discriminator.step(loss.total, self.share, self._rate(self.discriminator, i))
                meter.add({"gradient/discriminator": norm}, 1 / self.world.size)
            self.method.discriminator_stepped()

        real, before, taken = loss.parts["d_real"], 0.0, 0
        for i in range(steps.generator):
            with self.discriminator.frozen():
                if steps.noise == "fresh":
                    latents = self.method.draw(self.draws, f"generator/{i}")
                assert latents is not None
                with self._autocast():
                    if steps.noise == "fresh" or i > 0:
                        fakes = self.method.generate(batch, latents)
                    assert fakes is not None
                    loss = self.method.generator_loss(batch, fakes)
                fooled = loss.parts["d_fake"]
                # Of D(G(z)) the log has the discriminator's word, and this one's at the end of a tick.
                meter.add({name: part for name, part in loss.parts.items() if name != "d_fake"}, self.share)
                if steps.adaptive == "until-risen":
                    now = self._mean(fooled)
                    before = now if i == 0 else before
                    if i > 0 and now > before + steps.margin:
                        break
                if not self._leave_out(meter, "generator", fooled, real, 0):
                    norm = self.generator.step(loss.total, self.share, self._rate(self.generator, len(batches)))
                    meter.add({"gradient/generator": norm}, 1 / self.world.size)
                    taken += 1
        if steps.adaptive == "until-risen":
            meter.add({"steps/generator": torch.tensor(float(taken), device=self.device)}, 1 / self.world.size)
        assert latents is not None
        return Played(batch, latents, loss.parts["d_fake"])

    def _rate(self, side: Side, steps: int) -> float | Tensor:
        """The learning rate of a side after so many of the discriminator's steps of this round."""
        if side.config.decay.kind == "constant":
            return side.config.lr
        return self.draws.varying.number(lambda: side.rate(self._done(steps)))

    @property
    def recordable(self) -> bool:
        """Whether a GPU may play rounds from recordings.

        Alone, for other workers are waited for; where no step waits for what the one before it said; of columns that
        are numbers, for captions are read by Python.
        """
        recipe, sides = self.recipe, (self.generator, self.discriminator)
        waits = self.world.size > 1 or recipe.train.steps.adaptive != "none"
        read = "captions" in recipe.method.needs
        return recipe.train.graphs and not waits and not read and all(side.recordable for side in sides)

    def _keep_to_schedule(self) -> None:
        """Goes on as a run that resumes from here with the changed recipe would, where the schedule changes it here."""
        if self.recipe.at(self.progress.images) != self.recipe:
            now = self.snapshot()
            self._build(State(now.recipe, now.progress, now.dataset, now.tensors), None)

    def _leave_out(self, meter: Meter, side: str, its: Tensor, other: Tensor, margin: float) -> bool:
        """Whether this step of a side is left out, `its` reading being ahead of the other's by more than `margin`."""
        if self.recipe.train.steps.adaptive != "leave-out":
            return False  # and nothing waits for the device
        left_out = self._mean(its - other) > margin
        meter.add({f"left_out/{side}": torch.tensor(float(left_out), device=self.device)}, 1 / self.world.size)
        return left_out

    def _mean(self, value: Tensor) -> float:
        """The mean over the global batch of what is this worker's mean. Waits for the device."""
        return self.world.sum(value.float() * self.share).item()

    def _heed(self, every: int = 1) -> bool:
        """Whether the run is to end here. Several workers ask each other, all at once, every so many rounds."""
        if self.world.size == 1 or self.progress.rounds % every == 0:
            self.interrupted = self.world.any(self._asked, self.device)
        return self.interrupted

    def _done(self, steps: int = 0) -> float:
        """The share of the run that is done after so many of the discriminator's steps of this round."""
        return (self.progress.images + steps * self.recipe.train.batch) / self.images_total

    def _autocast(self) -> torch.autocast:
        said = self.recipe.train.precision
        return autocast(self.device, (self.progress.precision if said == "auto" else said) == "bf16")

    def _settled(self, split: Split) -> Progress:
        """The start of a run, with what its recipe leaves open: on a mixed cluster the least able worker decides."""
        data, train = self.recipe.data, self.recipe.train
        streams, lacks_bf16 = choose_loading(split, self.device) == "streamed", not computes_bf16(self.device)
        found = self.world.sum(torch.tensor([float(streams), float(lacks_bf16)], device=self.device)).tolist()
        loading: Literal["resident", "streamed"] = "streamed" if found[0] else "resident"
        precision: Literal["fp32", "bf16"] = "fp32" if found[1] else "bf16"
        return Progress(
            loading=loading if data.loading == "auto" else data.loading,
            precision=precision if train.precision == "auto" else train.precision,
        )

    def _read(self, folder: Path) -> State:
        """The checkpoint to go on from, if it is one of this recipe's and of this dataset's."""
        state = read_checkpoint(folder)
        if state.dataset != self.dataset.digest:
            raise UserError(
                f"checkpoint {folder} was trained on dataset {state.dataset[:12]}, not {self.dataset.digest[:12]}; "
                "resume with the dataset that it was trained on"
            )
        theirs, ours = (
            [side.kind for side in (r.optim.generator, r.optim.discriminator)] for r in (state.recipe, self.recipe)
        )
        if theirs != ours:
            raise UserError(
                f"checkpoint {folder} holds the state of optimizers {' and '.join(theirs)} (generator, discriminator), "
                f"the recipe wants {' and '.join(ours)}; resume with optim.*.kind as it was, or start a new run"
            )
        return state

    def _load(self, state: State, folder: Path) -> None:
        state.load_into(self.method.generator, "generator", folder)
        state.load_into(self.method.discriminator, "discriminator", folder)
        if self.average is not None:
            state.load_into(self.average, "generator_ema", folder)
        self.generator.load_optimizer_state(state.optimizer("generator"))
        self.discriminator.load_optimizer_state(state.optimizer("discriminator"))
        self._measured = state.tensors.get("meter", {})
        self._meter.load(self._measured)
        theirs = state.tensors.get("method", {})
        for name, buffer in self.method.own_state().items():
            if name not in theirs:
                raise UserError(
                    f"checkpoint {folder} does not fit the recipe: it holds no {name}, which the recipe's method keeps "
                    "from step to step; use the recipe.yaml beside the weights"
                )
            buffer.copy_(theirs[name])


def _next_multiple(value: int, step: int) -> int:
    return (value // step + 1) * step
