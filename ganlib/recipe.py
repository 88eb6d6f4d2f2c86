"""The Recipe: everything that decides a run, in one validated object, written as YAML.

It composes the configs that stand beside the components. Any field is overridden by its dotted path, `*` matching any
name (`optim.*.lr=1e-4`). The same object is what tuning mutates, what MLflow logs and what a checkpoint carries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from ganlib.data.augment import Augment
from ganlib.data.preparation import Preparation
from ganlib.data.reading import Reading
from ganlib.errors import UserError
from ganlib.methods import AnyMethod
from ganlib.methods.base import DataShape
from ganlib.networks.base import Config, ImageShape
from ganlib.overrides import explain, override_fields
from ganlib.training.optimizers import AnyOptimizer


class DataConfig(Preparation):
    """What the images are prepared to (the fields of Preparation), how they are read, and what training does to them.

    `source` is read where no other is named, understood as `read` says. `loading` and `augment` are training's, and no
    part of the dataset. `points`: records are points of so many dimensions instead of images. `classes`, `domains` and
    `keypoints`: how many the dataset has, where the method asks for them.
    """

    source: str | None = None
    read: Reading = Reading()
    loading: Literal["auto", "resident", "streamed"] = "auto"
    augment: Augment = Augment()
    points: int = Field(0, ge=0, le=1024)
    classes: int = Field(0, ge=0, le=100_000)
    domains: int = Field(0, ge=0, le=10_000)
    keypoints: int = Field(0, ge=0, le=10_000)

    @property
    def preparation(self) -> Preparation:
        """The fields that make a dataset."""
        return Preparation(**{name: getattr(self, name) for name in Preparation.model_fields})


class Steps(Config):
    """A round: so many discriminator steps, each on a batch of its own, then so many generator steps.

    `noise`: "shared" uses one draw of latents for the whole round, "fresh" a new one for each step. `adaptive`:
    "leave-out" leaves a side's step out while it is ahead: the discriminator's where D(x) - D(G(z)) > margin, the
    generator's where D(G(z)) > D(x); "until-risen" ends the round once D(G(z)) has risen by `margin` over what it was
    before the generator's first step. D is what the objective reads off the logits, over the global batch.
    """

    discriminator: int = Field(1, ge=1, le=100)
    generator: int = Field(1, ge=1, le=100)
    noise: Literal["shared", "fresh"] = "shared"
    adaptive: Literal["none", "leave-out", "until-risen"] = "none"
    margin: float = Field(0.5, ge=0, le=1)

    @model_validator(mode="after")
    def _has_steps_to_end(self) -> Steps:
        if self.adaptive == "until-risen" and self.generator == 1:
            raise ValueError("'until-risen' cuts a round's generator steps short: give more of them than 1 (generator)")
        return self


class OptimConfig(Config):
    """One optimizer a side, and the half-life, in images, of the generator's moving average (0: none is kept)."""

    generator: AnyOptimizer
    discriminator: AnyOptimizer
    ema_half_life: float = Field(0, ge=0)


class Change(Config):
    """From `images` images seen on, fields of the recipe have other values: dotted path -> value."""

    images: int = Field(ge=1)
    fields: dict[str, Any] = Field(min_length=1)

    @property
    def overrides(self) -> list[str]:
        """The same, each `path=value`."""
        return [f"{path}={yaml.safe_dump(value, default_flow_style=True)}" for path, value in self.fields.items()]


CHANGEABLE = (
    "optim.*.lr", "optim.*.betas", "optim.*.weight_decay", "optim.*.momentum", "optim.*.decay.*", "train.steps.*",
    "method.penalty.*", "method.instance_noise.*", "data.augment.*",
)  # fmt: skip
"""What may change while a run goes on: weights and the optimizers' state stay what they are, and fit. Of a penalty
anything but its kind."""


class TrainConfig(Config):
    """How long and in what steps. Lengths are in images that the discriminator has seen; `batch` is global.

    `precision`: "auto" is bf16 where the hardware computes it, fp32 elsewhere; settled as a run starts.
    `graphs`: one GPU that trains alone replays its rounds as CUDA graphs, where they can be recorded.
    Samples are drawn every `sample_every` images, and after each of `sample_epochs`, at the tick that reaches them.
    `evaluate_gpus`: the share of a GPU that an evaluation beside the training takes, of one that no worker has; 0, or
    where there is none: a CPU's core.
    `stop_when_unhealthy`: end where, as any of these is due, the run's health has a severe verdict that is certain.
    `schedule`: what changes on the way, at the first tick that begins with so many images seen, in rising order.
    """

    batch: int = Field(ge=1, le=65536)
    images: int | None = Field(None, ge=1)
    epochs: float | None = Field(None, gt=0)
    steps: Steps = Steps()
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    compile: bool = False
    graphs: bool = True
    seed: int = Field(0, ge=0, lt=2**32)
    tick: int = Field(8_000, ge=1)
    sample_every: int = Field(64_000, ge=1)
    sample_epochs: tuple[float, ...] = ()
    checkpoint_every: int = Field(200_000, ge=1)
    evaluate_every: int = Field(200_000, ge=1)
    evaluate_gpus: float = Field(0, ge=0, le=1)
    keep_checkpoints: int = Field(3, ge=1)
    stop_when_unhealthy: bool = False
    schedule: tuple[Change, ...] = ()

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if (self.images is None) == (self.epochs is None):
            raise ValueError("give the length either as train.images or as train.epochs")
        if any(later.images <= sooner.images for sooner, later in pairwise(self.schedule)):
            raise ValueError("the changes of a schedule stand in the order of their images, each at other ones")
        for path in (path for change in self.schedule for path in change.fields):
            if path.endswith(".kind") or not any(fnmatchcase(path, pattern) for pattern in CHANGEABLE):
                raise ValueError(f"{path} cannot change while a run goes on; there may: {', '.join(CHANGEABLE)}")
        return self

    def length(self, dataset_images: int) -> int:
        """Images to see in the whole run, on a training split of `dataset_images`."""
        return self.images if self.images is not None else max(round((self.epochs or 0) * dataset_images), 1)


