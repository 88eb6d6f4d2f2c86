"""Random numbers as a function of (seed, stream, step, position).

Every number that training draws (data order, latents, dropout masks) is drawn for the *global* batch from a generator
that is seeded by what the number is for, and a worker takes the rows of its own slice. No generator carries state from
one step to the next, so a resumed run needs none to be saved, and N workers draw what one worker draws.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from ganlib.varying import Varying


def stream_seed(seed: int, *stream: int | str) -> int:
    """A 63-bit seed for the named stream. Any change of `seed` or `stream` gives an unrelated one."""
    text = "/".join(str(part) for part in (seed, *stream))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def stream_generator(device: torch.device | str, seed: int, *stream: int | str) -> torch.Generator:
    """A fresh generator on `device` at the start of the named stream."""
    return torch.Generator(device).manual_seed(stream_seed(seed, *stream))


class Draws:
    """What one worker draws in one run: the rows `[first, last)` of each global batch of `batch` rows."""

    def __init__(self, seed: int, batch: int, rows: tuple[int, int], device: torch.device | str):
        self.seed, self.batch, self.device = seed, batch, torch.device(device)
        self.first, self.last = rows
        self.varying = Varying(device)
        self.step = 0
        self.done = 0.0
        self._masks = 0
        self._chances = 0

    def at(self, step: int, done: float = 0.0) -> None:
        """Moves to global step `step`: every draw that follows belongs to it. done: the share of the run, 0 to 1."""
        self.step, self.done, self._masks, self._chances = step, done, 0, 0

    def again(self) -> None:
        """Begins with this step's draws anew, whatever of them were asked for until now."""
        self.at(self.step, self.done)

    def latents(self, stream: str, dim: int, distribution: str) -> Tensor:
        """float32 [last - first, dim]: N(0, 1) for "normal", U[-1, 1] for "uniform"."""

        def draw() -> Tensor:
            generator = stream_generator(self.device, self.seed, "latents", stream, self.step)
            return draw_latents(generator, self.batch, dim, distribution)[self.first : self.last]

        return self.varying.tensor(draw)

    def uniform(self, stream: str, sample_shape: Sequence[int]) -> Tensor:
        """float32 [last - first, *sample_shape] from U[0, 1). Calls within a step are numbered, as masks are."""
        return self._chance(stream, torch.rand, sample_shape)

    def normal(self, stream: str, sample_shape: Sequence[int]) -> Tensor:
        """float32 [last - first, *sample_shape] from N(0, 1). Calls within a step are numbered, as masks are."""
        return self._chance(stream, torch.randn, sample_shape)

    def number(self, of_done: Callable[[float], float]) -> float | Tensor:
        """What goes by the share of the run that is done: a number, or, in a round that is recorded, a scalar."""
        return self.varying.number(lambda: of_done(self.done))

    def _chance(self, stream: str, kind: Callable[..., Tensor], sample_shape: Sequence[int]) -> Tensor:
        number = self._chances
        self._chances += 1

        def draw() -> Tensor:
            generator = stream_generator(self.device, self.seed, "chance", stream, self.step, number)
            return kind(self.batch, *sample_shape, generator=generator, device=self.device)[self.first : self.last]

        return self.varying.tensor(draw)

    @torch.no_grad()
    def gather(self, rows: Tensor) -> Tensor:
        """[last - first, ...] of each worker -> [batch, ...] of them all, the same everywhere, without a gradient."""
        if self.last - self.first == self.batch:
            return rows.detach()
        # Slices differ in length, so they are added up, each beside zeros, which changes no bit of them.
        whole = rows.new_zeros(self.batch, *rows.shape[1:])
        whole[self.first : self.last] = rows
        dist.all_reduce(whole)
        return whole

    def keep_mask(self, keep: float, sample_shape: Sequence[int]) -> Tensor:
        """bool [last - first, *sample_shape], each element true with probability `keep` (to 2^-16).

        One call is one mask: the calls within a step are numbered in program order, which is the same on each worker.
        """
        number = self._masks
        self._masks += 1
        elements = torch.Size(sample_shape).numel()

        def draw() -> Tensor:
            generator = stream_generator(self.device, self.seed, "mask", self.step, number)
            # One 64-bit draw serves four elements: generating the bits is what costs time on a CPU.
            words = torch.empty(self.batch, -(-elements // 4), dtype=torch.int64, device=self.device)
            words.random_(torch.iinfo(torch.int64).min, None, generator=generator)
            words16 = words[self.first : self.last].view(torch.int16)[:, :elements]
            threshold = round(keep * 65536) - 32768
            return (words16.to(torch.int32) < threshold).view(-1, *sample_shape)

        return self.varying.tensor(draw)


def draw_latents(generator: torch.Generator, count: int, dim: int, distribution: str) -> Tensor:
    """float32 [count, dim] on the generator's device: N(0, 1) for "normal", U[-1, 1] for "uniform"."""
    device = generator.device
    if distribution == "normal":
        return torch.randn(count, dim, generator=generator, device=device)
    return torch.rand(count, dim, generator=generator, device=device).mul_(2).sub_(1)
