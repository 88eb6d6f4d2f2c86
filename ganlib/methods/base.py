"""What a method is: one GAN formulation on one generator side and one discriminator side.

The trainer knows nothing but this, so the D/G step ratio, the optimizers, the moving average, gradient averaging,
checkpoints and resume are written once, for every method.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ganlib.data.batches import Batch
from ganlib.data.dataset import Dataset
from ganlib.data.split import Split
from ganlib.data.unpaired import Pairing
from ganlib.draws import Draws
from ganlib.errors import UserError
from ganlib.networks.base import Config, ImageShape


class DataShape(NamedTuple):
    """What a method is built for: the image's shape, and how many classes, domains and keypoints a record has."""

    image: ImageShape
    classes: int = 0
    domains: int = 0
    keypoints: int = 0


@dataclass
class Loss:
    """`total` is what is differentiated (a scalar tensor); `parts` are detached scalars for the log."""

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


TELLABLE = ("labels", "inputs", "domains", "captions", "boxes", "keypoints")
"""What a generator may be told of each image that it is to make: fields of a SampleRequest."""


@dataclass(frozen=True)
class SampleRequest:
    """Images `first .. first + count` of the endless sequence that `seed` stands for, and what is told of each.

    labels: classes, which come in turn where None, if the method knows any. inputs: uint8 [count, H, W, C], the images
    that others are made from; `interpolate` more, made from what lies between them (or between the captions), stand
    between each two that follow each other. domains: uint8 [count, D], 0 or 1, what the images are to have. captions: a
    text each. boxes: float32 [count, 4]: x and y of the corner at the top left, width, height, as shares of the sides.
    keypoints: float32 [count, K, 3]: x, y as shares of the sides, and 1 where the part is there, else all three 0.
    dropout: whether a generator whose only chance is dropout has it; None: as its recipe says.
    """

    count: int
    seed: int = 0
    first: int = 0
    labels: tuple[int, ...] | None = None
    inputs: NDArray[np.uint8] | None = None
    interpolate: int = 0
    domains: NDArray[np.uint8] | None = None
    captions: tuple[str, ...] | None = None
    boxes: NDArray[np.float32] | None = None
    keypoints: NDArray[np.float32] | None = None
    dropout: bool | None = None

    @property
    def told(self) -> frozenset[str]:
        """The names of what is told, of TELLABLE."""
        return frozenset(name for name in TELLABLE if getattr(self, name) is not None)


class Method(nn.Module):
    """Two sides and their losses. `generator` and `discriminator` are each one module, however many networks it holds.

    A round of training is `draw` and `generate`, discriminator steps on detached fakes, generator steps on fakes that
    carry the generator's graph.
    """

    generator: nn.Module
    discriminator: nn.Module
    draws: Draws
    """What chance the losses take beyond `draw`; the trainer sets it."""

    def own_state(self) -> dict[str, Tensor]:
        """What the method itself keeps from step to step: its buffers outside the two sides. Checkpoints hold it."""
        return {name: x for name, x in self.named_buffers() if not name.startswith(("generator.", "discriminator."))}

    def occasion(self, step: int) -> Hashable:
        """What of the discriminator's step of this number decides what is computed, not with what numbers.

        Rounds that agree in it may be recorded once and replayed (`ganlib.training.replay`): whatever else differs
        between them is asked of `draws`. None, unless a method says more: they may not.
        """
        return None

    def discriminator_stepped(self) -> None:
        """Called after each discriminator step, for what a method does to the weights (clipping)."""

    def draw(self, draws: Draws, stream: str) -> Tensor:
        """What the generator starts from: float32 [n, ...], a function of (seed, stream, step)."""
        raise NotImplementedError

    def generate(self, batch: Batch, latents: Tensor) -> Tensor:
        """Fake images, float [n, C, H, W] in [-1, 1], with the generator's graph."""
        raise NotImplementedError

    def real(self, batch: Batch) -> Tensor:
        """What the fakes are to look like: float [n, C, H, W]."""
        return batch.images

    def discriminator_loss(self, batch: Batch, fakes: Tensor, step: int) -> Loss:
        """Loss of the discriminator side on detached `fakes`. `step` counts its steps, for lazy penalties.

        Its parts hold `d_real` and `d_fake`, the mean reading of D(x) and of D(G(z)), before this step.
        """
        raise NotImplementedError

    def generator_loss(self, batch: Batch, fakes: Tensor) -> Loss:
        """Loss of the generator side on `fakes` from `generate`, whose graph it carries.

        Its parts hold `d_fake`, the mean reading of D(G(z)), before this step.
        """
        raise NotImplementedError

    def sample(self, generator: nn.Module, request: SampleRequest) -> Tensor:
        """uint8 (points: float32) [count, H, W, C] on the CPU from `generator`, in eval mode.

        It is this method's, or its moving average. Interpolated: [count + (count - 1) * interpolate, H, W, C].

        An image is a function of (seed, its index), or of its input: the same whatever else is asked for with it.
        """
        raise NotImplementedError


