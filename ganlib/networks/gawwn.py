"""GAWWN's two networks (Reed et al. 2016, arXiv 1610.02454, section 4; SYSTEMS.md C2): what to draw, and where.

Where is a box, [N, 4], or keypoints, [N, K, 3]. Both networks have a global path, which sees the whole canvas, and a
local one, which sees the place and nothing else; they meet on a map of M x M cells in the generator, in one vector in
the discriminator. How a path is kept to its place is the field `local`:

- "masked", the paper's: what is outside the box is set to 0, and what is in no cell of a keypoint.
- "warped", ours: the local path draws (or reads) a map in the frame of the box, so that a digit is the same digit
  wherever it stands and however large it is; the generator's is warped into the box, and 0 outside it. The box of
  keypoints is the least one about them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ganlib.networks.base import Config, ImageShape, Reshape, initialise_normal
from ganlib.networks.boxes import box_around, crop, inside, keypoint_maps, warp
from ganlib.networks.layers import BatchNorm
from ganlib.networks.text import TextConfig, Told, comparison, short_form

Local = Literal["masked", "warped"]


class GawwnNetworkConfig(Config):
    """width: features of the map at half the full size, twice as many at each halving, up to `widest`. map: M, the
    cells of the side of the map where the paths meet; 16 in the paper.
    """

    width: int = Field(32, ge=4, le=1024)
    widest: int = Field(256, ge=4, le=4096)
    map: int = Field(16, ge=8, le=256)
    local: Local = "warped"

    def check(self, image: ImageShape) -> None:
        """Raises ValueError, with the reason, where images are not square, or no doublings lead from 4 over map."""
        sides = [4 << doublings for doublings in range(9)]
        if image.height != image.width or image.height not in sides or not 2 * self.map <= image.height:
            raise ValueError(
                f"GAWWN draws square images of 16, 32, 64, ... pixels, at least twice as wide as its map of {self.map} "
                f"cells, not {image.height}x{image.width}"
            )
        if self.map not in sides:
            raise ValueError(f"the map of GAWWN has 8, 16, 32, ... cells a side, not {self.map}")

    def features(self, image: ImageShape, side: int) -> int:
        """How many the map of that side has."""
        return min(self.width * image.height // (2 * side), self.widest)


class GawwnGeneratorConfig(GawwnNetworkConfig):
    """See GawwnGenerator. coarse: numbers of the vector that says the layout."""

    coarse: int = Field(64, ge=1, le=4096)

    def build(self, text: TextConfig, short: int, latent: int, image: ImageShape, keypoints: int) -> GawwnGenerator:
        return GawwnGenerator(self, text, short, latent, image, keypoints)


class GawwnDiscriminatorConfig(GawwnNetworkConfig):
    """See GawwnDiscriminator. norm: batch norm, as in the paper, or none, as a gradient penalty wants it. projection:
    adds <W code, h> to the logit (Miyato & Koyama 2018, arXiv 1802.05637), h being the vector of both paths.
    """

    norm: Literal["none", "batch"] = "none"
    projection: bool = True

    def build(self, text: TextConfig, short: int, image: ImageShape, keypoints: int) -> GawwnDiscriminator:
        return GawwnDiscriminator(self, text, short, image, keypoints)


class GawwnGenerator(nn.Module):
    """([N, z], text, place) -> [N, C, S, S] in [-1, 1].

    The short form of the text, spread over the box (0 outside), or the K maps of the keypoints, are brought down to a
    vector, the coarse layout. With z (and, for keypoints, the text) it is what the global path makes its M x M map of,
    and the masked local path; the warped one has z, the text, and the numbers of the place. The two maps, and those of
    the keypoints, are laid on each other and brought up to the full size.
    """

    def __init__(
        self, config: GawwnGeneratorConfig, text: TextConfig, short: int, latent: int, image: ImageShape, keypoints: int
    ):
        super().__init__()
        self.map, self.warped, self.keypoints = config.map, config.local == "warped", keypoints
        self.told = Told(text, short_form(text.dim, short))
        sides = _sides(4, self.map)
        maps = [config.features(image, side) for side in sides]  # of 4x4 ... M x M
        self.coarse = _down([keypoints or short, *reversed(maps[:-1])], config.coarse)
        vector = latent + config.coarse + (short if keypoints else 0)
        place = 4 + 3 * keypoints
        frame = maps[:-1] if self.warped else maps
        self.globally = _up(vector, maps)
        self.locally = _up(latent + short + place if self.warped else vector, frame)
        later = [config.features(image, side) for side in _sides(self.map, image.height // 2)]
        self.join = nn.Conv2d(maps[-1] + frame[-1] + keypoints, later[0], 3, 1, 1, bias=False)
        self.last = nn.Sequential(
            BatchNorm(later[0]),
            nn.ReLU(inplace=True),
            *(layer for pair in pairwise(later) for layer in _doubling(*pair)),
            nn.ConvTranspose2d(later[-1], image.channels, 4, 2, 1),
            nn.Tanh(),
        )
        _initialise(self)

    def forward(self, z: Tensor, text: Tensor, place: Tensor) -> Tensor:
        told = self.told(text)
        if self.keypoints:
            box, where = box_around(place), keypoint_maps(place, self.map)
            vector = torch.cat([z, told, self.coarse(where)], 1)
        else:
            box, where = place, inside(place, self.map)
            vector = torch.cat([z, self.coarse(told[:, :, None, None] * where)], 1)
        if self.warped:
            numbers = torch.cat([box, _in_frame(place, box)], 1) if self.keypoints else box
            local = warp(self.locally(torch.cat([z, told, numbers], 1)), box, self.map)
        else:
            local = self.locally(vector) * where.amax(1, keepdim=True)
        together = [self.globally(vector), local, *([where] if self.keypoints else [])]
        return self.last(self.join(torch.cat([x.to(z.dtype) for x in together], 1)))


class GawwnDiscriminator(nn.Module):
    """([N, C, S, S], text, place) -> [N] logits.

    Strided convolutions bring the image to M x M, each path with its own. Local: the text's short form is spread
    beside that map (with the maps of keypoints), which is cropped to the box or, masked by keypoints, set to 0 but in
    their cells; then down to a vector. Global: down to a vector, and a linear map of the text added. The sum of the two
    vectors is judged.
    """

    def __init__(
        self, config: GawwnDiscriminatorConfig, text: TextConfig, short: int, image: ImageShape, keypoints: int
    ):
        super().__init__()
        self.map, self.keypoints = config.map, keypoints
        self.cropped = config.local == "warped" or not keypoints
        self.told = Told(text, short_form(text.dim, short))
        norm = config.norm == "batch"
        sides = _sides(self.map, image.height // 2)[::-1]  # half the full size ... M
        trunk = [image.channels, *(config.features(image, side) for side in sides)]
        self.local_trunk, self.global_trunk = (_halvings(trunk, norm, first_norm=False) for _ in range(2))
        sides = _sides(4, self.map // 2)[::-1]
        maps = [config.features(image, side) for side in sides]  # of M / 2 ... 4x4
        width = maps[-1]
        # What is cropped has half as many cells a side: a box is seldom the whole canvas.
        inner = maps if self.cropped else [trunk[-1], *maps]
        mix = nn.Conv2d(trunk[-1] + short + keypoints, inner[0], 3, 1, 1)
        self.locally = nn.Sequential(mix, nn.LeakyReLU(0.2, inplace=True), *_to_vector(inner, width, norm))
        self.globally = _to_vector([trunk[-1], *maps], width, norm)
        self.add = nn.Linear(short, width)
        self.head = nn.Linear(width, 1)
        self.compare = comparison(text.dim, width) if config.projection else None
        if norm:  # without, so small weights would leave next to nothing of an image
            _initialise(self)

    def forward(self, x: Tensor, text: Tensor, place: Tensor) -> Tensor:
        code = self.told.code(text)
        told = self.told.layer(code)
        local = self.local_trunk(x)
        spread = told.to(local.dtype)[:, :, None, None].expand(-1, -1, self.map, self.map)
        where = keypoint_maps(place, self.map).to(local.dtype) if self.keypoints else None
        local = torch.cat([local, spread] if where is None else [local, spread, where], 1)
        if self.cropped:
            local = crop(local, box_around(place) if self.keypoints else place, self.map // 2)
        elif where is not None:
            local = local * where.amax(1, keepdim=True)
        h = F.leaky_relu(self.locally(local) + self.globally(self.global_trunk(x)) + self.add(told), 0.2)
        logits = self.head(h).squeeze(1)
        return logits if self.compare is None else logits + (self.compare(code) * h).sum(1)


def _in_frame(keypoints: Tensor, box: Tensor) -> Tensor:
    """[N, K, 3], [N, 4] -> [N, 3 K]: x and y as shares of the box's sides, all 0 for a part that is not there."""
    points = (keypoints[:, :, :2] - box[:, None, :2]) / box[:, None, 2:].clamp(min=1e-3)
    there = (keypoints[:, :, 2:] > 0).to(keypoints.dtype)
    return (torch.cat([points, there], 2) * there).flatten(1)


