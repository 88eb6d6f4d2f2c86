"""What methods whose generator draws what a text says have in common: captions, and a D that knows which is whose."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from ganlib.data.batches import Batch, quantise
from ganlib.data.dataset import Dataset
from ganlib.data.split import Split
from ganlib.draws import Draws
from ganlib.methods.base import Loss, MethodConfig, SampleRequest
from ganlib.methods.blocks import between, in_blocks, latents_of
from ganlib.methods.game import GameConfig, GameMethod, Given
from ganlib.methods.noise_to_image import LatentConfig
from ganlib.networks.base import Config
from ganlib.networks.text import TextConfig, Told, Vocabulary


class BetweenTexts(Config):
    """A second loss of G, on images for codes beta a + (1 - beta) b between two texts of the batch, times `weight`.

    GAN-INT (Reed et al. 2016, arXiv 1605.05396, eq. 5): no image goes with such a code, and D, told it, says how well
    an image would. It makes what lies between captions look like images. At weight 0 there is none.
    """

    weight: float = Field(0, ge=0)
    beta: float = Field(0.5, ge=0, le=1)


class TextGameConfig(GameConfig):
    """The fields of such a method; its config adds its networks. `short`: numbers of the text's short form."""

    text: TextConfig = TextConfig()
    short: int = Field(128, ge=1, le=4096)
    latent: LatentConfig = LatentConfig()
    between: BetweenTexts = BetweenTexts()

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"captions"})

    @property
    def wants(self) -> frozenset[str]:
        return frozenset({"captions"})

    @property
    def interpolates(self) -> bool:
        return True

    def fitted(self, dataset: Dataset, begun: MethodConfig | None = None) -> Self:
        """With the words of the dataset's training captions as vocabulary, where none is given.

        Vectors of whole texts have to be there of the held-out captions too: none takes the place of another. A run
        that goes on knows each text by the place that it had at first, whatever its file's order is now.
        """
        text = self.text
        if not text.vocabulary and isinstance(begun, TextGameConfig):
            text = text.model_copy(update={"vocabulary": begun.text.vocabulary})
        captions = dataset.split("train").column("captions")
        assert captions is not None, "training.fit.require_fit sees to it"
        if self.text.vectors is not None:
            captions = [*captions, *(dataset.split("test").column("captions") or ())]
        return self.model_copy(update={"text": text.fitted(captions, f"dataset {dataset.name}")})

    def check_request(self, request: SampleRequest) -> None:
        super().check_request(request)
        if request.captions is not None:
            Vocabulary(self.text).checked(request.captions)

    def told(self, split: Split, rows: NDArray[np.int64]) -> dict[str, Any]:
        """As by default; of a caption the words that training knew, the commonest of all where it knew none."""
        told = super().told(split, rows)
        if not self.text.vocabulary:  # of a recipe that no run has fitted to its dataset yet
            return told
        vocabulary = Vocabulary(self.text)
        known = (vocabulary.known(caption) or self.text.vocabulary[:1] for caption in told["captions"])
        return told | {"captions": tuple(" ".join(words) for words in known)}


