"""Which precision a device is fast in.

bfloat16 halves the time of a training step where the hardware multiplies it. Where it is emulated, as on a CPU that has
AVX2 alone, a step takes four times as long.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def computes_bf16(device: torch.device | str) -> bool:
    """Whether `device` multiplies bfloat16 itself: a GPU from Ampere on, a CPU with AVX-512 BF16 or AMX."""
    kind = torch.device(device).type
    if kind == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def exact(device: torch.device | str) -> AbstractContextManager[None]:
    """Convolutions that add float32's own products, in the same order each time.

    A GPU is let round them to TensorFloat-32 else, ten bits of mantissa, which is no less than a thousandth of a FID.
    """
    if torch.device(device).type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


def autocast(device: torch.device | str, bf16: bool | None = None) -> torch.autocast:
    """Products in bfloat16, sums and losses in float32; None: where the device computes bfloat16 itself."""
    enabled = computes_bf16(device) if bf16 is None else bf16
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=enabled)
