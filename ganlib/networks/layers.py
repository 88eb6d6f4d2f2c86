"""Layers that several networks share: norms and dropout that do not depend on the worker count, the "same"-padded
strided convolutions of the systems that were written for TensorFlow, and what discriminators are given: a look at the
batch's variety, a bound on their slope."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganlib.draws import Draws

M = TypeVar("M", bound=nn.Module)


class _SumOverWorkers(torch.autograd.Function):
    """y = sum of x over the workers. Its gradient is the same sum, so it can be differentiated any number of times."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return _SumOverWorkers.apply(gradients[0])


class BatchNorm(nn.Module):
    """Batch normalisation with statistics of the global batch (Ioffe & Szegedy 2015), for [N, C] and [N, C, H, W].

    With one worker it is torch's kernel. With several, the two moments are summed over the workers, on CPU as on GPU
    (torch's SyncBatchNorm refuses CPU tensors), weighted by each worker's row count, and can be differentiated twice.
    Statistics are float32 whatever the input's dtype. `momentum` is torch's: the weight of the new value.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        return self.normalise(x, self.weight, self.bias)

    def normalise(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """weight * (x - mean) / sqrt(var + eps) + bias, of x's dtype; `weight` and `bias`: [C], or None for 1 and 0."""
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if not (self.training and several):
            return F.batch_norm(
                x, self.running_mean, self.running_var, weight, bias, self.training, self.momentum, self.eps
            )
        axes = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        values = x.float()
        rows = values.new_tensor([values.numel() / values.shape[1]])
        sums = _SumOverWorkers.apply(torch.cat([values.sum(axes), rows]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = values - mean.view(shape)
        # The second pass over centred values keeps the digits that E[x^2] - E[x]^2 would cancel.
        variance = _SumOverWorkers.apply(centred.square().sum(axes)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        scale = torch.rsqrt(variance + self.eps)
        if weight is not None:
            scale = weight * scale
        y = centred * scale.view(shape)
        return (y if bias is None else y + bias.view(shape)).to(x.dtype)


class Dropout(nn.Module):
    """Dropout whose mask is a row slice of the global batch's (Srivastava et al. 2014).

    Until `draws` is set (by the trainer), masks come from torch's own generator, as in `nn.Dropout`.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.draws: Draws | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if self.draws is None:
            return F.dropout(x, self.p)
        keep = self.draws.keep_mask(1 - self.p, x.shape[1:])
        return x * keep * (1 / (1 - self.p))


def bind_draws(module: nn.Module, draws: Draws) -> None:
    """Makes every Dropout below `module` draw its masks from `draws`."""
    for layer in module.modules():
        if isinstance(layer, Dropout):
            layer.draws = draws


class SameConv2d(nn.Conv2d):
    """Strided convolution with TensorFlow's "same" padding: [N, C, H, W] -> [N, out, ceil(H / s), ceil(W / s)].

    Where the padding is odd the extra row and column are at the end: `y[i] = sum_k w[k] x[s i + k - before]`.
    """

    def forward(self, x: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        height, width = x.shape[-2:]
        pad: list[int] = []
        for length in (width, height):
            total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            pad += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pad))


class SameConvTranspose2d(nn.ConvTranspose2d):
    """Transposed `SameConv2d`: [N, C, H, W] -> [N, out, s H, s W], the gradient of the "same" convolution."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        before = max(kernel - stride, 0) // 2
        height, width = x.shape[-2] * stride, x.shape[-1] * stride
        # torch crops both ends alike, so the transpose is made whole and cropped where TensorFlow crops it.
        return super().forward(x)[..., before : before + height, before : before + width]


class LayerNorm(nn.GroupNorm):
    """Layer normalisation of an image's whole map (Ba et al. 2016, arXiv 1607.06450), for [N, C] and [N, C, H, W].

    y = weight_c (x - mean) / sqrt(var + eps) + bias_c, mean and (biased) var over C, H and W of one image, as critics
    under a gradient penalty want it (Gulrajani et al. 2017, arXiv 1704.00028, section 4): no image sees another.
    """

    def __init__(self, features: int, eps: float = 1e-5):
        super().__init__(1, features, eps)


class MinibatchStd(nn.Module):
    """Minibatch standard deviation (Karras et al. 2018, arXiv 1710.10196, section 3).

    [N, C, H, W] -> [N, C + 1, H, W]: the new map is one number a group of images, the mean over C, H and W of
    s = sqrt(var + 1e-8), var being biased and over the group. Consecutive rows form groups: floor(N / group) of them,
    as even as can be, so of `group` rows where it divides N and never of fewer but where N is smaller.

    Groups are made within the rows that a worker has. N workers find what one finds where `group` divides each slice;
    elsewhere groups are cut in other places, and results differ by more than rounding.
    """

    def __init__(self, group: int = 4):
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        rows, groups = len(x), max(len(x) // self.group, 1)
        index = torch.arange(rows, device=x.device) * groups // rows  # [N], the group of each row
        member = index == torch.arange(groups, device=x.device)[:, None]  # [groups, N]
        with torch.autocast(x.device.type, enabled=False):
            values = x.flatten(1).to(torch.promote_types(x.dtype, torch.float32))  # [N, C * H * W]
            average = member.to(values.dtype) / member.sum(1, keepdim=True)  # [groups, N], sums to 1
            centred = values - (average @ values)[index]
            spread = (average @ centred.square() + 1e-8).sqrt().mean(1)  # [groups]
        new = spread[index].to(x.dtype).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
        return torch.cat([x, new], dim=1)


def judges_each_alone(module: nn.Module) -> bool:
    """Whether a row of what `module` makes depends on its own row of the input alone.

    Where it does, real and fake images may go through a discriminator as one batch, which is faster.
    """
    return not any(isinstance(layer, BatchNorm | Dropout | MinibatchStd) for layer in module.modules())


def with_spectral_norm(module: M) -> M:
    """Divides each weight of `module` by its largest singular value (Miyato et al. 2018, arXiv 1802.05957, eq. 8-9).

    Weights of convolutions, linear layers and embeddings, as matrices [out, rest]; `module` is changed in place and
    returned. One step of power iteration a forward in training, none in evaluation, from 15 steps at the start. Built
    on the meta device, where there are no numbers, `module` stays as it is.

    Raises ValueError where a weight is all zero and has no such scale.
    """
    for name, layer in list(module.named_modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding) and not layer.weight.is_meta:
            if not layer.weight.any():
                raise ValueError(f"spectral norm cannot divide by the norm of {name}.weight, which is 0 at the start")
            spectral_norm(layer)
    return module