class MethodConfig(Config):
    """Config of a method; stands beside it."""

    pairing: ClassVar[Pairing] = "as-stored"
    """What a row of a training batch holds: a record, or unpaired images of two domains (ganlib.data.unpaired)."""

    @property
    def one_domain(self) -> bool:
        """Whether each record has to be in one domain and no other."""
        return False

    @property
    def takes(self) -> frozenset[str]:
        """What a SampleRequest may tell (of TELLABLE)."""
        return self.wants

    @property
    def wants(self) -> frozenset[str]:
        """What a SampleRequest has to tell."""
        return frozenset()

    @property
    def follows_batch(self) -> bool:
        """Whether `generate` looks at the batch, at its images or labels: its fakes then go with that batch alone."""
        return bool(self.wants or self.needs)

    @property
    def needs(self) -> frozenset[str]:
        """The columns, beside the image, that training cannot do without (names of ganlib.data.columns)."""
        return frozenset()

    def told(self, split: Split, rows: NDArray[np.int64]) -> dict[str, Any]:
        """What the records `rows` of a split tell a generator to make: a value for each name that it `wants`.

        Of several captions the first.
        """
        columns: dict[str, Callable[[], Any]] = {
            "inputs": lambda: split.take(rows),
            "labels": lambda: tuple(split.labels[rows].tolist()) if split.labels is not None else None,
            "domains": lambda: _rows(split.column("domains"), rows),
            "captions": lambda: tuple(texts[0] for texts in _rows(split.column("captions"), rows)),
            "boxes": lambda: _rows(split.column("box"), rows),
            "keypoints": lambda: _rows(split.column("keypoints"), rows),
        }
        return {name: columns[name]() for name in sorted(self.wants)}

    def truth(self, split: Split, rows: NDArray[np.int64]) -> NDArray[np.uint8] | None:
        """uint8 [k, H, W, C]: what should be made of the records `rows`; None where no image is the right one."""
        return None

    @property
    def drops_out(self) -> bool:
        """Whether dropout may be what makes a generator's images differ: a SampleRequest may turn it on or off."""
        return False

    def check_request(self, request: SampleRequest) -> None:
        """Raises UserError for what a request, of the right types and shapes, says that no image can be made of."""
        if self.one_domain and request.domains is not None and (request.domains.sum(1) != 1).any():
            raise UserError("an image goes to one domain: set one of the numbers of each row of domains, and one alone")

    @property
    def interpolates(self) -> bool:
        """Whether there are images between those of two inputs, or of two captions."""
        return False

    @property
    def least_batch(self) -> int:
        """The smallest batch that it can be trained on: batch norm of vectors takes two."""
        return 2

    def fitted(self, dataset: Dataset, begun: MethodConfig | None = None) -> Self:
        """This config with what it takes from the dataset that it is trained on; itself where that is nothing.

        A run starts with it, and its checkpoints hold it; one that goes on has it from there (`begun`). Raises
        UserError where the dataset has not what is needed.
        """
        return self

    def check(self, data: DataShape) -> None:
        """Raises ValueError, with the reason, when the method cannot work on such data."""

    def build(self, data: DataShape) -> Method:
        raise NotImplementedError


def _rows(column: NDArray[Any] | list[Any] | None, rows: NDArray[np.int64]) -> Any:
    """Those rows of a column that the dataset has (`needs`)."""
    assert column is not None
    return [column[row] for row in rows] if isinstance(column, list) else column[rows]
