"""Images from noise: family A of SYSTEMS.md. Any generator and discriminator under any objective and penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ganlib.data.batches import Batch, quantise
from ganlib.draws import Draws
from ganlib.methods.base import DataShape, SampleRequest
from ganlib.methods.blocks import SAMPLE_BLOCK, great_circle, in_blocks, latents_of
from ganlib.methods.game import GameConfig, GameMethod, Given
from ganlib.networks import AnyDiscriminator, AnyGenerator
from ganlib.networks.base import Config, DiscriminatorConfig, GeneratorConfig
from ganlib.networks.conditional import ProjectionDiscriminator, build_conditional_generator, check_conditioning


class LatentConfig(Config):
    """z: `dim` numbers from N(0, 1) or U[-1, 1]."""

    dim: int = Field(100, ge=1, le=65536)
    distribution: Literal["normal", "uniform"] = "normal"


class Unconditional(Config):
    """Nobody is told the class."""

    kind: Literal["none"] = "none"


class ByEmbedding(Config):
    """G gets a learned vector of the class beside z; D is a projection discriminator."""

    kind: Literal["embedding"]
    dim: int = Field(64, ge=1, le=4096)


class ByBatchNorm(Config):
    """G's batch norms have gains and biases of the class's own; D is a projection discriminator."""

    kind: Literal["batch-norm"]


AnyCondition = Annotated[Unconditional | ByEmbedding | ByBatchNorm, Field(discriminator="kind")]


class NoiseToImageConfig(GameConfig):
    """What decides a run of this method, but for its optimizers."""

    kind: Literal["noise-to-image"] = "noise-to-image"
    generator: AnyGenerator
    discriminator: AnyDiscriminator
    latent: LatentConfig = LatentConfig()
    condition: AnyCondition = Unconditional()

    @property
    def needs(self) -> frozenset[str]:
        return frozenset() if isinstance(self.condition, Unconditional) else frozenset({"label"})

    @property
    def takes(self) -> frozenset[str]:
        return frozenset({"labels"}) if self.needs else frozenset()

    def check(self, data: DataShape) -> None:
        super().check(data)
        check_networks(self, self.generator, self.discriminator, data)
        if not isinstance(self.condition, Unconditional):
            dim = self.condition.dim if isinstance(self.condition, ByEmbedding) else 0
            check_conditioning(self.generator, self.condition.kind, dim)
            if not data.classes:
                raise ValueError("conditioning on the class needs labels: give the number of classes as data.classes")

    def build(self, data: DataShape) -> NoiseToImage:
        return NoiseToImage(self, data)


def check_networks(
    config: GameConfig, generator: GeneratorConfig, discriminator: DiscriminatorConfig, data: DataShape
) -> None:
    """Raises ValueError where one of the two cannot make or judge such images, or not in such a game."""
    generator.check(data.image)
    discriminator.check(data.image)
    if config.spectral_norm and not discriminator.takes_spectral_norm:
        kind = getattr(discriminator, "kind", type(discriminator).__name__)
        raise ValueError(f"network {kind!r} takes no spectral norm; its weights begin at zero")


class NoiseToImage(GameMethod):
    """G: z -> x, or (z, y) -> x; D: x -> logit, or (x, y) -> logit."""

    def __init__(self, config: NoiseToImageConfig, data: DataShape):
        condition, dim = config.condition, config.latent.dim
        judge = config.discriminator.build(data.image)
        discriminator: nn.Module = judge
        generator: nn.Module
        if isinstance(condition, Unconditional):
            generator = config.generator.build(dim, data.image)
        else:
            width = condition.dim if isinstance(condition, ByEmbedding) else 0
            generator = build_conditional_generator(
                config.generator, dim, data.image, data.classes, condition.kind, width
            )
            discriminator = ProjectionDiscriminator(judge, data.classes)
        super().__init__(config, generator, discriminator)
        self.latent, self.classes = config.latent, data.classes
        self.points = data.image.height == 1
        self.conditional = not isinstance(condition, Unconditional)

    def draw(self, draws: Draws, stream: str) -> Tensor:
        return draws.latents(stream, self.latent.dim, self.latent.distribution)

    def generate(self, batch: Batch, latents: Tensor) -> Tensor:
        return self.generator(latents, batch.labels) if self.conditional else self.generator(latents)

    def given(self, batch: Batch) -> Given:
        return (batch.labels,) if self.conditional and batch.labels is not None else ()

    @torch.no_grad()
    def sample(self, generator: nn.Module, request: SampleRequest) -> Tensor:
        training = generator.training
        generator.eval()
        device = next(generator.parameters()).device
        latent, stop = self.latent, request.first + request.count
        labels = self._labels(request)
        images = []
        for block in range(request.first // SAMPLE_BLOCK, -(-stop // SAMPLE_BLOCK)):
            first = block * SAMPLE_BLOCK
            rows = slice(max(request.first - first, 0), stop - first)
            latents = latents_of(request.seed, first, SAMPLE_BLOCK, latent.dim, latent.distribution).to(device)
            # A whole block each time: kernels round by the size of the batch, and the last grey level would tell.
            made = generator(latents) if labels is None else generator(latents, labels(first).to(device))
            images.append((made.float().permute(0, 2, 3, 1) if self.points else quantise(made))[rows].cpu())
        generator.train(training)
        return torch.cat(images)

    @torch.no_grad()
    def walk(self, generator: nn.Module, rows: int, steps: int, seed: int = 0) -> Tensor:
        """uint8 [rows * (steps + 2), H, W, C] on the CPU: each row from one latent to the next of `seed`'s, both shown.

        `steps` images lie evenly between the two: on a great circle where latents are normal, whose length a straight
        line would leave (White 2016, arXiv 1609.04468), else on the line. Row i is of class i, if there are classes.
        """
        training = generator.training
        generator.eval()
        device = next(generator.parameters()).device
        ends = latents_of(seed, 0, rows + 1, self.latent.dim, self.latent.distribution)
        t = torch.linspace(0, 1, steps + 2).repeat(rows)[:, None]
        a, b = (end.repeat_interleave(steps + 2, 0) for end in (ends[:-1], ends[1:]))
        z = great_circle(a, b, t) if self.latent.distribution == "normal" else torch.lerp(a, b, t)
        told = (torch.arange(rows).repeat_interleave(steps + 2) % self.classes,) if self.conditional else ()
        images = in_blocks(lambda *block: quantise(generator(*block)), z.to(device), *(x.to(device) for x in told))
        generator.train(training)
        return images.cpu()

    @torch.no_grad()
    def at(self, generator: nn.Module, latents: Tensor, classes: Tensor) -> Tensor:
        """float32 [n, C, H, W] in [-1, 1] on the CPU, at latents [n, dim]: between the grey levels, in eval mode.

        classes: int64 [n], taken modulo the number of classes; of no account to a generator that is told none.
        """
        training = generator.training
        generator.eval()
        device = next(generator.parameters()).device
        told = (classes.to(device) % self.classes,) if self.conditional else ()
        images: Tensor = generator(latents.to(device), *told).float().cpu()
        generator.train(training)
        return images

    def _labels(self, request: SampleRequest) -> Callable[[int], Tensor] | None:
        """What gives the classes of a block by its first index: in turn where the request names none.

        In turn, and not in the proportions of the training data, so that a short sheet shows every class, rare ones
        too, and so that a generator needs nothing but its weights to draw it. Where proportions matter, in distances
        to the training images as a whole, the evaluation names labels (`ganlib.evaluation.classes.InProportion`).
        """
        if not self.conditional:
            return None
        asked = request.labels

        def of_block(first: int) -> Tensor:
            index = torch.arange(first, first + SAMPLE_BLOCK)
            if asked is None:
                return index % self.classes
            return torch.tensor(asked)[(index - request.first).clamp(0, request.count - 1)]

        return of_block
