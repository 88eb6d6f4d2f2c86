"""Words to tokens to codes, and what is said of a text that cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ganlib.errors import UserError
from ganlib.networks.text import TextConfig, TextEncoder, Vocabulary, words_of

CAPTIONS = [["Blue hair, red eyes!"], ["red hair", "a red-haired one"], ["blue_eyes 2"]]


def test_words_are_letters_and_digits_in_lower_case() -> None:
    assert words_of("Blue hair, RED-eyes! no_2 Äpfel") == ["blue", "hair", "red", "eyes", "no", "2", "äpfel"]
    assert words_of(" ... ") == []


def test_a_vocabulary_is_that_of_the_captions_the_most_frequent_first() -> None:
    fitted = TextConfig().fitted(CAPTIONS, "dataset x")
    assert fitted.vocabulary == ("red", "blue", "eyes", "hair", "2", "a", "haired", "one")
    assert fitted.words == 4
    given = TextConfig(vocabulary=("red",), words=2).fitted(CAPTIONS, "dataset x")
    assert (given.vocabulary, given.words) == (("red",), 2)
    with pytest.raises(UserError, match="the captions of dataset x hold no word"):
        TextConfig().fitted([["..."], ["!"]], "dataset x")


def test_tokens_leave_out_what_is_unknown_and_what_is_too_long() -> None:
    vocabulary = Vocabulary(TextConfig(vocabulary=("red", "hair", "eyes"), words=2))
    found = vocabulary.tokens(["red hair", "Eyes", "very red, red eyes", "?"])
    assert found.tolist() == [[1, 2], [3, 0], [1, 1], [0, 0]]
    assert found.dtype == torch.int64


def test_a_persons_text_is_refused_with_what_is_known() -> None:
    vocabulary = Vocabulary(TextConfig(vocabulary=("red", "hair", "eyes", "blue"), words=3))
    assert vocabulary.checked(["blue eyes"]).tolist() == [[4, 3, 0]]
    with pytest.raises(UserError, match=r"unknown here: bleu, glasses \(known: blue, red, hair, eyes\)$"):
        vocabulary.checked(["blue eyes", "bleu eyes and glasses".replace("and ", "")])
    with pytest.raises(UserError, match="has no word"):
        vocabulary.checked(["?!"])
    with pytest.raises(UserError, match="has 4 words, and 3 are read"):
        vocabulary.checked(["red hair blue eyes"])
    many = Vocabulary(TextConfig(vocabulary=tuple(f"w{n}" for n in range(40)), words=3))
    with pytest.raises(UserError, match=r"w11 and 28 more\)"):
        many.checked(["zzz"])


def test_the_encoder_is_what_its_formula_says() -> None:
    """Vectors, convolution over three words, LeakyReLU, a GRU, the mean, a layer norm: by loops in float64."""
    torch.manual_seed(0)
    encoder = TextEncoder(5, 3, 4).double()
    tokens = [2, 5, 1]
    w = {name: value.detach().numpy() for name, value in encoder.named_parameters()}
    assert not w["embedding.weight"][0].any()
    padded = np.stack([np.zeros(3), *(w["embedding.weight"][token] for token in tokens), np.zeros(3)])
    x = np.stack([np.einsum("oik,ki->o", w["conv.weight"], padded[i : i + 3]) + w["conv.bias"] for i in range(3)])
    x = np.where(x > 0, x, 0.2 * x)
    h, states = np.zeros(4), []
    for step in x:
        a = w["gru.weight_ih_l0"] @ step + w["gru.bias_ih_l0"]
        b = w["gru.weight_hh_l0"] @ h + w["gru.bias_hh_l0"]
        r, z = 1 / (1 + np.exp(-(a[:4] + b[:4]))), 1 / (1 + np.exp(-(a[4:8] + b[4:8])))
        h = (1 - z) * np.tanh(a[8:] + r * b[8:]) + z * h
        states.append(h)
    mean = np.mean(states, 0)
    expected = (mean - mean.mean()) / np.sqrt(mean.var() + 1e-5)
    padding = torch.tensor([[*tokens, 0, 0, 0], [0] * 6])
    found = encoder(padding)
    np.testing.assert_allclose(found[0].detach().numpy(), expected, rtol=1e-9)
    # However much is padded.
    torch.testing.assert_close(encoder(torch.tensor([tokens])), found[:1])
    assert not found[1].any()


def test_vectors_of_whole_texts_are_looked_up_and_brought_to_size_by_a_linear_layer(tmp_path: Path) -> None:
    file = tmp_path / "vectors.npz"
    given = np.arange(8, dtype=np.float64).reshape(2, 4) ** 2
    np.savez(file, texts=np.array(["Blue hair, red eyes", "red hair"]), vectors=given)
    config = TextConfig(dim=3, vectors=str(file)).fitted([["red hair!"], ["blue HAIR red eyes"]], "dataset x")
    assert (config.vocabulary, config.words, config.embedding) == (("blue hair red eyes", "red hair"), 1, 4)
    tokens = Vocabulary(config).checked(["red hair", "Blue hair: red eyes"])
    assert tokens.tolist() == [[2], [1]]
    encoder = config.build()
    linear = encoder.linear  # type: ignore[union-attr]
    line = given[[1, 0]] @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
    expected = (line - line.mean(1, keepdims=True)) / np.sqrt(line.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(encoder(tokens).detach().numpy(), expected, rtol=1e-4)
    assert not [name for name, _ in encoder.named_parameters() if "vectors" in name]
    with pytest.raises(UserError, match=r"no vector here: green hair \(known: red hair, blue hair red eyes\)"):
        Vocabulary(config).checked(["green hair"])
    with pytest.raises(UserError, match="lacks 'green hair', a caption of dataset x"):
        TextConfig(vectors=str(file)).fitted([["red hair"], ["green hair"]], "dataset x")
    # A run that goes on has its own order of texts, in whatever order the file has them by then.
    np.savez(file, texts=np.array(["red hair", "green hair", "blue hair red eyes"]), vectors=given[[1, 0, 0]] + 1)
    again = config.fitted([["red hair"]], "dataset x")
    assert again == config
    assert again.build().vectors.tolist() == [[0] * 4, *(given + 1).tolist()]
    with pytest.raises(UserError, match=r"lacks 'green', of method\.text\.vocabulary"):
        config.model_copy(update={"vocabulary": ("green",)}).fitted([["red hair"]], "dataset x")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"PK and no archive", "is no .npz"),
        ({"texts": np.array(["a"]), "vectors": np.array([["x"]])}, "is no .npz"),
        ({"texts": np.array([{}]), "vectors": np.ones((1, 2))}, "is no .npz"),  # a pickle, which is not loaded
        ({"texts": np.array(["a", "b"]), "vectors": np.ones((1, 2))}, "2 texts and 1 vectors"),
        ({"texts": np.array(["a"]), "vectors": np.full((1, 2), np.inf)}, "all of them finite"),
        ({"texts": np.array(["a b", "A-B"]), "vectors": np.ones((2, 2))}, "which 'a b' is not"),
    ],
)
def test_what_is_no_file_of_vectors_is_said_in_a_line(
    content: bytes | dict[str, np.ndarray] | None, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "vectors.npz"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        np.savez(file, **content)
    with pytest.raises(UserError, match=said) as error:
        TextConfig(vectors=str(file)).fitted([["a"]], "dataset x")
    assert "\n" not in str(error.value)