def _sides(first: int, last: int) -> list[int]:
    """first, 2 first, ... last."""
    return [first << doublings for doublings in range((last // first).bit_length())]


def _doubling(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), BatchNorm(outputs), nn.ReLU(inplace=True)]


def _up(vector: int, maps: list[int]) -> nn.Sequential:
    """[N, vector] -> 4x4, then doublings; `maps`: the features of each."""
    first = [nn.Linear(vector, maps[0] * 16, bias=False), Reshape(maps[0], 4, 4), BatchNorm(maps[0]), nn.ReLU()]
    return nn.Sequential(*first, *(layer for pair in pairwise(maps) for layer in _doubling(*pair)))


def _halvings(maps: list[int], norm: bool, first_norm: bool = True) -> nn.Sequential:
    """Strided convolutions, LeakyReLU after each; `maps`: the features of what comes in, and after each."""
    layers: list[nn.Module] = []
    for place, (inputs, outputs) in enumerate(pairwise(maps)):
        normed = norm and (first_norm or place > 0)
        layers.append(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=not normed))
        layers += [BatchNorm(outputs)] if normed else []
        layers.append(nn.LeakyReLU(0.2, inplace=True))
    return nn.Sequential(*layers)


def _to_vector(maps: list[int], outputs: int, norm: bool) -> nn.Sequential:
    """Strided convolutions to 4x4, and a convolution of the whole map: [N, maps[0], ...] -> [N, outputs]."""
    return nn.Sequential(*_halvings(maps, norm), nn.Flatten(), nn.Linear(maps[-1] * 16, outputs))


def _down(maps: list[int], outputs: int) -> nn.Sequential:
    """The generator's: the same, with batch norm, and LeakyReLU at the end."""
    return nn.Sequential(*_to_vector(maps, outputs, True), nn.LeakyReLU(0.2, inplace=True))


def _initialise(network: nn.Module) -> None:
    """N(0, 0.02) as DCGAN, but for what reads the text."""
    for name, part in network.named_children():
        if name not in ("told", "compare"):
            initialise_normal(part, std=0.02)
