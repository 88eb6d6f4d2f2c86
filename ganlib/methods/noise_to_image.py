"""Images from noise: family A of SYSTEMS.md. Any generator and discriminator under any objective and penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ganlib.data.batches import Batch, quantise
from ganlib.diffaug import CHANCES, DiffAugment, adapt
from ganlib.draws import Draws, draw_latents, stream_generator
from ganlib.errors import UserError
from ganlib.losses import OBJECTIVES, ObjectiveName
from ganlib.methods.base import DataShape, Loss, Method, MethodConfig, SampleRequest
from ganlib.networks import AnyDiscriminator, AnyGenerator
from ganlib.networks.base import Config
from ganlib.networks.conditional import ProjectionDiscriminator, build_conditional_generator, check_conditioning
from ganlib.networks.layers import judges_each_alone, with_spectral_norm
from ganlib.penalties import ClipConfig, GradientPenalty, NoPenalty, Penalty, sum_over_workers

SAMPLE_BLOCK = 64
"""Latents of samples are drawn, and images made, in blocks of this many, so that each is a function of its index."""

ADAPT_EVERY = 4
"""Discriminator steps between two moves of the adaptive augmentation's probability (Karras et al. 2020)."""


class LatentConfig(Config):
    """z: `dim` numbers from N(0, 1) or U[-1, 1]."""

    dim: int = Field(100, ge=1, le=65536)
    distribution: Literal["normal", "uniform"] = "normal"


class InstanceNoise(Config):
    """N(0, sigma^2) on all that D sees, sigma falling to 0 over the first `until` of the run (Sønderby et al. 2017)."""

    sigma: float = Field(0, ge=0, le=10)
    until: float = Field(1, gt=0, le=1)


class NoAugment(Config):
    """D sees the images as they are."""

    kind: Literal["none"] = "none"


class FixedAugment(DiffAugment):
    """Differentiable augmentation, each change made with `probability`."""

    kind: Literal["fixed"]


class AdaptiveAugment(DiffAugment):
    """The same with its probability steered: `speed_images` from 0 to 1, toward E[sign(D(x))] = `target`."""

    kind: Literal["adaptive"]
    probability: float = Field(0.0, ge=0, le=1)
    target: float = Field(0.6, gt=0, lt=1)
    speed_images: int = Field(500_000, ge=1)


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


AnyAugment = Annotated[NoAugment | FixedAugment | AdaptiveAugment, Field(discriminator="kind")]
AnyCondition = Annotated[Unconditional | ByEmbedding | ByBatchNorm, Field(discriminator="kind")]


class NoiseToImageConfig(MethodConfig):
    """What decides a run of this method, but for its optimizers.

    smoothing: D's target for real images is 1 - smoothing.
    """

    kind: Literal["noise-to-image"] = "noise-to-image"
    generator: AnyGenerator
    discriminator: AnyDiscriminator
    latent: LatentConfig = LatentConfig()
    objective: ObjectiveName = "non-saturating"
    smoothing: float = Field(0, ge=0, lt=0.5)
    penalty: Penalty = NoPenalty()
    spectral_norm: bool = False
    instance_noise: InstanceNoise = InstanceNoise()
    augment: AnyAugment = NoAugment()
    condition: AnyCondition = Unconditional()

    @property
    def needs(self) -> frozenset[str]:
        return frozenset() if isinstance(self.condition, Unconditional) else frozenset({"label"})

    def check(self, data: DataShape) -> None:
        self.generator.check(data.image)
        self.discriminator.check(data.image)
        OBJECTIVES[self.objective].check(self.smoothing)
        self.penalty.check(self.objective)
        if self.spectral_norm and not self.discriminator.takes_spectral_norm:
            raise ValueError(f"network {self.discriminator.kind!r} takes no spectral norm; its weights begin at zero")
        if not isinstance(self.condition, Unconditional):
            dim = self.condition.dim if isinstance(self.condition, ByEmbedding) else 0
            check_conditioning(self.generator, self.condition.kind, dim)
            if not data.classes:
                raise ValueError("conditioning on the class needs labels: give the number of classes as data.classes")
        if data.image.height == 1 and not isinstance(self.augment, NoAugment):
            raise ValueError("points cannot be augmented as images are; leave method.augment at none")

    def build(self, data: DataShape) -> NoiseToImage:
        return NoiseToImage(self, data)


