"""Images from images: the encoder and generator of SYSTEMS.md A8. What goes in is encoded, and made again from that."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ganlib.data.batches import Batch, normalise, quantise
from ganlib.draws import Draws
from ganlib.methods.base import DataShape, Loss, SampleRequest
from ganlib.methods.blocks import between, in_blocks
from ganlib.methods.game import GameConfig, GameMethod
from ganlib.methods.noise_to_image import check_networks
from ganlib.networks import AnyDiscriminator, AnyGenerator
from ganlib.networks.base import Config
from ganlib.networks.encoder import ConvEncoderConfig


class Reconstruction(Config):
    """The generator's second loss: weight E[|x - G(E(x))|] ("l1") or weight E[(x - G(E(x)))^2] ("l2").

    Means over all numbers of an image in [-1, 1]. The source of A8 gives neither form nor weight.
    """

    kind: Literal["l1", "l2"] = "l1"
    weight: float = Field(10, ge=0)

    def distance(self, made: Tensor, images: Tensor) -> Tensor:
        """The expectation, before its weight: float [n, C, H, W] twice -> a scalar."""
        difference = made.float() - images.float()
        return (difference.abs() if self.kind == "l1" else difference.square()).mean()


class EncoderConfig(GameConfig):
    """What decides a run of this method, but for its optimizers. code: how many numbers the generator starts from."""

    kind: Literal["encoder"]
    encoder: ConvEncoderConfig = ConvEncoderConfig()
    code: int = Field(100, ge=1, le=65536)
    generator: AnyGenerator
    discriminator: AnyDiscriminator
    reconstruction: Reconstruction = Reconstruction()

    @property
    def wants(self) -> frozenset[str]:
        return frozenset({"inputs"})

    @property
    def interpolates(self) -> bool:
        return True

    def check(self, data: DataShape) -> None:
        super().check(data)
        check_networks(self, self.generator, self.discriminator, data)
        self.encoder.check(data.image)

    def build(self, data: DataShape) -> EncoderToImage:
        return EncoderToImage(self, data)


class EncoderGenerator(nn.Module):
    """float [N, C, H, W] in [-1, 1] -> the same, by way of a code [N, code]: one dense layer on the encoder's features.

    `decoder` is any generator, [N, code] -> [N, C, H, W].
    """

    def __init__(self, encoder: nn.Module, features: int, code: int, decoder: nn.Module):
        super().__init__()
        self.encoder, self.dense, self.decoder = encoder, nn.Linear(features, code), decoder
        # Keras' defaults, as the encoder's: see there.
        nn.init.xavier_uniform_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def encode(self, images: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, code]."""
        return self.dense(self.encoder(images))

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.encode(images))


class EncoderToImage(GameMethod):
    """G: x -> code -> x; D: x -> logit. The same images are real for D, and what the fakes are made from."""

    def __init__(self, config: EncoderConfig, data: DataShape):
        discriminator = config.discriminator.build(data.image)
        decoder = config.generator.build(config.code, data.image)
        encoder = config.encoder.build(data.image)
        generator = EncoderGenerator(encoder, config.encoder.features, config.code, decoder)
        super().__init__(config, generator, discriminator)
        self.reconstruction = config.reconstruction

    def draw(self, draws: Draws, stream: str) -> Tensor:
        """float32 [n, 0]: there is no noise."""
        return torch.empty(draws.last - draws.first, 0, device=draws.device)

    def generate(self, batch: Batch, latents: Tensor) -> Tensor:
        return self.generator(batch.images)

    def generator_loss(self, batch: Batch, fakes: Tensor) -> Loss:
        loss = super().generator_loss(batch, fakes)
        distance = self.reconstruction.distance(fakes, batch.images)
        total = loss.total + self.reconstruction.weight * distance
        return Loss(total, loss.parts | {"loss/reconstruction": distance.detach()})

    @torch.no_grad()
    def sample(self, generator: nn.Module, request: SampleRequest) -> Tensor:
        """The request's inputs made again; between each two of them `interpolate` more, their codes on a line.

        The codes between are evenly spaced, a + j / (interpolate + 1) (b - a).
        """
        assert isinstance(generator, EncoderGenerator)
        assert request.inputs is not None, "ganlib.sampling.checked sees to it"
        training = generator.training
        generator.eval()
        device = next(generator.parameters()).device
        pixels = torch.tensor(request.inputs).to(device)
        codes = in_blocks(lambda block: generator.encode(normalise(block)), pixels)
        images = in_blocks(lambda block: quantise(generator.decoder(block)), between(codes, request.interpolate))
        generator.train(training)
        return images.cpu()
