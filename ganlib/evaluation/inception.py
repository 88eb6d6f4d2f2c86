"""Inception-v3 of 2015, by whose features the literature's FID is taken (Heusel et al. 2017, arXiv 1706.08500).

The network, its weights and its numbers are those of torch-fidelity's `inception-v3-compat`, that is, of the TensorFlow
graph that the paper used: its resize, its average pools that leave the padding out, its last block's maximum pool. What
is computed otherwise is the same function: each batch norm is folded into its convolution, the 1x1 convolutions that
read one input are one, and an average pool before such a convolution stands behind it, where there are fewer channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ganlib.errors import UserError
from ganlib.evaluation.extractor import NetworkExtractor, in_colour
from ganlib.evaluation.weights import PublishedWeights

SIZE = 299
CONVOLUTIONS = 94
WEIGHTS = PublishedWeights(
    "inception",
    "weights-inception-2015-12-05-6726825d.pth",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
_EPSILON = 1e-3


class InceptionExtractor(NetworkExtractor):
    """2,048 features (the last average pool) and 1,008 probabilities (of the logits without their biases).

    `inception` resizes to 299x299 as TensorFlow 1 did, bilinear between the nearest four pixels however far the size
    falls; `inception-clean` with Pillow's antialiased bicubic filter in float, without rounding (Parmar et al. 2022,
    arXiv 2104.11222), cut to the range of pixels as clean-fid does. Grey images are seen as three equal channels.
    """

    block = 32  # what a layer makes of so many stays near a CPU's caches

    def __init__(self, name: Literal["inception", "inception-clean"] = "inception"):
        self.name = name
        path, self.digest = WEIGHTS.find()
        self.network = load_inception(path)
        self._resize = tf1_bilinear if name == "inception" else clean_bicubic
        if name == "inception-clean":  # numbers of before it cut are of another name
            self.digest = hashlib.sha256(f"{self.digest} cut".encode()).hexdigest()

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.network(self._resize(in_colour((images + 1) * 127.5 if images.is_floating_point() else images)))

    def _move(self) -> None:
        self.network.to(self.device)


def tf1_bilinear(images: Tensor) -> Tensor:
    """[n, H, W, 3] of 0 to 255 -> float32 [n, 3, 299, 299], (x - 128) / 128, by TensorFlow 1's resize_bilinear.

    Pixel i of the output stands at i * size / 299 of the input, corner on corner, not middle on middle.
    """
    x = images.to(torch.float32, copy=True).sub_(128).div_(128)
    for axis in (2, 1):
        size = x.shape[axis]
        step = torch.tensor(size / SIZE, dtype=torch.float32)
        place = torch.arange(SIZE, dtype=torch.float32, device=x.device) * step
        low = place.long()
        shape = [1, 1, 1, 1]
        shape[axis] = SIZE
        left, right = x.index_select(axis, low), x.index_select(axis, (low + 1).clamp_max(size - 1))
        x = left.add_(right.sub_(left).mul_((place - low).view(shape)))
    return x.permute(0, 3, 1, 2)  # channels last in memory


def clean_bicubic(images: Tensor) -> Tensor:
    """[n, H, W, 3] of 0 to 255 -> float32 [n, 3, 299, 299], (x - 128) / 128, by Pillow's bicubic filter, in float.

    What the filter's negative lobes take past black or white is cut.
    """
    resized = np.empty((len(images), SIZE, SIZE, 3), np.float32)
    for image, into in zip(images.cpu().numpy(), resized, strict=True):
        for channel in range(3):
            plane = Image.fromarray(image[:, :, channel].astype(np.float32))
            into[:, :, channel] = np.asarray(plane.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    return torch.from_numpy(resized).to(images.device).clamp_(0, 255).sub_(128).div_(128).permute(0, 3, 1, 2)


class InceptionNetwork:
    """float32 [n, 3, 299, 299], channels last -> (float32 [n, 2048], float32 [n, 1008] logits without biases).

    state: the weights by torch-fidelity's names, `X.conv.weight` and `X.bn.*` of each convolution X, `fc.weight`.
    Raises KeyError where some are missing.
    """

    def __init__(self, state: Mapping[str, Tensor]):
        names = [name.removesuffix(".conv.weight") for name in state if name.endswith(".conv.weight")]
        if len(names) != CONVOLUTIONS:
            raise KeyError(f"{len(names)} convolutions")
        self._folded: dict[tuple[str, ...], tuple[Tensor, Tensor]] = {(name,): fold(state, name) for name in names}
        self._head = state["fc.weight"].float()

    def to(self, device: torch.device) -> None:
        """Moves the weights there."""
        self._folded = {names: (weight.to(device), bias.to(device)) for names, (weight, bias) in self._folded.items()}
        self._head = self._head.to(device)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self._conv(x, "Conv2d_1a_3x3", stride=2)  # 149
        x = self._conv(x, "Conv2d_2a_3x3", same=False)  # 147
        x = self._conv(x, "Conv2d_2b_3x3")
        x = F.max_pool2d(x, 3, 2)  # 73
        x = self._conv(x, "Conv2d_3b_1x1")
        x = self._conv(x, "Conv2d_4a_3x3", same=False)  # 71
        x = F.max_pool2d(x, 3, 2)  # 35
        for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            x = self._a(x, name)
        x = self._b(x, "Mixed_6a")  # 17
        for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            x = self._c(x, name)
        x = self._d(x, "Mixed_7a")  # 8
        x = self._e(x, "Mixed_7b", F.avg_pool2d)
        x = self._e(x, "Mixed_7c", F.max_pool2d)
        features = x.mean((2, 3))
        return features, features @ self._head.T

    def _conv(self, x: Tensor, name: str, stride: int = 1, same: bool = True) -> Tensor:
        """Convolution, batch norm and ReLU. Strided ones are not padded, others are where the size stays the `same`."""
        weight, bias = self._folded[name,]
        padding = [side // 2 for side in weight.shape[2:]] if same and stride == 1 else 0
        return F.conv2d(x, weight, bias, stride, padding).relu_()

    def _stems(self, x: Tensor, block: str, *branches: str, pooled: bool = True) -> list[Tensor]:
        """What the 1x1 convolutions of a block make of `x`, each with its ReLU: one convolution, cut apart.

        pooled: the last of them reads `x` averaged over 3x3 places. Both are linear, and the average's weights add up
        to 1 at the borders too, so the average may as well be of what the convolution makes.
        """
        names = tuple(f"{block}.{branch}" for branch in branches)
        if names not in self._folded:
            weights, biases = zip(*(self._folded[name,] for name in names), strict=True)
            self._folded[names] = torch.cat(weights).contiguous(memory_format=torch.channels_last), torch.cat(biases)
        parts = list(F.conv2d(x, *self._folded[names]).split([len(self._folded[name,][1]) for name in names], 1))
        if pooled:
            parts[-1] = F.avg_pool2d(parts[-1], 3, 1, 1, count_include_pad=False)
        return [part.relu_() for part in parts]

    def _a(self, x: Tensor, block: str) -> Tensor:
        stems = ("branch1x1", "branch5x5_1", "branch3x3dbl_1", "branch_pool")
        one, five, double, pool = self._stems(x, block, *stems)
        five = self._conv(five, f"{block}.branch5x5_2")
        for number in (2, 3):
            double = self._conv(double, f"{block}.branch3x3dbl_{number}")
        return torch.cat([one, five, double, pool], 1)

    def _b(self, x: Tensor, block: str) -> Tensor:
        three = self._conv(x, f"{block}.branch3x3", stride=2)
        double = self._conv(self._conv(x, f"{block}.branch3x3dbl_1"), f"{block}.branch3x3dbl_2")
        double = self._conv(double, f"{block}.branch3x3dbl_3", stride=2)
        return torch.cat([three, double, F.max_pool2d(x, 3, 2)], 1)

    def _c(self, x: Tensor, block: str) -> Tensor:
        stems = ("branch1x1", "branch7x7_1", "branch7x7dbl_1", "branch_pool")
        one, seven, double, pool = self._stems(x, block, *stems)
        for number in (2, 3):
            seven = self._conv(seven, f"{block}.branch7x7_{number}")
        for number in (2, 3, 4, 5):
            double = self._conv(double, f"{block}.branch7x7dbl_{number}")
        return torch.cat([one, seven, double, pool], 1)

    def _d(self, x: Tensor, block: str) -> Tensor:
        three, seven = self._stems(x, block, "branch3x3_1", "branch7x7x3_1", pooled=False)
        three = self._conv(three, f"{block}.branch3x3_2", stride=2)
        for number in (2, 3):
            seven = self._conv(seven, f"{block}.branch7x7x3_{number}")
        seven = self._conv(seven, f"{block}.branch7x7x3_4", stride=2)
        return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)

    def _e(self, x: Tensor, block: str, pool: Callable[..., Tensor]) -> Tensor:
        averaged = pool is F.avg_pool2d
        stems = ["branch1x1", "branch3x3_1", "branch3x3dbl_1", *(["branch_pool"] if averaged else [])]
        one, three, double, *last = self._stems(x, block, *stems, pooled=averaged)
        if not averaged:
            last = [self._conv(pool(x, 3, 1, 1), f"{block}.branch_pool")]
        double = self._conv(double, f"{block}.branch3x3dbl_2")
        forks = [self._conv(three, f"{block}.branch3x3_2{side}") for side in "ab"]
        forks += [self._conv(double, f"{block}.branch3x3dbl_3{side}") for side in "ab"]
        return torch.cat([one, *forks, *last], 1)


def fold(state: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Weight (channels last in memory) and bias, float32, of the convolution `name` with its batch norm in it.

    g (Wx - m) / sqrt(v + e) + b = (s W) x + (b - s m), s = g / sqrt(v + e), taken in float64.
    """
    gain, bias, mean, variance = (
        state[f"{name}.bn.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / torch.sqrt(variance + _EPSILON)
    weight = state[f"{name}.conv.weight"].double() * scale.view(-1, 1, 1, 1)
    return weight.float().contiguous(memory_format=torch.channels_last), (bias - scale * mean).float()


def load_inception(path: Path) -> InceptionNetwork:
    """The network of the tensors in a file of torch's. Raises UserError where it holds anything else."""
    try:
        # weights_only: a pickle from elsewhere must not run its code here.
        return InceptionNetwork(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch's reader raises nearly anything on a broken file
        raise UserError(
            f"{path} holds no weights of torch-fidelity's Inception ({type(error).__name__}); remove it, or give "
            f"another with {WEIGHTS.variable}"
        ) from error
