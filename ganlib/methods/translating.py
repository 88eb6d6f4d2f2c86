"""What methods that translate images into domains share: whom a record is translated to, and sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganlib.data.batch import normalise, quantise
from ganlib.data.split import Split
from ganlib.methods.base import SampleRequest
from ganlib.methods.blocks import in_blocks
from ganlib.methods.game import GameConfig

BLOCK_PIXELS = 16 * 64 * 64
"""Of the images that are translated at once: sixteen at 64x64, one alone from 256x256 on."""


class TranslationConfig(GameConfig):
    """The fields of such a method, and what it asks for: images, the domains that they are in, and those to be."""

    @property
    def least_batch(self) -> int:
        return 1

    @property
    def wants(self) -> frozenset[str]:
        return frozenset({"inputs", "domains"})

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"domains"})

    def told(self, split: Split, rows: NDArray[np.int64]) -> dict[str, Any]:
        """Records `rows` as inputs, each told to be of another domain than it is of."""
        own = split.column("domains")
        assert own is not None
        return {"inputs": split.take(rows), "domains": other_domains(own[rows], rows, self.one_domain)}


def other_domains(own: NDArray[np.uint8], rows: NDArray[np.int64], exclusive: bool) -> NDArray[np.uint8]:
    """uint8 [k, D]: where each of domains `own` [k, D] goes.

    Exclusive domains: the other ones in turn, by the record's row. Attributes: one is turned round, in turn too.
    """
    count = own.shape[1]
    if exclusive:
        return np.eye(count, dtype=np.uint8)[(own.argmax(1) + 1 + rows % (count - 1)) % count]
    return own ^ np.eye(count, dtype=np.uint8)[rows % count]


@torch.no_grad()
def translate(generator: nn.Module, request: SampleRequest, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """uint8 [count, H, W, C] on the CPU: `function(images, domains)` of the request's inputs, the generator in eval."""
    inputs, domains = request.inputs, request.domains
    assert inputs is not None, "ganlib.sampling.checked sees to it"
    assert domains is not None, "ganlib.sampling.checked sees to it"
    training = generator.training
    generator.eval()
    device = next(generator.parameters()).device
    size = max(BLOCK_PIXELS // (inputs.shape[1] * inputs.shape[2]), 1)
    images = in_blocks(
        lambda pixels, targets: quantise(function(normalise(pixels), targets.float())),
        torch.tensor(inputs).to(device),
        torch.tensor(domains).to(device),
        size=size,
    )
    generator.train(training)
    return images.cpu()