class TextGame(GameMethod):
    """G: (z, text, ...) -> x; D: (x, text, ...) -> logits, matching-aware: real images with texts of others are fake.

    `generator(z, text, ...)` and `discriminator(x, text, ...)`: a text is tokens or a code (networks.text.Told).
    """

    def __init__(self, config: TextGameConfig, generator: nn.Module, discriminator: nn.Module):
        """Both networks have the Told that they read texts with as their part `told`."""
        super().__init__(config, generator, discriminator)
        self.latent, self.between, self.vocabulary = config.latent, config.between, Vocabulary(config.text)
        self._last: tuple[Batch, Tensor] | None = None

    def draw(self, draws: Draws, stream: str) -> Tensor:
        return draws.latents(stream, self.latent.dim, self.latent.distribution)

    def place(self, batch: Batch) -> Given:
        """What both sides are told of each image beside its text."""
        return ()

    def text(self, batch: Batch) -> Tensor:
        """int64 [n, words]: tokens of one caption of each record, drawn anew for each batch, and kept for it."""
        if self._last is None or self._last[0] is not batch:
            assert batch.captions is not None, "MethodConfig.needs sees to it"
            device = self.draws.device
            counts = torch.tensor([len(captions) for captions in batch.captions], device=device)
            every = self.vocabulary.tokens([text for captions in batch.captions for text in captions]).to(device)
            chosen = (self.draws.uniform("caption", ()) * counts).long()  # of each record's captions
            self._last = batch, every[counts.cumsum(0) - counts + chosen]
        return self._last[1]

    def other_text(self, text: Tensor) -> Tensor:
        """int64 [n, words]: for each row the text of a record of the global batch, drawn, that says something else.

        Where the one drawn says the same, the next after it that does not; where all do, that very one. Every worker
        knows all texts of the global batch, so that what it draws does not depend on how many workers there are.
        """
        everyone = self.draws.gather(text)  # [batch, words]
        batch = len(everyone)
        start = (self.draws.uniform("other-text", ()) * batch).long()  # [n]
        order = (start[:, None] + torch.arange(batch, device=text.device)) % batch  # [n, batch]
        differs = torch.zeros(len(text), batch, dtype=torch.bool, device=text.device)
        for place in range(text.shape[1]):
            differs |= text[:, place, None] != everyone[:, place]
        first = differs.gather(1, order).to(torch.int8).argmax(1, keepdim=True)  # [n, 1], 0 where there is none
        return everyone[order.gather(1, first).squeeze(1)]

    def given(self, batch: Batch) -> Given:
        return (self.text(batch), *self.place(batch))

    def wrongly_given(self, batch: Batch) -> Given:
        return (self.other_text(self.text(batch)), *self.place(batch))

    def generate(self, batch: Batch, latents: Tensor) -> Tensor:
        return self.generator(latents, *self.given(batch))

    def generator_loss(self, batch: Batch, fakes: Tensor) -> Loss:
        loss = super().generator_loss(batch, fakes)
        if not self.between.weight:
            return loss
        text = self.text(batch)
        other = self.other_text(text)
        sides = [_told(side) for side in (self.generator, self.discriminator)]
        ours, theirs = (torch.lerp(side.code(other), side.code(text), self.between.beta) for side in sides)
        made = self.generator(self.draw(self.draws, "between"), ours, *self.place(batch))
        second = self.game.generator_loss(
            self.discriminator, batch.images, made, (theirs, *self.place(batch)), self.draws
        )
        total = loss.total + self.between.weight * second.total
        return Loss(total, loss.parts | {"loss/between": second.total.detach()})

    def asked_place(self, request: SampleRequest, device: torch.device) -> Given:
        """What a request says beside the texts: [count + (count - 1) * interpolate, ...] each."""
        return ()

    @torch.no_grad()
    def sample(self, generator: nn.Module, request: SampleRequest) -> Tensor:
        """An image for each caption; between each two `interpolate` more: codes, latents and places on a line."""
        assert request.captions is not None, "ganlib.sampling.checked sees to it"
        tokens = self.vocabulary.checked(request.captions)
        training = generator.training
        generator.eval()
        device = next(generator.parameters()).device
        codes = between(in_blocks(_told(generator).code, tokens.to(device)), request.interpolate)
        latent = self.latent
        z = latents_of(request.seed, request.first, request.count, latent.dim, latent.distribution).to(device)
        place = self.asked_place(request, device)
        images = in_blocks(lambda *block: quantise(generator(*block)), between(z, request.interpolate), codes, *place)
        generator.train(training)
        return images.cpu()


def _told(side: nn.Module) -> Told:
    told = side.get_submodule("told")
    assert isinstance(told, Told)
    return told
