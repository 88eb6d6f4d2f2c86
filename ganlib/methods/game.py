"""The game between one discriminator and what a generator makes, written once for every method.

Objective, penalty, smoothing, spectral norm, instance noise and augmentation, for a D that may be told more than the
image: D(x, *given), `given` being tensors of one row an image (a class, an input image, a text's code).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from ganlib.data.batches import Batch
from ganlib.diffaug import CHANCES, DiffAugment, adapt
from ganlib.draws import Draws
from ganlib.losses import OBJECTIVES, ObjectiveName
from ganlib.methods.base import DataShape, Loss, Method, MethodConfig
from ganlib.networks.base import Config
from ganlib.networks.layers import judges_each_alone, with_spectral_norm
from ganlib.penalties import ClipConfig, GradientPenalty, NoPenalty, Penalty, sum_over_workers

ADAPT_EVERY = 4
"""Discriminator steps between two moves of the adaptive augmentation's probability (Karras et al. 2020)."""

Given = tuple[Tensor, ...]


class Judging(Protocol):
    """`judging(images, *given)` -> logits, any shape [n, ...]; `forward` is the same, never compiled."""

    @property
    def forward(self) -> Callable[..., Tensor]: ...

    def __call__(self, images: Tensor, *given: Tensor) -> Tensor: ...


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
    """The same with its probability steered: `speed_images` from 0 to 1, toward E[sign(D(x))] = `target`.

    D(x) counts from the logit at which D is undecided (Objective.undecided): an objective that has none is refused.
    """

    kind: Literal["adaptive"]
    probability: float = Field(0.0, ge=0, le=1)
    target: float = Field(0.6, gt=0, lt=1)
    speed_images: int = Field(500_000, ge=1)


AnyAugment = Annotated[NoAugment | FixedAugment | AdaptiveAugment, Field(discriminator="kind")]


class GameConfig(MethodConfig):
    """The fields of a method that say how its two sides play. smoothing: D's target for real images is 1 - smoothing.

    penalty: any of them may be lazy (`every`) but `clip`, which has no weight to be scaled: it is done after each step.
    A method's config adds its networks, `generator` and `discriminator` among them, and its other losses.
    """

    objective: ObjectiveName = "non-saturating"
    smoothing: float = Field(0, ge=0, lt=0.5)
    penalty: Penalty = NoPenalty()
    spectral_norm: bool = False
    instance_noise: InstanceNoise = InstanceNoise()
    augment: AnyAugment = NoAugment()

    def check(self, data: DataShape) -> None:
        OBJECTIVES[self.objective].check(self.smoothing)
        self.penalty.check(self.objective)
        if data.image.height == 1 and not isinstance(self.augment, NoAugment):
            raise ValueError("points cannot be augmented as images are; leave method.augment at none")
        if isinstance(self.augment, AdaptiveAugment) and OBJECTIVES[self.objective].undecided is None:
            raise ValueError(
                f"method.augment.kind=adaptive does not go with objective {self.objective!r}, under which a logit does "
                "not say by itself whether D takes an image for real; take method.augment.kind=fixed"
            )


