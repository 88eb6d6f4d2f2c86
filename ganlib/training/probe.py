"""What is looked at once a tick, at its end: the games' state that no step's losses show. Looking leaves no trace.

What forwards change (running statistics, the vectors of spectral norm, an adaptive probability) is put back, and all
draws belong to the step, so that how often a run is looked at does not change what it learns.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from ganlib.data.batch import Batch, Batches, row_bytes
from ganlib.data.batches import open_batches
from ganlib.data.dataset import Dataset
from ganlib.data.unpaired import UnpairedBatches, open_unpaired
from ganlib.methods.base import Method
from ganlib.recipe import Recipe
from ganlib.training.world import World

RESIDENT_BYTES = 256 * 2**20
"""Held-out images up to which they are kept on the training device; of more, batches are read as they are asked for."""

FEWEST = 8
"""Images of a global batch from which spreads are taken; of fewer they would say nothing."""


class Probe:
    """Looks at the last round of a tick.

    `d_heldout` is the D(x) of held-out images, beside `d_real`, which is that of training images. `variety` and `shift`
    compare the batch's fakes with its real images as numbers, whatever D thinks of them (`spreads`).
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, rows: tuple[int, int], device: torch.device, world: World):
        self.world, self.share = world, (rows[1] - rows[0]) / recipe.train.batch
        self.follows_batch = recipe.method.follows_batch
        test, train = dataset.split("test"), recipe.train
        unpaired = recipe.method.pairing == "unpaired"
        counts = dataset.manifest.domain_counts
        fewest = min(counts.get("test", [0])) if unpaired and counts is not None else len(test)
        self.held_out: Batches | UnpairedBatches | None = None
        if fewest >= train.batch:
            opened = open_unpaired if unpaired else open_batches
            small = len(test) * row_bytes(test) <= RESIDENT_BYTES
            loading: Literal["resident", "streamed"] = "resident" if small else "streamed"
            self.held_out = opened(test, train.batch, train.seed, rows, device, loading, recipe.data.augment)

    def look(self, method: Method, batch: Batch, latents: Tensor, index: int) -> dict[str, tuple[Tensor, float]]:
        """Name -> (scalar, this worker's weight of it), after the generator's step on `latents` and `batch`.

        `d_fake_after_g`: D(G(z)) on the same latents once more. `index` numbers the tick: held-out batches go by it.
        """
        found = {}
        with untouched(method):
            with torch.no_grad():
                fakes = method.generate(batch, latents)
                found["d_fake_after_g"] = (method.generator_loss(batch, fakes).parts["d_fake"], self.share)
                spread = spreads(method.real(batch), fakes, self.world)
            found |= {name: (value, 1 / self.world.size) for name, value in spread.items()}
            if self.held_out is not None:
                held_out = self.held_out[index]
                if self.follows_batch:
                    with torch.no_grad():
                        fakes = method.generate(held_out, latents)
                # Not under no_grad: a penalty that is due takes D's gradient, here for nothing.
                judged = method.discriminator_loss(held_out, fakes, step=1)
                found["d_heldout"] = (judged.parts["d_real"], self.share)
        return found


@contextmanager
def untouched(method: Method) -> Iterator[None]:
    """The method's buffers are after the body what they were before it."""
    kept = [buffer.clone() for buffer in method.buffers()]
    yield
    with torch.no_grad():
        for buffer, old in zip(method.buffers(), kept, strict=True):
            buffer.copy_(old)


def spreads(real: Tensor, fake: Tensor, world: World) -> dict[str, Tensor]:
    """How fakes [n, ...] lie about real images [n, ...] of the global batch, as plain numbers; {} for a small batch,
    and where the real images are all one.

    `variety`: the root mean square distance between two fakes over that between two real images (the mean of |a - b|^2
    over pairs is twice the trace of the covariance, which sums over workers exactly). 1 where fakes are as different
    from each other as real images are, 0 where they are all one.
    `shift`: the distance between the two means over the real images' spread sqrt(tr C), less what means of so few
    images are apart by chance. 0 where they agree; a generator of four neighbours of a ring's eight modes has 0.65.
    """
    fake = fake[:, : real.shape[1]]  # a fake may carry, as further channels, what it was told
    (m_real, trace_real, count), (m_fake, trace_fake, _) = (_moments(x, world) for x in (real, fake))
    if count < FEWEST or not trace_real > 0:
        return {}
    by_chance = (trace_real + trace_fake) / count
    apart = ((m_real - m_fake).square().sum() - by_chance).clamp(min=0)
    return {"variety": (trace_fake / trace_real).sqrt(), "shift": (apart / trace_real).sqrt()}


def _moments(images: Tensor, world: World) -> tuple[Tensor, Tensor, int]:
    """float64 mean [numbers], trace of the covariance (scalar), and count, of the global batch."""
    x = images.detach().flatten(1).double()
    ends = torch.stack([x.square().sum(), x.new_tensor(len(x))])
    sums = world.sum(torch.cat([x.sum(0), ends]))
    count = sums[-1]
    mean = sums[:-2] / count
    trace = (sums[-2] - count * mean.square().sum()).clamp(min=0) / (count - 1).clamp(min=1)
    return mean, trace, int(count)
