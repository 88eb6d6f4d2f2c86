"""Class conditioning around any network: G is told a class through its input or its norms, D compares with it.

The networks know nothing of classes. A wrapper takes the labels (int64 [N], 0 ... classes - 1) beside the input:

    generator = build_conditional_generator(config, latent_dim, image, classes, "embedding", dim=64)
    discriminator = ProjectionDiscriminator(discriminator_config.build(image), classes)
    logits = discriminator(generator(z, labels), labels)
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from ganlib.networks.base import Discriminator, GeneratorConfig, ImageShape, fill_normal
from ganlib.networks.layers import BatchNorm

How = Literal["embedding", "batch-norm"]


class CurrentLabels:
    """The labels of the forward that is under way, where the norms of one network find them.

    A plain object that a network's norms and its wrapper share. `copy.deepcopy` of the wrapper copies it once, so the
    copy (the moving average) has one of its own, shared by its own norms; it has no state to save.
    """

    labels: Tensor | None = None

    def read(self) -> Tensor:
        """int64 [N]. Raises RuntimeError outside of the wrapper's forward."""
        if self.labels is None:
            raise RuntimeError("conditional batch norm works inside ConditionalGenerator, which knows the labels")
        return self.labels


class ConditionalBatchNorm(BatchNorm):
    """Batch normalisation whose gain and bias are the class's (de Vries et al. 2017, arXiv 1707.00683, section 3.2).

    y_n = weight[c_n] * (x_n - mean) / sqrt(var + eps) + bias[c_n], for [N, C] and [N, C, H, W]; statistics are those of
    all classes together, synchronised as BatchNorm's. weight 1 and bias 0 at the start, [classes, C].
    """

    def __init__(self, features: int, classes: int, current: CurrentLabels, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__(features, momentum, eps)
        self.current = current
        self.weight = nn.Parameter(torch.ones(classes, features))
        self.bias = nn.Parameter(torch.zeros(classes, features))

    def forward(self, x: Tensor) -> Tensor:
        labels = self.current.read()
        shape = [len(x), -1] + [1] * (x.dim() - 2)
        gain, bias = self.weight[labels].view(shape), self.bias[labels].view(shape)
        return (self.normalise(x, None, None) * gain + bias).to(x.dtype)


class ConditionalGenerator(nn.Module):
    """([N, z], int64 [N]) -> [N, C, H, W] in [-1, 1], by any `network`, which is changed in place.

    "embedding": a learned vector of the class, `dim` numbers from N(0, 1) as z's are, is concatenated to z (Mirza &
    Osindero 2014, arXiv 1411.1784, section 3.2), so `network` takes z + dim numbers.
    "batch-norm": each BatchNorm of `network` becomes a ConditionalBatchNorm with its momentum and eps. Raises
    ValueError where it has none.
    """

    def __init__(self, network: nn.Module, classes: int, how: How = "embedding", dim: int = 0):
        super().__init__()
        self.network, self.current = network, CurrentLabels()
        self.embedding: nn.Embedding | None = None
        if how == "embedding":
            self.embedding = _embedding(classes, dim, 1.0)
            return
        norms = [name for name, layer in network.named_modules() if isinstance(layer, BatchNorm)]
        if not norms:
            raise ValueError("conditioning by batch norm wants a generator with batch norm")
        for name in norms:
            old = network.get_submodule(name)
            assert isinstance(old, BatchNorm)
            new = ConditionalBatchNorm(old.running_mean.numel(), classes, self.current, old.momentum, old.eps)
            network.set_submodule(name, new)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        if self.embedding is not None:
            return self.network(torch.cat([z, self.embedding(labels)], dim=1))
        self.current.labels = labels
        try:
            return self.network(z)
        finally:
            self.current.labels = None


class ProjectionDiscriminator(nn.Module):
    """([N, C, H, W], int64 [N]) -> [N] logits: head(phi(x)) + <embedding(y), phi(x)> (Miyato & Koyama 2018, arXiv
    1802.05637, eq. 3), phi being `network.features`.

    Embeddings are N(0, 1 / feature_dim) at the start, so that the two terms begin at one scale.
    """

    def __init__(self, network: Discriminator, classes: int):
        super().__init__()
        self.network = network
        self.embedding = _embedding(classes, network.feature_dim, 1 / math.sqrt(network.feature_dim))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        features = self.network.features(x)
        return self.network.head(features).squeeze(1) + (self.embedding(labels) * features).sum(1)


def check_conditioning(config: GeneratorConfig, how: How, dim: int) -> None:
    """Raises ValueError, with the reason, where the generator of `config` cannot be told its class that way."""
    if how == "batch-norm" and not config.has_batch_norm:
        kind = getattr(config, "kind", type(config).__name__)
        raise ValueError(f"network {kind!r} has no batch norm to be told the class through; condition by 'embedding'")
    if how == "embedding" and dim < 1:
        raise ValueError("conditioning by embedding wants at least one number a class")


def build_conditional_generator(
    config: GeneratorConfig, latent_dim: int, image: ImageShape, classes: int, how: How, dim: int = 0
) -> ConditionalGenerator:
    """The generator of `config`, whose input is made wide enough for the class, in its wrapper."""
    check_conditioning(config, how, dim)
    network = config.build(latent_dim + (dim if how == "embedding" else 0), image)
    return ConditionalGenerator(network, classes, how, dim)


def _embedding(classes: int, dim: int, std: float) -> nn.Embedding:
    """[classes, dim] from N(0, std^2)."""
    return nn.Embedding.from_pretrained(fill_normal(torch.empty(classes, dim), std), freeze=False)