class NoiseToImage(Method):
    """G: z -> x, or (z, y) -> x; D: x -> logit, or (x, y) -> logit."""

    probability: Tensor
    signs: Tensor

    def __init__(self, config: NoiseToImageConfig, data: DataShape):
        super().__init__()
        self.config, self.classes = config, data.classes
        self.objective = OBJECTIVES[config.objective].with_smoothing(config.smoothing)
        condition, dim = config.condition, config.latent.dim
        self.points = data.image.height == 1
        self.conditional = not isinstance(condition, Unconditional)
        discriminator = config.discriminator.build(data.image)
        if isinstance(condition, Unconditional):
            self.generator = config.generator.build(dim, data.image)
            self.discriminator: nn.Module = discriminator
        else:
            width = condition.dim if isinstance(condition, ByEmbedding) else 0
            self.generator = build_conditional_generator(
                config.generator, dim, data.image, data.classes, condition.kind, width
            )
            self.discriminator = ProjectionDiscriminator(discriminator, data.classes)
        if config.spectral_norm:
            with_spectral_norm(self.discriminator)
        # Where the layers treat each image by itself, real and fake go through D in one pass, which is faster.
        self._one_pass = judges_each_alone(self.discriminator)
        if isinstance(config.augment, AdaptiveAugment):
            # The probability; since it was last moved: the sum of sign(D(x)), and the images.
            self.register_buffer("probability", torch.tensor(config.augment.probability))
            self.register_buffer("signs", torch.zeros(2, dtype=torch.float64))

    def draw(self, draws: Draws, stream: str) -> Tensor:
        return draws.latents(stream, self.config.latent.dim, self.config.latent.distribution)

    def generate(self, batch: Batch, latents: Tensor) -> Tensor:
        return self.generator(latents, batch.labels) if self.conditional else self.generator(latents)

    def discriminator_loss(self, batch: Batch, fakes: Tensor, step: int) -> Loss:
        real_images, fake_images = self._veiled(batch.images), self._veiled(fakes)
        real, fake = self._judge_both(real_images, fake_images, batch.labels)
        loss = self.objective.discriminator(real, fake)
        reading = self.objective.reading
        parts = {"loss/discriminator": loss, "d_real": reading(real).mean(), "d_fake": reading(fake).mean()}
        penalty = self.config.penalty
        if isinstance(penalty, GradientPenalty) and penalty.due(step):
            # .forward, not __call__: a compiled module cannot be differentiated twice.
            judge = self._judge_with(batch.labels, self.discriminator.forward)
            terms = penalty.terms(judge, real_images, fake_images, self.draws.uniform)
            loss = loss + penalty.strength(self.draws.done) * penalty.weighted(terms)
            parts |= {f"penalty/{name}": term for name, term in terms.items()}
        augment = self.config.augment
        if isinstance(augment, AdaptiveAugment):
            signs = real.detach().sign().sum(dtype=torch.float64)
            self.signs += sum_over_workers(torch.stack([signs, torch.full_like(signs, len(real))]))
            if (step + 1) % ADAPT_EVERY == 0:
                self.probability.copy_(adapt(self.probability, self.signs, augment.target, augment.speed_images))
                self.signs.zero_()
            parts["augment/probability"] = self.probability
        return Loss(loss, {name: part.detach() for name, part in parts.items()})

    def discriminator_stepped(self) -> None:
        if isinstance(self.config.penalty, ClipConfig):
            self.config.penalty.apply(self.discriminator)

    def generator_loss(self, batch: Batch, fakes: Tensor) -> Loss:
        judge = self._judge_with(batch.labels, self.discriminator)
        fake = judge(self._veiled(fakes)).float()
        real = judge(self._veiled(batch.images)).float() if self.objective.needs_real else None
        loss = self.objective.generator(fake, real)
        return Loss(loss, {"loss/generator": loss.detach(), "d_fake": self.objective.reading(fake.detach()).mean()})

    @torch.no_grad()
    def sample(self, generator: nn.Module, request: SampleRequest) -> Tensor:
        training = generator.training
        generator.eval()
        device = next(generator.parameters()).device
        latent, stop = self.config.latent, request.first + request.count
        labels = self._labels(request)
        images = []
        for block in range(request.first // SAMPLE_BLOCK, -(-stop // SAMPLE_BLOCK)):
            randomness = stream_generator("cpu", request.seed, "sample", block)
            latents = draw_latents(randomness, SAMPLE_BLOCK, latent.dim, latent.distribution).to(device)
            first = block * SAMPLE_BLOCK
            rows = slice(max(request.first - first, 0), stop - first)
            # A whole block each time: kernels round by the size of the batch, and the last grey level would tell.
            made = generator(latents) if labels is None else generator(latents, labels(first).to(device))
            images.append((made.float().permute(0, 2, 3, 1) if self.points else quantise(made))[rows].cpu())
        generator.train(training)
        return torch.cat(images)

    def _labels(self, request: SampleRequest) -> Callable[[int], Tensor] | None:
        """What gives the classes of a block by its first index: in turn where the request names none.

        In turn, and not in the proportions of the training data, so that a short sheet shows every class, rare ones
        too, and so that a generator needs nothing but its weights to draw it. Where proportions matter, in distances
        to the training images as a whole, the evaluation names labels (`ganlib.evaluation.classes.InProportion`).
        """
        if not self.conditional:
            if request.labels is not None:
                raise UserError("this generator knows no classes; leave the labels out")
            return None
        asked = request.labels
        if asked is not None and (len(asked) != request.count or not all(0 <= x < self.classes for x in asked)):
            raise UserError(f"give one label from 0 to {self.classes - 1} for each of the {request.count} images")

        def of_block(first: int) -> Tensor:
            index = torch.arange(first, first + SAMPLE_BLOCK)
            if asked is None:
                return index % self.classes
            return torch.tensor(asked)[(index - request.first).clamp(0, request.count - 1)]

        return of_block

    def _veiled(self, images: Tensor) -> Tensor:
        """What D is shown of `images`: with noise on them, and augmented, where the recipe says so."""
        noise, augment = self.config.instance_noise, self.config.augment
        sigma = noise.sigma * max(1 - self.draws.done / noise.until, 0) if noise.sigma else 0
        if sigma:
            images = images + sigma * self.draws.normal("instance-noise", images.shape[1:]).to(images.dtype)
        if isinstance(augment, DiffAugment):
            p = self.probability if isinstance(augment, AdaptiveAugment) else augment.probability
            images = augment.apply(images, self.draws.uniform("augment", (CHANCES,)), p)
        return images

    def _judge_with(self, labels: Tensor | None, judge: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        return (lambda images: judge(images, labels)) if self.conditional else judge

    def _judge_both(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """float32 logits [n] of real and of fake images."""
        if self._one_pass:
            doubled = labels.repeat(2) if labels is not None else None
            judge = self._judge_with(doubled, self.discriminator)
            logits = judge(torch.cat([real, fake.to(real.dtype)])).float()
            return logits[: len(real)], logits[len(real) :]
        judge = self._judge_with(labels, self.discriminator)
        return judge(real).float(), judge(fake).float()
