"""Images from a text and a place: GAWWN, SYSTEMS.md C2 (Reed et al. 2016, arXiv 1610.02454)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ganlib.data.batches import Batch
from ganlib.diffaug import DiffAugment
from ganlib.methods.base import DataShape, SampleRequest
from ganlib.methods.blocks import between
from ganlib.methods.game import Given
from ganlib.methods.text_game import TextGame, TextGameConfig
from ganlib.networks.gawwn import GawwnDiscriminatorConfig, GawwnGeneratorConfig

Where = Literal["boxes", "keypoints"]
COLUMNS: dict[Where, str] = {"boxes": "box", "keypoints": "keypoints"}


class GawwnConfig(TextGameConfig):
    """What decides a run of this method, but for its optimizers. where: how a place is told, by a box or keypoints."""

    kind: Literal["gawwn"]
    where: Where = "boxes"
    generator: GawwnGeneratorConfig = GawwnGeneratorConfig()
    discriminator: GawwnDiscriminatorConfig = GawwnDiscriminatorConfig()

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"captions", COLUMNS[self.where]})

    @property
    def wants(self) -> frozenset[str]:
        return frozenset({"captions", self.where})

    def check(self, data: DataShape) -> None:
        super().check(data)
        for network in (self.generator, self.discriminator):
            network.check(data.image)
        if self.where == "keypoints" and not data.keypoints:
            raise ValueError("method.where=keypoints needs some: give their number as data.keypoints")
        if isinstance(self.augment, DiffAugment) and self.augment.translation:
            raise ValueError(
                "the discriminator is told a place in the image, and method.augment would move the image alone; "
                "set method.augment.translation=false"
            )

    def build(self, data: DataShape) -> Gawwn:
        return Gawwn(self, data)


class Gawwn(TextGame):
    """G: (z, text, place) -> x; D: (x, text, place) -> logit."""

    def __init__(self, config: GawwnConfig, data: DataShape):
        keypoints = data.keypoints if config.where == "keypoints" else 0
        text, short, latent = config.text, config.short, config.latent.dim
        generator = config.generator.build(text, short, latent, data.image, keypoints)
        discriminator = config.discriminator.build(text, short, data.image, keypoints)
        super().__init__(config, generator, discriminator)
        self.where = config.where

    def place(self, batch: Batch) -> Given:
        place = batch.boxes if self.where == "boxes" else batch.keypoints
        assert place is not None, "MethodConfig.needs sees to it"
        return (place,)

    def asked_place(self, request: SampleRequest, device: torch.device) -> Given:
        """Between two requests the places lie on a line; a part that only one of the two has is left out."""
        asked = request.boxes if self.where == "boxes" else request.keypoints
        assert asked is not None, "ganlib.sampling.checked sees to it"
        place: Tensor = between(torch.tensor(asked, device=device), request.interpolate)
        return (place if self.where == "boxes" else place * (place[:, :, 2:] == 1),)
