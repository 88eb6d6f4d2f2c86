"""DCGAN by a plain loop, as PyTorch's tutorial and Ray's PBT example train it: what the product is measured against.

Written from their description: float32, contiguous NCHW, `nn.BatchNorm2d`, a sigmoid and `nn.BCELoss`, a backward pass
each for real images, fakes and the generator, and the losses, D(x) and D(G(z)) read by `.item()` in every step.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn


class StepFigures(NamedTuple):
    """What the loop logs of a step: both losses, the mean of D(x), that of D(G(z)) before and after D's step."""

    discriminator_loss: float
    generator_loss: float
    d_real: float
    d_fake_before: float
    d_fake_after: float


class PlainDCGAN:
    """Images of `size` (a power of two from 16) pixels a side; `width` is f, the features at half of that size."""

    def __init__(self, size: int, channels: int, width: int, latent_dim: int = 100, seed: int = 0):
        torch.manual_seed(seed)
        self.latent_dim = latent_dim
        self.generator = _generator(size, channels, width, latent_dim).apply(_initialise)
        self.discriminator = _discriminator(size, channels, width).apply(_initialise)
        self.criterion = nn.BCELoss()
        self.optimizer_g = torch.optim.Adam(self.generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.optimizer_d = torch.optim.Adam(self.discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def step(self, real: Tensor) -> StepFigures:
        """One step of either side on `real`, float32 [n, C, S, S] in [-1, 1]."""
        self.discriminator.zero_grad()
        ones, zeros = torch.ones(len(real)), torch.zeros(len(real))
        judged_real = self.discriminator(real).view(-1)
        loss_real = self.criterion(judged_real, ones)
        loss_real.backward()

        fake = self.generator(torch.randn(len(real), self.latent_dim, 1, 1))
        judged_fake = self.discriminator(fake.detach()).view(-1)
        loss_fake = self.criterion(judged_fake, zeros)
        loss_fake.backward()
        self.optimizer_d.step()

        self.generator.zero_grad()
        judged_again = self.discriminator(fake).view(-1)
        loss_generator = self.criterion(judged_again, ones)
        loss_generator.backward()
        self.optimizer_g.step()
        return StepFigures(
            (loss_real + loss_fake).item(),
            loss_generator.item(),
            judged_real.mean().item(),
            judged_fake.mean().item(),
            judged_again.mean().item(),
        )

    def sampler(self, training: bool) -> nn.Module:
        """A copy of the generator as it is now; its batch norm uses the batch's statistics or else the running ones."""
        return copy.deepcopy(self.generator).train(training).requires_grad_(False)


def shuffled(images: Tensor, batch: int, seed: int = 0) -> Iterator[Tensor]:
    """Endless batches of `images` [n, ...], in a new order each epoch; what is left over at its end is left out."""
    randomness = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(images), generator=randomness)
        for first in range(0, len(images) - batch + 1, batch):
            yield images[order[first : first + batch]]


def _generator(size: int, channels: int, width: int, latent_dim: int) -> nn.Sequential:
    features = width * size // 8
    layers: list[nn.Module] = [nn.ConvTranspose2d(latent_dim, features, 4, 1, 0, bias=False)]
    while features > width:
        layers += [nn.BatchNorm2d(features), nn.ReLU(inplace=True)]
        layers.append(nn.ConvTranspose2d(features, features // 2, 4, 2, 1, bias=False))
        features //= 2
    layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False), nn.Tanh())


def _discriminator(size: int, channels: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    features = width
    while features < width * size // 8:
        layers.append(nn.Conv2d(features, features * 2, 4, 2, 1, bias=False))
        features *= 2
        layers += [nn.BatchNorm2d(features), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(features, 1, 4, 1, 0, bias=False), nn.Sigmoid())


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)
        nn.init.zeros_(layer.bias)
