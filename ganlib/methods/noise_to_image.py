"""Images from noise: family A of SYSTEMS.md. Any generator and discriminator under any objective and penalty."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ganlib.data.batches import Batch, quantise
from ganlib.draws import Draws, draw_latents, stream_generator
from ganlib.losses import GENERATOR_LOSSES, Objective, discriminator_cross_entropy, r1_penalty
from ganlib.methods.base import Loss, Method, MethodConfig, SampleRequest
from ganlib.networks import AnyDiscriminator, AnyGenerator
from ganlib.networks.base import Config, ImageShape
from ganlib.networks.layers import BatchNorm, Dropout

SAMPLE_BLOCK = 64
"""Latents of samples are drawn, and images made, in blocks of this many, so that each is a function of its index."""


class LatentConfig(Config):
    """z: `dim` numbers from N(0, 1) or U[-1, 1]."""

    dim: int = Field(100, ge=1, le=65536)
    distribution: Literal["normal", "uniform"] = "normal"


class NoPenalty(Config):
    """The objective alone."""

    kind: Literal["none"] = "none"


class R1Config(Config):
    """gamma / 2 * E[||grad D(x)||^2], taken every `every` steps at `every` times the weight (Karras et al. 2020, B)."""

    kind: Literal["r1"]
    gamma: float = Field(1.0, ge=0)
    every: int = Field(1, ge=1)


class NoiseToImageConfig(MethodConfig):
    """What decides a run of this method, but for its optimizers."""

    kind: Literal["noise-to-image"] = "noise-to-image"
    generator: AnyGenerator
    discriminator: AnyDiscriminator
    latent: LatentConfig = LatentConfig()
    objective: Objective = "non-saturating"
    penalty: Annotated[NoPenalty | R1Config, Field(discriminator="kind")] = NoPenalty()

    def check(self, image: ImageShape) -> None:
        self.generator.check(image)
        self.discriminator.check(image)

    def build(self, image: ImageShape) -> NoiseToImage:
        return NoiseToImage(self, image)


class NoiseToImage(Method):
    """G: z -> x; D: x -> logit."""

    def __init__(self, config: NoiseToImageConfig, image: ImageShape):
        super().__init__()
        self.config = config
        self.generator = config.generator.build(config.latent.dim, image)
        self.discriminator = config.discriminator.build(image)
        # Where the layers treat each image by itself, real and fake go through D in one pass, which is faster.
        self._one_pass = not any(isinstance(layer, BatchNorm | Dropout) for layer in self.discriminator.modules())

    def draw(self, draws: Draws, stream: str) -> Tensor:
        return draws.latents(stream, self.config.latent.dim, self.config.latent.distribution)

    def generate(self, batch: Batch, latents: Tensor) -> Tensor:
        return self.generator(latents)

    def discriminator_loss(self, batch: Batch, fakes: Tensor, step: int) -> Loss:
        real, fake = self._judge_both(batch.images, fakes)
        loss = discriminator_cross_entropy(real, fake)
        parts = {"loss/discriminator": loss, "d_real": torch.sigmoid(real).mean(), "d_fake": torch.sigmoid(fake).mean()}
        penalty = self.config.penalty
        if isinstance(penalty, R1Config) and step % penalty.every == 0:
            # .forward, not __call__: a compiled module cannot be differentiated twice.
            r1 = r1_penalty(self.discriminator.forward, batch.images)
            loss = loss + penalty.every * penalty.gamma / 2 * r1
            parts["penalty/r1"] = r1
        return Loss(loss, {name: part.detach() for name, part in parts.items()})

    def generator_loss(self, batch: Batch, fakes: Tensor) -> Loss:
        fake = self.discriminator(fakes).float()
        loss = GENERATOR_LOSSES[self.config.objective](fake)
        return Loss(loss, {"loss/generator": loss.detach(), "d_fake": torch.sigmoid(fake.detach()).mean()})

    @torch.no_grad()
    def sample(self, generator: nn.Module, request: SampleRequest) -> Tensor:
        training = generator.training
        generator.eval()
        device = next(generator.parameters()).device
        latent, stop = self.config.latent, request.first + request.count
        images = []
        for block in range(request.first // SAMPLE_BLOCK, -(-stop // SAMPLE_BLOCK)):
            randomness = stream_generator("cpu", request.seed, "sample", block)
            latents = draw_latents(randomness, SAMPLE_BLOCK, latent.dim, latent.distribution)
            rows = slice(max(request.first - block * SAMPLE_BLOCK, 0), stop - block * SAMPLE_BLOCK)
            # A whole block each time: kernels round by the size of the batch, and the last grey level would tell.
            images.append(quantise(generator(latents.to(device)))[rows].cpu())
        generator.train(training)
        return torch.cat(images)

    def _judge_both(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """float32 logits [n] of real and of fake images."""
        if self._one_pass:
            logits = self.discriminator(torch.cat([real, fake.to(real.dtype)])).float()
            return logits[: len(real)], logits[len(real) :]
        return self.discriminator(real).float(), self.discriminator(fake).float()
