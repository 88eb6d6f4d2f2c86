"""Past fakes that a discriminator is shown with the newest (Shrivastava et al. 2017, arXiv 1612.07828, 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganlib.draws import Draws


class ImagePool(nn.Module):
    """The last `size` fakes of the whole batch's, the same on every worker; buffers, so that checkpoints hold them.

    Images come one after the other. Until the pool is full each is kept and given back; from then on, with probability
    1/2, an image changes places with one of the pool, each as likely, which is given back in its stead (Zhu et al.
    2017, arXiv 1703.10593, section 4, as their program does it).
    """

    images: Tensor
    filled: Tensor

    def __init__(self, size: int, channels: int, height: int, width: int):
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.zeros(size, channels, height, width))
        self.register_buffer("filled", torch.zeros(1, dtype=torch.int64))

    @torch.no_grad()
    def exchange(self, fakes: Tensor, draws: Draws) -> Tensor:
        """float32 [n, C, H, W], this worker's rows of what the pool gives for the global batch's `fakes`."""
        if not self.size:
            return fakes
        chances = draws.gather(draws.uniform("pool", (2,)))  # [batch, 2]
        given = []
        # No number is read from the device: what a row does is a matter of masks.
        for fake, chance in zip(draws.gather(fakes.float()).split(1), chances, strict=True):
            full = self.filled >= self.size  # [1]
            place = torch.where(full, (chance[1:] * self.size).long().clamp(max=self.size - 1), self.filled)
            swap = full & (chance[:1] < 0.5)
            old = self.images.index_select(0, place)  # [1, C, H, W]
            given.append(torch.where(swap[:, None, None, None], old, fake))
            self.images.index_copy_(0, place, torch.where((swap | ~full)[:, None, None, None], fake, old))
            self.filled.add_(~full)
        return torch.cat(given)[draws.first : draws.last]
