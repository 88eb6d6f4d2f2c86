"""The networks of GAN-CLS and GAWWN have the parameters that a count by hand of their papers' layers gives."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from ganlib.methods.gan_cls import TextBesideMap, TextGenerator, TextProjection
from ganlib.networks.base import ImageShape
from ganlib.networks.dcgan import DCGANDiscriminatorConfig, DCGANGeneratorConfig
from ganlib.networks.gawwn import GawwnDiscriminatorConfig, GawwnGeneratorConfig
from ganlib.networks.text import TextConfig, TextEncoder, Told, short_form

WORDS, EMBEDDING, DIM, SHORT, LATENT = 30, 256, 1024, 128, 100
TEXT = TextConfig(vocabulary=tuple(f"w{n}" for n in range(WORDS)), words=8, embedding=EMBEDDING, dim=DIM)
"""The faithful recipes', on a vocabulary of thirty words."""
K = 5
"""Keypoints."""

# A vector a word and one for none; three words to DIM, a bias; a GRU's three gates of two matrices and two biases; a
# norm's gains and biases.
ENCODER = (WORDS + 1) * EMBEDDING + 3 * EMBEDDING * DIM + DIM + 3 * (2 * DIM * DIM + 2 * DIM) + 2 * DIM
TOLD = ENCODER + DIM * SHORT + SHORT


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def normed(maps: Sequence[int]) -> int:
    """4x4 convolutions from each map to the next without a bias, and batch norm of what comes out."""
    return sum(16 * a * b + 2 * b for a, b in pairwise(maps))


def biased(maps: Sequence[int]) -> int:
    """4x4 convolutions with a bias, no norm."""
    return sum(16 * a * b + b for a, b in pairwise(maps))


def test_the_encoder_of_words() -> None:
    with torch.device("meta"):
        assert parameters(TextEncoder(WORDS, EMBEDDING, DIM)) == ENCODER == 7_095_040


def test_gan_cls_at_64() -> None:
    """DCGAN of f = 64: 2,765,568 parameters in D, whose last map is 4x4x512; 3,576,704 in G at a z of 100."""
    rgb64 = ImageShape(64, 64, 3)
    with torch.device("meta"):
        judge = DCGANDiscriminatorConfig(kind="dcgan").build(rgb64)
        assert parameters(judge) == 2_765_568
        beside = TextBesideMap(TEXT, judge, SHORT, rgb64)
        assert parameters(beside) == 2_765_568 + TOLD + (512 + SHORT) * 512 + 512 == 10_320_000
        projection = TextProjection(TEXT, DCGANDiscriminatorConfig(kind="dcgan").build(rgb64))
        assert parameters(projection) == 2_765_568 + ENCODER + DIM * 512 * 16 == 18_249_216
        network = DCGANGeneratorConfig(kind="dcgan").build(LATENT + SHORT, rgb64)
        generator = TextGenerator(Told(TEXT, short_form(DIM, SHORT)), network)
        # The short form beside z: 128 more inputs of the first 4x4x512.
        assert parameters(generator) == 3_576_704 + SHORT * 16 * 512 + TOLD == 11_851_520


RGB128 = ImageShape(128, 128, 3)
GENERATOR = GawwnGeneratorConfig(width=64, widest=512, map=16, local="masked", coarse=128)
DISCRIMINATOR = GawwnDiscriminatorConfig(width=64, widest=512, map=16, local="masked", norm="batch", projection=False)
# 64 features at 64x64, twice as many at each halving to 512: 16x16x256 where the paths meet, 8x8x512, 4x4x512.
LATER = normed([256, 128, 64]) + 2 * 256 + 16 * 64 * 3 + 3
"""The generator's, from the joined 16x16 map (its norm) to 128x128."""


def up(vector: int, *maps: int) -> int:
    """A linear layer to 4x4 without a bias, its norm, and doublings."""
    return vector * 16 * maps[0] + 2 * maps[0] + normed(maps)


def test_gawwns_generator_of_boxes_at_128() -> None:
    coarse = normed([SHORT, 512, 512]) + 16 * 512 * 128 + 128
    path = up(LATENT + 128, 512, 512, 256)
    join = 9 * (256 + 256) * 256
    with torch.device("meta"):
        network = GENERATOR.build(TEXT, SHORT, LATENT, RGB128, 0)
    assert parameters(network) == TOLD + coarse + 2 * path + join + LATER == 31_682_435


def test_gawwns_generator_of_keypoints_in_the_boxs_frame() -> None:
    """The coarse layout is of their K maps; text, the box's four numbers and three a keypoint go to the local path."""
    coarse = normed([K, 512, 512]) + 16 * 512 * 128 + 128
    globally = up(LATENT + 128 + SHORT, 512, 512, 256)
    locally = up(LATENT + SHORT + 4 + 3 * K, 512, 512)
    join = 9 * (256 + 512 + K) * 256
    with torch.device("meta"):
        network = GENERATOR.model_copy(update={"local": "warped"}).build(TEXT, SHORT, LATENT, RGB128, K)
    assert parameters(network) == TOLD + coarse + globally + locally + join + LATER == 30_382_723


def test_gawwns_discriminator_of_boxes_at_128() -> None:
    trunk = biased([3, 64]) + normed([64, 128, 256])
    to_vector = 16 * 512 * 512 + 512
    # What is cropped is 8x8: one halving more; the whole has two.
    locally = 9 * (256 + SHORT) * 512 + 512 + normed([512, 512]) + to_vector
    globally = normed([256, 512, 512]) + to_vector
    ends = SHORT * 512 + 512 + 512 + 1
    with torch.device("meta"):
        network = DISCRIMINATOR.build(TEXT, SHORT, RGB128, 0)
    assert parameters(network) == TOLD + 2 * trunk + locally + globally + ends == 29_259_777


def test_gawwns_discriminator_of_keypoints_without_norms() -> None:
    """Masked, it stays 16x16: two halvings on each path; the text's code is projected on the vector of both."""
    trunk = biased([3, 64, 128, 256])
    to_vector = biased([256, 512, 512]) + 16 * 512 * 512 + 512
    mix = 9 * (256 + SHORT + K) * 256 + 256
    ends = SHORT * 512 + 512 + 512 + 1 + DIM * 512
    with torch.device("meta"):
        network = DISCRIMINATOR.model_copy(update={"norm": "none", "projection": True}).build(TEXT, SHORT, RGB128, K)
    assert parameters(network) == TOLD + 2 * trunk + mix + 2 * to_vector + ends == 31_005_953
