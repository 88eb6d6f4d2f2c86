"""GPUs as their makers describe them, and what a round of training takes on one, by its roofline.

The peaks are the data sheets'. What a GAN reaches of them was fitted to four rounds measured on one H200 (`python -m
tests.benchmarks gpu`; DCGAN at batches of 128 and 512, this project's MNIST and avatars), within 15 percent of each;
other GPUs are taken to reach the same shares.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import torch

from ganlib.errors import UserError
from ganlib.scaling.links import Link
from ganlib.scaling.work import Operation, Work

ACHIEVED = 0.6
"""The share of a GPU's peak that convolutions and matrix products of a GAN's sizes reach."""

STREAMED = 0.2
"""The share of its memory's bandwidth that everything else reaches: tensors are small, and many are read twice."""

KERNEL = 4.75e-6
"""Seconds that an operation takes however small it is: some are two kernels, and each has its ramps."""

LAUNCH = 50e-6
"""Seconds in which Python and torch bring one operation on its way where rounds are not replayed: 41 to 55 measured,
beside a virtual machine's Xeon."""

PRICED = "AWS on demand, us-east-1, June 2025, rounded"


@dataclass(frozen=True)
class Gpu:
    """bf16, tf32, fp32: peak TFLOP/s, dense. memory: GB. bandwidth: of the memory, GB/s. link: GB/s each way between
    neighbours in a machine. price: US dollars an hour, `PRICED`; None where none is known.
    """

    name: str
    bf16: float
    tf32: float
    fp32: float
    memory: float
    bandwidth: float
    link: float
    price: float | None = None

    @property
    def inside(self) -> Link:
        """Between two of them in a machine: NVLink, or PCIe by way of the host."""
        return Link(5e-6, self.link * 1e9 * 0.8)

    def seconds(self, work: Work) -> tuple[float, str]:
        """Of one worker's round, without messages, and what bounds it: arithmetic, memory, kernels or launches.

        Each kernel takes the longest of its arithmetic, its traffic and what any takes ("kernels"); all together no
        less than their launches, unless the round is replayed.
        """
        bounds = {"arithmetic": 0.0, "memory": 0.0, "kernels": 0.0}
        for operation, times in work.operations.items():
            taken = {
                "arithmetic": operation.flops / (ACHIEVED * self._peak(operation) * 1e12),
                "memory": operation.bytes / (STREAMED * self.bandwidth * 1e9),
                "kernels": KERNEL,
            }
            longest = max(taken, key=taken.__getitem__)
            bounds[longest] += taken[longest] * times
        total, launches = sum(bounds.values()), work.kernels * LAUNCH
        if launches > total and not work.replayed:
            return launches, "launches"
        return total, max(bounds, key=bounds.__getitem__)

    def _peak(self, operation: Operation) -> float:
        if operation.number in (torch.bfloat16, torch.float16):
            return self.bf16
        if operation.number == torch.float64:
            return self.fp32 / 2
        return self.tf32 if operation.convolution else self.fp32  # torch's defaults: TF32 in cuDNN alone


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("b200", 2250, 1125, 75, 180, 8000, 900, 14.2),
        Gpu("h200", 989, 494, 67, 141, 4800, 450, 7.9),
        Gpu("h100", 989, 494, 67, 80, 3350, 450, 6.9),
        Gpu("a100", 312, 156, 19.5, 80, 2039, 300, 3.4),
        Gpu("a100-40gb", 312, 156, 19.5, 40, 1555, 300, 2.7),
        Gpu("l40s", 362, 183, 91.6, 48, 864, 32, 1.9),
        Gpu("l4", 121, 60, 30.3, 24, 300, 32, 0.8),
        Gpu("rtx4090", 165, 82.6, 82.6, 24, 1008, 32),
    )
}
"""The SXM forms where there are several. NVIDIA's data sheets; the figures without sparsity, which training has not."""


def find_gpu(name: str) -> Gpu:
    """Raises UserError for a GPU that is not in the table."""
    if name.lower() not in GPUS:
        near = difflib.get_close_matches(name.lower(), GPUS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(
            f"there is no GPU {name!r} in the table{hint} (there are: {', '.join(GPUS)}; cpu: this machine)"
        )
    return GPUS[name.lower()]