class Game(nn.Module):
    """Both losses of one discriminator, `discriminator(images, *given)` -> logits, any shape [n, ...].

    The module holds what the game keeps from step to step (the adaptive probability), not the discriminator.
    """

    probability: Tensor
    signs: Tensor

    def __init__(self, config: GameConfig, discriminator: nn.Module):
        super().__init__()
        self.config = config
        self.objective = OBJECTIVES[config.objective].with_smoothing(config.smoothing)
        if config.spectral_norm:
            with_spectral_norm(discriminator)
        # Where the layers treat each image by itself, real and fake go through D in one pass, which is faster.
        self.one_pass = judges_each_alone(discriminator)
        if isinstance(config.augment, AdaptiveAugment):
            # The probability; since it was last moved: the sum of the signs of D's judgements, and the images.
            self.register_buffer("probability", torch.tensor(config.augment.probability))
            self.register_buffer("signs", torch.zeros(2, dtype=torch.float64))

    def discriminator_loss(
        self,
        discriminator: Judging,
        real: Tensor,
        fake: Tensor,
        given: Given,
        draws: Draws,
        step: int,
        wrong: Given | None = None,
    ) -> Loss:
        """D's loss, penalty and all, on real and (detached) fake images, float [n, C, H, W], told `given` of both.

        wrong: what is not so of the real images. They are judged once more, told that, as the second half of the fakes:
        the loss is the mean of the game of real against fake and of that of real against wrongly told (a D that is
        aware of matching, Reed et al. 2016, arXiv 1605.05396, algorithm 1).
        step: D's steps so far. Parts: loss/discriminator, d_real, d_fake, d_wrong, penalty/*, augment/probability.
        """
        real, fake = self._veiled(real, draws), self._veiled(fake, draws)
        pairs = [(real, given), (fake, given)] + ([] if wrong is None else [(real, wrong)])
        real_logits, fake_logits, *wrong_logits = self._judge(discriminator, pairs)
        loss = self.objective.discriminator(real_logits, fake_logits)
        for logits in wrong_logits:
            loss = (loss + self.objective.discriminator(real_logits, logits)) / 2
        reading = self.objective.reading
        parts = {
            "loss/discriminator": loss,
            "d_real": reading(real_logits).mean(),
            "d_fake": reading(fake_logits).mean(),
        }
        for logits in wrong_logits:
            parts["d_wrong"] = reading(logits).mean()
        penalty = self.config.penalty
        if isinstance(penalty, GradientPenalty) and penalty.due(step):
            # .forward, not __call__: a compiled module cannot be differentiated twice.
            terms = penalty.terms(lambda images: discriminator.forward(images, *given), real, fake, draws.uniform)
            loss = loss + draws.number(penalty.strength) * penalty.weighted(terms)
            parts |= {f"penalty/{name}": term for name, term in terms.items()}
        if isinstance(self.config.augment, AdaptiveAugment):
            self._adapt(self.config.augment, real_logits.detach(), step)
            parts["augment/probability"] = self.probability
        return Loss(loss, {name: part.detach() for name, part in parts.items()})

    def generator_loss(self, discriminator: Judging, real: Tensor, fake: Tensor, given: Given, draws: Draws) -> Loss:
        """G's loss on fakes that carry its graph. Parts: loss/generator, d_fake."""
        fake_logits = discriminator(self._veiled(fake, draws), *given).float()
        real_logits = None
        if self.objective.needs_real:
            real_logits = discriminator(self._veiled(real, draws), *given).float()
        loss = self.objective.generator(fake_logits, real_logits)
        reading = self.objective.reading(fake_logits.detach()).mean()
        return Loss(loss, {"loss/generator": loss.detach(), "d_fake": reading})

    def occasion(self, step: int, draws: Draws) -> Hashable:
        """See Method.occasion."""
        penalty, adaptive = self.config.penalty, isinstance(self.config.augment, AdaptiveAugment)
        due = isinstance(penalty, GradientPenalty) and penalty.due(step)
        return due, adaptive and _adapts(step), self._noisy(draws)

    def stepped(self, discriminator: nn.Module) -> None:
        """What follows each step of D's weights: clipping, where the recipe says so."""
        if isinstance(self.config.penalty, ClipConfig):
            self.config.penalty.apply(discriminator)

    def _veiled(self, images: Tensor, draws: Draws) -> Tensor:
        """What D is shown of `images`: with noise on them, and augmented, where the recipe says so."""
        noise, augment = self.config.instance_noise, self.config.augment
        if self._noisy(draws):
            sigma = draws.number(lambda done: noise.sigma * (1 - done / noise.until))
            images = images + sigma * draws.normal("instance-noise", images.shape[1:]).to(images.dtype)
        if isinstance(augment, DiffAugment):
            p = self.probability if isinstance(augment, AdaptiveAugment) else augment.probability
            images = augment.apply(images, draws.uniform("augment", (CHANCES,)), p)
        return images

    def _noisy(self, draws: Draws) -> bool:
        noise = self.config.instance_noise
        return noise.sigma > 0 and draws.done < noise.until

    def _judge(self, discriminator: Callable[..., Tensor], pairs: list[tuple[Tensor, Given]]) -> list[Tensor]:
        """float32 logits of each batch of images, told what stands beside it."""
        if not self.one_pass:
            return [discriminator(images, *given).float() for images, given in pairs]
        dtype = pairs[0][0].dtype
        together = torch.cat([images.to(dtype) for images, _ in pairs])
        told = [torch.cat(rows) for rows in zip(*(given for _, given in pairs), strict=True)]
        return list(discriminator(together, *told).float().chunk(len(pairs)))

    def _adapt(self, augment: AdaptiveAugment, real: Tensor, step: int) -> None:
        assert self.objective.undecided is not None, "GameConfig.check sees to it"
        # A judged image's sign is that of its mean logit: patches of one image are one judgement.
        logits = real.flatten(1).mean(1) if real.dim() > 1 else real
        signs = (logits - self.objective.undecided).sign()
        sums = torch.stack([signs.sum(dtype=torch.float64), signs.new_full((), len(signs), dtype=torch.float64)])
        self.signs += sum_over_workers(sums)
        if _adapts(step):
            self.probability.copy_(adapt(self.probability, self.signs, augment.target, augment.speed_images))
            self.signs.zero_()


def _adapts(step: int) -> bool:
    """Whether the adaptive augmentation's probability is moved after the discriminator's step of this number."""
    return (step + 1) % ADAPT_EVERY == 0


class GameMethod(Method):
    """A method of one game: its discriminator judges the batch's images (`real`) against what `generate` makes."""

    def __init__(self, config: GameConfig, generator: nn.Module, discriminator: nn.Module):
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        self.game = Game(config, discriminator)

    def given(self, batch: Batch) -> Given:
        """What D is told of each image beside the image."""
        return ()

    def wrongly_given(self, batch: Batch) -> Given | None:
        """The same for what is not so of the image, where D is to tell it; None where it is not."""
        return None

    def discriminator_loss(self, batch: Batch, fakes: Tensor, step: int) -> Loss:
        real, given, wrong = self.real(batch), self.given(batch), self.wrongly_given(batch)
        return self.game.discriminator_loss(self.discriminator, real, fakes, given, self.draws, step, wrong)

    def occasion(self, step: int) -> Hashable:
        return self.game.occasion(step, self.draws)

    def discriminator_stepped(self) -> None:
        self.game.stepped(self.discriminator)

    def generator_loss(self, batch: Batch, fakes: Tensor) -> Loss:
        return self.game.generator_loss(self.discriminator, self.real(batch), fakes, self.given(batch), self.draws)
