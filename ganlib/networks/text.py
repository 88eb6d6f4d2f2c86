"""Text for networks: the words that a run knows, and an encoder of them that is trained with the GAN.

Captions of a few dozen words ("blue hair and red eyes", "a seven in the top left") are learned in minutes. So each side
of a game has an encoder of its own, trained by its own loss, as the embeddings of classes are (`conditional.py`): D's
by telling right captions from wrong ones, which is what matching images to captions beforehand would teach it, and G's
through D. Neither side's steps change what the other reads, and sampling needs no more than the generator.

Vectors of whole texts that a larger encoder made elsewhere take the place of the words' where a file of them is named;
what is trained of them is a linear layer.
"""

from __future__ import annotations

import difflib
import math
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
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

    vectors: an .npz of vectors of whole texts, made elsewhere: `texts`, n strings, and `vectors`, float [n, k]. The
    vocabulary is then those texts, each one word of k numbers (`embedding`), in the order that the file has when the
    run begins. A checkpoint holds them: the file is read where a run begins or goes on, not for samples.
    """

    vocabulary: tuple[str, ...] = ()
    words: int = Field(0, ge=0, le=1024)
    embedding: int = Field(64, ge=1, le=16384)
    dim: int = Field(64, ge=1, le=4096)
    vectors: str | None = None

    def key(self, text: str) -> list[str]:
        """What the vocabulary knows of a text: its words, or all of it, in their spelling."""
        words = words_of(text)
        return words if self.vectors is None else [" ".join(words)] if words else []

    def fitted(self, captions: Iterable[Sequence[str]], place: str) -> TextConfig:
        """This config with the words of `captions`, each record's. Raises UserError where these have none, and where
        there is a file of vectors that cannot be read or lacks one of these texts."""
        if self.vectors is not None:
            found, vectors = read_vectors(self.vectors)
            vocabulary, there = self.vocabulary or tuple(found), set(found)
            lacking = next((text for text in vocabulary if text not in there), None)
            if lacking is not None:
                raise UserError(f"{self.vectors} (method.text.vectors) lacks {lacking!r}, of method.text.vocabulary")
            config = self.model_copy(update={"vocabulary": vocabulary, "words": 1, "embedding": vectors.shape[1]})
            known = Vocabulary(config)
            lacking = next((said for record in captions for said in record if not known.known(said)), None)
            if lacking is not None:
                raise UserError(f"{self.vectors} (method.text.vectors) lacks {lacking!r}, a caption of {place}")
            return config
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

    def build(self) -> nn.Module:
        """int64 tokens [N, L] -> float32 [N, dim]."""
        if self.vectors is not None:
            return TextVectors(self.vocabulary, self.embedding, self.dim, self.vectors)
        return TextEncoder(len(self.vocabulary), self.embedding, self.dim)


def read_vectors(file: str) -> tuple[list[str], NDArray[np.float32]]:
    """(n texts as the vocabulary spells them, float32 [n, k]). Raises UserError for what is no such file."""
    wrong = f"{file} (method.text.vectors) is no .npz of texts (n strings) and vectors (numbers [n, k])"
    try:
        with np.load(file, allow_pickle=False) as content:
            texts, vectors = content["texts"], content["vectors"]
    except OSError as error:
        raise UserError(f"{file} (method.text.vectors) cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise UserError(wrong) from error
    if texts.ndim != 1 or texts.dtype.kind != "U" or vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise UserError(wrong)
    if len(texts) != len(vectors) or not len(texts) or not np.isfinite(vectors).all():
        raise UserError(f"{wrong}: {len(texts)} texts and {len(vectors)} vectors, all of them finite")
    spelled = [" ".join(words_of(str(text))) for text in texts]
    double = [text for text, count in Counter(spelled).items() if count > 1 or not text]
    if double:
        raise UserError(f"{wrong}, each text once and of some word, which {double[0]!r} is not")
    return spelled, vectors.astype(np.float32)


class Vocabulary:
    """Texts to tokens, int64 [n, words]: 1 + the place of each word in the vocabulary, 0 after the last."""

    def __init__(self, config: TextConfig):
        self.vocabulary, self.words, self._config = config.vocabulary, max(config.words, 1), config
        self._place = {word: place for place, word in enumerate(config.vocabulary, 1)}

    def known(self, text: str) -> list[str]:
        """The words of a text that are known, as many of them as are read."""
        return [word for word in self._config.key(text) if word in self._place][: self.words]

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Of texts as they come in training: words that are not known, and those past the last, are left out."""
        rows = [[self._place[word] for word in self.known(text)] for text in texts]
        filled = [row + [0] * (self.words - len(row)) for row in rows]
        return torch.tensor(filled, dtype=torch.int64, device="cpu").view(len(texts), self.words)

    def checked(self, texts: Sequence[str]) -> Tensor:
        """Of texts that a person gave. Raises UserError for one without a word, too long, or with unknown words."""
        for text in texts:
            words = self._config.key(text)
            if not words:
                raise UserError(f"the text {text!r} has no word; say what to draw")
            unknown = sorted({word for word in words if word not in self._place})
            if unknown:
                near = [n for word in unknown for n in difflib.get_close_matches(word, self.vocabulary, 1)]
                some = ", ".join(list(dict.fromkeys([*near, *self.vocabulary]))[:_SHOWN])
                of = f" and {len(self.vocabulary) - _SHOWN} more" if len(self.vocabulary) > _SHOWN else ""
                what = "words unknown here" if self._config.vectors is None else "no vector here"
                raise UserError(f"the text {text!r} has {what}: {', '.join(unknown)} (known: {some}{of})")
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


class TextVectors(nn.Module):
    """int64 [N, 1] tokens, 0 for none -> float32 [N, dim]: layer norm of a linear layer of the vectors of whole texts.

    The vectors, [n + 1, k] with none in the first place and then those of `texts`, in their order, are a buffer: they
    are kept in a checkpoint and not trained. Where `file` is not there they are zeros until a checkpoint's are loaded.
    """

    vectors: Tensor

    def __init__(self, texts: Sequence[str], numbers: int, dim: int, file: str):
        super().__init__()
        vectors = torch.zeros(len(texts) + 1, numbers)
        if not vectors.is_meta and Path(file).is_file():
            found, given = read_vectors(file)
            place = {text: row for row, text in enumerate(found)}
            vectors[1:] = torch.from_numpy(given[[place[text] for text in texts]])
        self.register_buffer("vectors", vectors)
        self.linear, self.norm = nn.Linear(numbers, dim), nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        with torch.autocast(tokens.device.type, enabled=False):
            return self.norm(self.linear(self.vectors[tokens[:, 0]]))


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
