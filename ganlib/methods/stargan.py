"""StarGAN (Choi et al. 2018, arXiv 1711.09020), SYSTEMS.md B3: one generator between any number of domains."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ganlib.data.batch import Batch
from ganlib.draws import Draws
from ganlib.losses import ObjectiveName
from ganlib.methods.base import DataShape, Loss, Method, SampleRequest
from ganlib.methods.game import Game
from ganlib.methods.translating import TranslationConfig, translate
from ganlib.networks.residual_translator import ResidualTranslatorConfig, with_domains
from ganlib.networks.stargan import StarGANDiscriminatorConfig
from ganlib.penalties import LineConfig, Penalty


class StarGANConfig(TranslationConfig):
    """What decides a run of this method, but for its optimizers.

    domains: "exclusive" where an image is in one of them, told by a cross-entropy; "attributes" where it may be in any
    number, each told by a binary one, these added up. classification, reconstruction: weights of those two losses.
    """

    kind: Literal["stargan"]
    generator: ResidualTranslatorConfig = ResidualTranslatorConfig(
        blocks=6, kernel=4, padding="zeros", affine=True, init="torch"
    )
    discriminator: StarGANDiscriminatorConfig = StarGANDiscriminatorConfig()
    objective: ObjectiveName = "wasserstein"
    penalty: Penalty = LineConfig(kind="gradient-penalty", weight=10)
    domains: Literal["exclusive", "attributes"] = "exclusive"
    classification: float = Field(1, ge=0)
    reconstruction: float = Field(10, ge=0)

    @property
    def one_domain(self) -> bool:
        return self.domains == "exclusive"

    def check(self, data: DataShape) -> None:
        super().check(data)
        self.generator.check(data.image)
        self.discriminator.check(data.image)
        least = 2 if self.one_domain else 1
        if data.domains < least:
            raise ValueError(
                f"method 'stargan' goes between domains, and data.domains is {data.domains}; say how many the dataset "
                f"has, {least} or more"
            )

    def build(self, data: DataShape) -> StarGAN:
        return StarGAN(self, data)


class _Critic:
    """The patches' head of a network of two heads, as a game has it; `said` is what the other said meanwhile."""

    def __init__(self, network: nn.Module):
        self.network = network
        self.said: list[Tensor] = []

    def __call__(self, images: Tensor, *given: Tensor) -> Tensor:
        logits, domains = self.network(images)
        self.said.append(domains)
        return logits

    def forward(self, images: Tensor, *given: Tensor) -> Tensor:
        """For penalties, whose images nobody asks about."""
        return self.network.forward(images)[0]

    def domains(self, count: int) -> Tensor:
        """float32 [count, D]: what was said of the first images judged."""
        return torch.cat(self.said)[:count].float()


class StarGAN(Method):
    """G: (x, c) -> x, c the domains to be; D: x -> (logits of patches, logits of domains).

    Training takes c from another image of the global batch, as the authors do: a permutation of what domains there are
    makes no attributes meet that never do. Fakes carry it: [n, C + D, H, W], an image and c spread over it.
    """

    def __init__(self, config: StarGANConfig, data: DataShape):
        super().__init__()
        self.config, self.channels = config, data.image.channels
        self.generator = config.generator.build(data.image, data.domains)
        self.discriminator = config.discriminator.build(data.image, data.domains)
        self.game = Game(config, self.discriminator)

    def draw(self, draws: Draws, stream: str) -> Tensor:
        """float32 [n, 1] from U[0, 1): its rank among the global batch's is the row whose domains a row is given."""
        return draws.uniform(f"targets/{stream}", (1,))

    def generate(self, batch: Batch, latents: Tensor) -> Tensor:
        draws, own = self.draws, _domains(batch)
        every = draws.gather(torch.cat([latents, own], 1))  # [batch, 1 + D]
        targets = every[every[:, 0].argsort(stable=True), 1:][draws.first : draws.last]
        return with_domains(self.generator(batch.images, targets), targets)

    def discriminator_loss(self, batch: Batch, fakes: Tensor, step: int) -> Loss:
        images, _ = self._parts(fakes)
        critic = _Critic(self.discriminator)
        loss = self.game.discriminator_loss(critic, batch.images, images, (), self.draws, step)
        told = self._classification(critic.domains(len(batch.images)), _domains(batch))
        return Loss(loss.total + self.config.classification * told, loss.parts | {"loss/domains_real": told.detach()})

    def occasion(self, step: int) -> Hashable:
        return self.game.occasion(step, self.draws)

    def discriminator_stepped(self) -> None:
        self.game.stepped(self.discriminator)

    def generator_loss(self, batch: Batch, fakes: Tensor) -> Loss:
        """Adversarial, and what domains D sees in the fakes, and L1 of what comes back (equations 1, 3 and 4 there).

        Parts: loss/generator, d_fake, loss/domains_fake, loss/reconstruction, before weights.
        """
        images, targets = self._parts(fakes)
        critic = _Critic(self.discriminator)
        loss = self.game.generator_loss(critic, batch.images, images, (), self.draws)
        told = self._classification(critic.domains(len(images)), targets)
        back = self.generator(images, _domains(batch))
        distance = (back.float() - batch.images.float()).abs().mean()
        total = loss.total + self.config.classification * told + self.config.reconstruction * distance
        parts = {"loss/domains_fake": told.detach(), "loss/reconstruction": distance.detach()}
        return Loss(total, loss.parts | parts)

    def _parts(self, fakes: Tensor) -> tuple[Tensor, Tensor]:
        """Images [n, C, H, W] and float32 domains [n, D] of what `generate` made."""
        return fakes[:, : self.channels], fakes[:, self.channels :, 0, 0].detach().float()

    def _classification(self, logits: Tensor, domains: Tensor) -> Tensor:
        """-log p(c|x), the mean over images: float [n, D] twice -> a scalar."""
        if self.config.one_domain:
            return F.cross_entropy(logits, domains)
        return F.binary_cross_entropy_with_logits(logits, domains, reduction="none").sum(1).mean()

    def sample(self, generator: nn.Module, request: SampleRequest) -> Tensor:
        """The request's inputs, each as it would be in the domains that it is told."""
        return translate(generator, request, generator)


def _domains(batch: Batch) -> Tensor:
    assert batch.domains is not None
    return batch.domains
