"""pix2pix (Isola et al. 2016, arXiv 1611.07004), SYSTEMS.md B1: one picture from another, learned from pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from ganlib.data.batches import Batch, normalise, quantise
from ganlib.data.split import Split
from ganlib.draws import Draws, stream_seed
from ganlib.methods.base import DataShape, Loss, SampleRequest
from ganlib.methods.game import GameConfig, GameMethod, Given, NoAugment
from ganlib.networks.layers import Dropout
from ganlib.networks.patch import PatchDiscriminatorConfig
from ganlib.networks.unet import UNetConfig


class Pix2PixConfig(GameConfig):
    """What decides a run of this method, but for its optimizers.

    direction: a is a record's image, b its partner; "b-to-a" makes the image from the partner. adversarial, l1: weights
    of the generator's two losses; l1 alone gives the blurred U-Net that the paper compares with. sample_dropout:
    dropout stays on in sampling, as the paper has it, so that an input has many outputs, one a seed.
    """

    kind: Literal["pix2pix"]
    generator: UNetConfig = UNetConfig()
    discriminator: PatchDiscriminatorConfig = PatchDiscriminatorConfig()
    direction: Literal["a-to-b", "b-to-a"] = "b-to-a"
    adversarial: float = Field(1, ge=0)
    l1: float = Field(100, ge=0)
    sample_dropout: bool = False

    @property
    def wants(self) -> frozenset[str]:
        return frozenset({"inputs"})

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"partner"})

    @property
    def least_batch(self) -> int:
        return 1

    @property
    def drops_out(self) -> bool:
        return self.generator.dropout > 0

    def told(self, split: Split, rows: NDArray[np.int64]) -> dict[str, Any]:
        return {"inputs": split.take(rows) if self.direction == "a-to-b" else split.take_partner(rows)}

    def truth(self, split: Split, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return split.take_partner(rows) if self.direction == "a-to-b" else split.take(rows)

    def check(self, data: DataShape) -> None:
        super().check(data)
        self.generator.check(data.image)
        self.discriminator.check(data.image)
        if not isinstance(self.augment, NoAugment):
            raise ValueError(
                "the discriminator sees an image beside its input, and method.augment would move but one of them; "
                "leave it at none (data.augment moves both)"
            )

    def build(self, data: DataShape) -> Pix2Pix:
        return Pix2Pix(self, data)


class Pix2Pix(GameMethod):
    """G: x -> y; D: (x, y) -> logits of patches. Chance is in G's dropout alone (section 3.2)."""

    def __init__(self, config: Pix2PixConfig, data: DataShape):
        discriminator = config.discriminator.build(2 * data.image.channels)
        super().__init__(config, config.generator.build(data.image), discriminator)
        self.direction, self.sample_dropout = config.direction, config.sample_dropout
        self.adversarial, self.l1 = config.adversarial, config.l1

    def draw(self, draws: Draws, stream: str) -> Tensor:
        """float32 [n, 0]: there is no noise but dropout's."""
        return torch.empty(draws.last - draws.first, 0, device=draws.device)

    def generate(self, batch: Batch, latents: Tensor) -> Tensor:
        return self.generator(self._pair(batch)[0])

    def given(self, batch: Batch) -> Given:
        return (self._pair(batch)[0],)

    def real(self, batch: Batch) -> Tensor:
        return self._pair(batch)[1]

    def generator_loss(self, batch: Batch, fakes: Tensor) -> Loss:
        """adversarial * (the game's) + l1 * E|y - G(x)|, a mean over all numbers of an image (eq. 4)."""
        loss = super().generator_loss(batch, fakes)
        distance = (self.real(batch).float() - fakes.float()).abs().mean()
        total = self.adversarial * loss.total + self.l1 * distance
        return Loss(total, loss.parts | {"loss/l1": distance.detach()})

    @torch.no_grad()
    def sample(self, generator: nn.Module, request: SampleRequest) -> Tensor:
        """What is made of the request's inputs, one after the other, so that none depends on what stands beside it.

        With dropout image `first + i` has masks that are a function of (seed, first + i).
        """
        assert request.inputs is not None, "ganlib.sampling.checked sees to it"
        training = generator.training
        generator.eval()
        device = next(generator.parameters()).device
        dropouts = [layer for layer in generator.modules() if isinstance(layer, Dropout)]
        draws = _SampleDraws(request.seed, device)
        images = []
        dropping = self.sample_dropout if request.dropout is None else request.dropout
        with _dropping(dropouts if dropping else (), draws):
            for index, pixels in enumerate(request.inputs, request.first):
                draws.at(index)
                images.append(quantise(generator(normalise(torch.tensor(pixels[None]).to(device)))).cpu())
        generator.train(training)
        return torch.cat(images)

    def _pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(x, y): what is told, and what is to be made of it."""
        assert batch.partners is not None, "the trainer sees to it (needs)"
        pair = (batch.images, batch.partners)
        return pair if self.direction == "a-to-b" else pair[::-1]


class _SampleDraws(Draws):
    """Masks for one image at a time, drawn on the CPU, so that they are the same on every device."""

    def __init__(self, seed: int, device: torch.device):
        super().__init__(stream_seed(seed, "sample"), 1, (0, 1), "cpu")
        self.target = device

    def keep_mask(self, keep: float, sample_shape: Sequence[int]) -> Tensor:
        return super().keep_mask(keep, sample_shape).to(self.target)


@contextmanager
def _dropping(layers: Sequence[Dropout], draws: Draws) -> Iterator[None]:
    """Those layers drop out, by `draws`, whatever the mode of the module that they are in."""
    before = [(layer.draws, layer.training) for layer in layers]
    for layer in layers:
        layer.draws = draws
        layer.train()
    try:
        yield
    finally:
        for layer, (own, training) in zip(layers, before, strict=True):
            layer.draws = own
            layer.train(training)
