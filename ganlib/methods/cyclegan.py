"""CycleGAN (Zhu et al. 2017, arXiv 1703.10593), SYSTEMS.md B2: two domains, no pairs, there and back again."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ganlib.data.batch import Batch
from ganlib.data.unpaired import Pairing
from ganlib.draws import Draws
from ganlib.losses import ObjectiveName
from ganlib.methods.base import DataShape, Loss, Method, SampleRequest
from ganlib.methods.game import Game
from ganlib.methods.pool import ImagePool
from ganlib.methods.translating import TranslationConfig, translate
from ganlib.networks.patch import PatchDiscriminatorConfig
from ganlib.networks.residual_translator import ResidualTranslatorConfig


class CycleGANConfig(TranslationConfig):
    """What decides a run of this method, but for its optimizers. Both generators, and both discriminators, are alike.

    adversarial, cycle: weights of the generators' losses; identity: the identity loss's, as a share of the cycle's.
    The authors' E[(D(G(x)) - 1)^2] is twice this library's: theirs has `adversarial` 2. pool: past fakes kept a side.
    """

    kind: Literal["cyclegan"]
    generator: ResidualTranslatorConfig = ResidualTranslatorConfig()
    discriminator: PatchDiscriminatorConfig = PatchDiscriminatorConfig(norm="instance")
    objective: ObjectiveName = "least-squares"
    adversarial: float = Field(1, ge=0)
    cycle: float = Field(10, ge=0)
    identity: float = Field(0.5, ge=0)
    pool: int = Field(50, ge=0, le=10_000)

    pairing: ClassVar[Pairing] = "unpaired"

    @property
    def one_domain(self) -> bool:
        return True

    def check(self, data: DataShape) -> None:
        super().check(data)
        self.generator.check(data.image)
        self.discriminator.check(data.image)
        if data.domains != 2:
            raise ValueError(
                f"method 'cyclegan' goes between two domains, and data.domains is {data.domains}; say 2, or use stargan"
            )

    def build(self, data: DataShape) -> CycleGAN:
        return CycleGAN(self, data)


class Pair(nn.Module):
    """Two networks as one side. As generators: `first` makes images of the first domain, of those of the second."""

    def __init__(self, first: nn.Module, second: nn.Module):
        super().__init__()
        self.first, self.second = first, second

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Each alone: they are called apart."""
        self.first.compile(*args, **kwargs)
        self.second.compile(*args, **kwargs)


class CycleGAN(Method):
    """A, the first domain, is a batch's `images`; B, the second, its `partners`.

    Fakes are [n, 2, C, H, W]: what is made in A of B's images, and in B of A's. `first` is what makes or judges A.
    """

    generator: Pair
    discriminator: Pair

    def __init__(self, config: CycleGANConfig, data: DataShape):
        super().__init__()
        image, discriminator = data.image, config.discriminator
        self.config = config
        self.generator = Pair(config.generator.build(image), config.generator.build(image))
        self.discriminator = Pair(discriminator.build(image.channels), discriminator.build(image.channels))
        self.games = nn.ModuleList(Game(config, judge) for judge in self._judges())
        self.pools = nn.ModuleList(ImagePool(config.pool, image.channels, image.height, image.width) for _ in range(2))

    def _judges(self) -> list[nn.Module]:
        return [self.discriminator.first, self.discriminator.second]

    def draw(self, draws: Draws, stream: str) -> Tensor:
        """float32 [n, 0]: there is no noise."""
        return torch.empty(draws.last - draws.first, 0, device=draws.device)

    def generate(self, batch: Batch, latents: Tensor) -> Tensor:
        a, b = _sides(batch)
        return torch.stack([self.generator.first(b), self.generator.second(a)], 1)

    def real(self, batch: Batch) -> Tensor:
        """float [n, 2, C, H, W], as the fakes."""
        return torch.stack(_sides(batch), 1)

    def discriminator_loss(self, batch: Batch, fakes: Tensor, step: int) -> Loss:
        losses = []
        for game, pool, judge, real, fake in zip(
            self.games, self.pools, self._judges(), _sides(batch), fakes.unbind(1), strict=True
        ):
            assert isinstance(game, Game)
            assert isinstance(pool, ImagePool)
            shown = pool.exchange(fake, self.draws)
            losses.append(game.discriminator_loss(judge, real, shown, (), self.draws, step))
        return _together(losses)

    def occasion(self, step: int) -> Hashable:
        games = [game for game in self.games if isinstance(game, Game)]
        return tuple(game.occasion(step, self.draws) for game in games)

    def discriminator_stepped(self) -> None:
        for game, judge in zip(self.games, self._judges(), strict=True):
            assert isinstance(game, Game)
            game.stepped(judge)

    def generator_loss(self, batch: Batch, fakes: Tensor) -> Loss:
        """Adversarial, and L1 of what comes back, and of what a generator makes of images that are of its domain.

        Parts: loss/generator and d_fake over both sides, loss/cycle and loss/identity, sums over both, before weights.
        """
        a, b = _sides(batch)
        fake_a, fake_b = fakes.unbind(1)
        to_a, to_b = self.generator.first, self.generator.second
        losses = []
        for game, judge, real, fake in zip(self.games, self._judges(), (a, b), (fake_a, fake_b), strict=True):
            assert isinstance(game, Game)
            losses.append(game.generator_loss(judge, real, fake, (), self.draws))
        loss, config = _together(losses), self.config
        total, parts = config.adversarial * loss.total, loss.parts
        if config.cycle:
            cycle = _l1(to_a(fake_b), a) + _l1(to_b(fake_a), b)
            total, parts = total + config.cycle * cycle, parts | {"loss/cycle": cycle.detach()}
            if config.identity:
                identity = _l1(to_a(a), a) + _l1(to_b(b), b)
                total = total + config.cycle * config.identity * identity
                parts = parts | {"loss/identity": identity.detach()}
        return Loss(total, parts)

    def sample(self, generator: nn.Module, request: SampleRequest) -> Tensor:
        """The request's inputs, each as it would be in the domain that it is told, taken to be of the other one."""
        assert isinstance(generator, Pair)
        first, second = generator.first, generator.second

        def function(images: Tensor, domains: Tensor) -> Tensor:
            to_first = domains[:, 0] > 0
            made = torch.empty_like(images)
            # Each image through the one network that it is for; a block of both kinds goes through both.
            for network, chosen in ((first, to_first), (second, ~to_first)):
                if chosen.any():
                    made[chosen] = network(images).to(images.dtype)[chosen]
            return made

        return translate(generator, request, function)


def _sides(batch: Batch) -> tuple[Tensor, Tensor]:
    assert batch.partners is not None
    return batch.images, batch.partners


def _l1(made: Tensor, images: Tensor) -> Tensor:
    """E|made - images| over all numbers: float [n, C, H, W] twice -> a float32 scalar."""
    return (made.float() - images.float()).abs().mean()


def _together(losses: list[Loss]) -> Loss:
    """The sum of the losses; of the parts too where they are losses, else their mean."""
    parts = {}
    for name in losses[0].parts:
        values = torch.stack([loss.parts[name].float() for loss in losses])
        parts[name] = values.sum() if name.startswith("loss/") else values.mean()
    return Loss(torch.stack([loss.total for loss in losses]).sum(), parts)