ExtractorName = Literal["auto", "classifier", "instances", "random", "inception", "inception-clean", "clip", "dinov2"]


class EvaluateConfig(Config):
    """Judged on so many samples, drawn from `seed`, by the features of `extractor` (`ganlib.evaluation.extractors`)."""

    samples: int = Field(10_000, ge=16)
    seed: int = Field(1_000, ge=0, lt=2**32)
    extractor: ExtractorName = "auto"


MOST_WORKERS = 4_096


class Recipe(Config):
    """One run, whole.

    `workers` 0 trains in the calling process, N on N Ray workers (a GPU each where there are any), [least, most] on as
    many of them as the cluster has room for at the time: they join and leave, the global batch stays what it is.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    about: str = ""
    source: str = ""
    workers: int | tuple[int, int] = 0
    data: DataConfig
    method: AnyMethod
    optim: OptimConfig
    train: TrainConfig
    evaluate: EvaluateConfig = EvaluateConfig()

    @field_validator("workers", mode="before")
    @classmethod
    def _is_a_count_or_two(cls, value: Any) -> int | tuple[int, int]:
        match value:
            case int() if not isinstance(value, bool) and 0 <= value <= MOST_WORKERS:
                return value
            case [int(least), int(most)] if 1 <= least <= most <= MOST_WORKERS:
                return least, most
        raise ValueError(
            f"is {value!r}: give a number from 0 to {MOST_WORKERS}, or two, [least, most], for as many as there are"
        )

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        self.method.check(self.shape)
        if self.train.batch < self.method.least_batch:
            raise ValueError(f"train.batch is {self.train.batch}: this method learns from {self.method.least_batch} up")
        if self.most_workers > self.train.batch:
            raise ValueError(f"train.batch ({self.train.batch}) has to be at least workers ({self.most_workers})")
        for change in self.train.schedule:
            try:
                self.at(change.images)
            except UserError as error:
                raise ValueError(f"train.schedule at {change.images} images: {error}") from error
        return self

    @property
    def elastic(self) -> bool:
        """Whether workers join and leave while it trains."""
        return not isinstance(self.workers, int)

    @property
    def least_workers(self) -> int:
        """Fewer Ray workers than that do not train; 0: the calling process trains."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most_workers(self) -> int:
        return self.workers if isinstance(self.workers, int) else self.workers[1]

    @property
    def image(self) -> ImageShape:
        data = self.data
        return ImageShape(1, data.points, 1) if data.points else ImageShape(data.size, data.size, data.channels)

    @property
    def shape(self) -> DataShape:
        """What the method is built for."""
        return DataShape(self.image, self.data.classes, self.data.domains, self.data.keypoints)

    @classmethod
    def parse(cls, values: Any, overrides: Iterable[str] = (), origin: str = "the recipe") -> Recipe:
        """Validates nested values. Raises UserError: one line that names field, value and what is allowed."""
        if not isinstance(values, dict):
            raise UserError(f"{origin}: a recipe is a mapping of fields, not {type(values).__name__}")
        try:
            return cls.model_validate(override_fields(values, overrides, cls))
        except ValidationError as error:
            raise UserError(f"{origin}: {explain(error, cls)}") from error

    @staticmethod
    def parse_data(values: dict[str, Any], overrides: Iterable[str] = ()) -> DataConfig:
        """A recipe's `data` alone, from {"data": ...}; overrides are as for a whole recipe. Raises UserError."""
        try:
            return _DataAlone.model_validate(override_fields(values, overrides, _DataAlone)).data
        except ValidationError as error:
            raise UserError(explain(error, _DataAlone)) from error

    @classmethod
    def load(cls, path: Path, overrides: Iterable[str] = ()) -> Recipe:
        """Reads a YAML file. Raises UserError when it is missing, not YAML, or not a recipe."""
        try:
            values = yaml.safe_load(path.read_text())
        except OSError as error:
            raise UserError(f"recipe {path} cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"recipe {path} is not YAML: {' '.join(str(error).split())}") from error
        return cls.parse(values, overrides, str(path))

    def dump(self) -> str:
        """The whole recipe as YAML, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)

    def flat(self) -> dict[str, Any]:
        """Every field by its dotted path."""
        return dict(_flatten(self.model_dump(mode="json")))

    def with_overrides(self, *overrides: str) -> Recipe:
        """A copy with fields changed, each `path=value`."""
        return Recipe.parse(self.model_dump(mode="json"), overrides)

    def at(self, images: int) -> Recipe:
        """The recipe as its schedule has it when so many images have been seen; its schedule is still the whole."""
        schedule = self.train.schedule
        changes = [change for change in schedule if change.images <= images]
        if not changes:
            return self
        plain = self.model_copy(update={"train": self.train.model_copy(update={"schedule": ()})})
        then = plain.with_overrides(*(override for change in changes for override in change.overrides))
        return then.model_copy(update={"train": then.train.model_copy(update={"schedule": schedule})})


class _DataAlone(Config):
    data: DataConfig


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
