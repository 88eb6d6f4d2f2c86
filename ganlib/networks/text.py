"""Text for networks: the words that a run knows, and an encoder of them that is trained with the GAN.

Captions of a few dozen words ("blue hair and red eyes", "a seven in the top left") are learned in minutes. So each side
of a game has an encoder of its own, trained by its own loss, as the embeddings of classes are (`conditional.py`): D's
by telling right captions from wrong ones, which is what matching images to captions beforehand would teach it, and G's
through D. Neither side's steps change what the other reads, and sampling needs no more than the generator.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ganlib.errors import UserError
from ganlib.networks.base import Config, fill_normal

_SHOWN = 12


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case: all between what is no letter and no digit."""
    return re.findall(r"[^\W_]+", text.lower())


class TextConfig(Config):
    """vocabulary: the words known; empty: those of the training captions, the most frequent first. words: the most that
    are read of one text; 0: as many as the longest training caption has. embedding, dim: numbers a word, a text.
    """

    vocabulary: tuple[str, ...] = ()
    words: int = Field(0, ge=0, le=1024)
    embedding: int = Field(64, ge=1, le=4096)
    dim: int = Field(64, ge=1, le=4096)

    def fitted(self, captions: Iterable[Sequence[str]], place: str) -> TextConfig:
        """This config with the words of `captions`, each record's. Raises UserError where these have none."""
        texts = [words_of(caption) for record in captions for caption in record]
        counts = Counter(word for text in texts for word in text)
        if not counts:
            raise UserError(f"the captions of {place} hold no word; prepare it again from a source that has captions")
        usual = tuple(sorted(counts, key=lambda word: (-counts[word], word)))
        return self.model_copy(
            update={
                "vocabulary": self.vocabulary or usual,
                "words": self.words or min(max(map(len, texts)), 1024),
            }
        )

    def build(self) -> TextEncoder:
        return TextEncoder(len(self.vocabulary), self.embedding, self.dim)


class Vocabulary:
    """Texts to tokens, int64 [n, words]: 1 + the place of each word in the vocabulary, 0 after the last."""

    def __init__(self, config: TextConfig):
        self.vocabulary, self.words = config.vocabulary, max(config.words, 1)
        self._place = {word: place for place, word in enumerate(config.vocabulary, 1)}

    def known(self, text: str) -> list[str]:
        """The words of a text that are known, as many of them as are read."""
        return [word for word in words_of(text) if word in self._place][: self.words]

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Of texts as they come in training: words that are not known, and those past the last, are left out."""
        found = torch.zeros(len(texts), self.words, dtype=torch.int64)
        for row, text in enumerate(texts):
            places = [self._place[word] for word in self.known(text)]
            found[row, : len(places)] = torch.tensor(places, dtype=torch.int64)
        return found

    def checked(self, texts: Sequence[str]) -> Tensor:
        """Of texts that a person gave. Raises UserError for one without a word, too long, or with unknown words."""
        for text in texts:
            words = words_of(text)
            if not words:
                raise UserError(f"the text {text!r} has no word; say what to draw")
            unknown = sorted({word for word in words if word not in self._place})
            if unknown:
                near = [n for word in unknown for n in difflib.get_close_matches(word, self.vocabulary, 1)]
                some = ", ".join(list(dict.fromkeys([*near, *self.vocabulary]))[:_SHOWN])
                of = f" and {len(self.vocabulary) - _SHOWN} more" if len(self.vocabulary) > _SHOWN else ""
                raise UserError(f"the text {text!r} has words unknown here: {', '.join(unknown)} (known: {some}{of})")
            if len(words) > self.words:
                raise UserError(f"the text {text!r} has {len(words)} words, and {self.words} are read; shorten it")
        return self.tokens(texts)


class TextEncoder(nn.Module):
    """int64 [N, L] tokens, 0 past the end -> float32 [N, dim]: a CNN-GRU on words, as Reed et al. 2016's on characters
    (arXiv 1605.05396, section 3.1, after arXiv 1605.05395).

    A vector a word, a convolution over three words, a GRU, the mean of its states over the words, and a layer norm. A
    text without a word is the norm's bias. How much is padded changes nothing.
    """

    def __init__(self, words: int, embedding: int, dim: int):
        super().__init__()
        vectors = fill_normal(torch.empty(words + 1, embedding), 1.0)
        if not vectors.is_meta:
            vectors[0] = 0
        self.embedding = nn.Embedding.from_pretrained(vectors, freeze=False, padding_idx=0)
        self.conv = nn.Conv1d(embedding, dim, 3, padding=1)
        self.gru = nn.GRU(dim, dim, batch_first=True)
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        # In float32 whatever the networks compute in: it costs nothing beside them.
        with torch.autocast(tokens.device.type, enabled=False):
            seen = (tokens > 0).to(torch.float32)  # [N, L]
            x = F.leaky_relu(self.conv(self.embedding(tokens).mT), 0.2).mT  # [N, L, dim]
            states, _ = self.gru(x)
            mean = (states * seen[:, :, None]).sum(1) / seen.sum(1, keepdim=True).clamp(min=1)
            return self.norm(mean)


def short_form(dim: int, short: int) -> nn.Module:
    """[N, dim] -> [N, short]: a linear layer and LeakyReLU, to 128 numbers in GAN-CLS (Reed et al. 2016, 4.1)."""
    return nn.Sequential(nn.Linear(dim, short), nn.LeakyReLU(0.2))


def comparison(dim: int, features: int) -> nn.Linear:
    """W of a projection <W code, features> (Miyato & Koyama 2018, arXiv 1802.05637, eq. 3): [N, dim] -> [N, features].

    N(0, 1 / (dim features)) at the start, so that what it adds to a logit begins no larger than the rest.
    """
    line = nn.Linear(dim, features, bias=False)
    fill_normal(line.weight.data, 1 / math.sqrt(dim * features))
    return line


class Told(nn.Module):
    """What one side makes of a text: a code [N, dim] by an encoder of its own, and [N, k], what `layer` makes of that.

    A text is tokens, int64 [N, L], or a code already, float [N, dim]: one between two texts, or one from elsewhere.
    """

    def __init__(self, config: TextConfig, layer: nn.Module):
        super().__init__()
        self.encoder, self.layer = config.build(), layer

    def code(self, text: Tensor) -> Tensor:
        """[N, dim]."""
        return text if text.is_floating_point() else self.encoder(text)

    def forward(self, text: Tensor) -> Tensor:
        return self.layer(self.code(text))
