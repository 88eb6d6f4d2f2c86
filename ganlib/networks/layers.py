"""Layers that several networks share: batch statistics and dropout that do not depend on the worker count, and the
"same"-padded strided convolutions of the systems that were written for TensorFlow."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from ganlib.draws import Draws


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
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if not (self.training and several):
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
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
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)


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
