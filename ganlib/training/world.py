"""The workers of one run and what they do together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class World:
    """Worker `rank` of `size`. With one worker nothing is communicated."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> World:
        """The process group that stands, or one worker alone."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def rows(self, batch: int) -> tuple[int, int]:
        """This worker's rows `[first, last)` of a global batch; slices differ by one where it does not divide."""
        return batch * self.rank // self.size, batch * (self.rank + 1) // self.size

    def sum(self, values: Tensor) -> Tensor:
        """The sum of `values` over the workers, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether `flag` is set on any worker. Waits for them, and for the device."""
        return self.sum(torch.tensor(float(flag), device=device)).item() > 0 if self.size > 1 else flag


@torch.no_grad()
def sum_gradients(parameters: list[nn.Parameter], world: World) -> Tensor:
    """Replaces each gradient by its sum over the workers and returns the norm of them all (float32 scalar).

    Each worker's loss is weighted by its share of the global batch, so the sum is the gradient of the batch's mean. The
    gradients of a side travel as one flat tensor in one all-reduce.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if world.size > 1:
        flat = world.sum(torch.cat([g.reshape(-1) for g in gradients]))
        for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(summed.view(gradient.shape))
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
