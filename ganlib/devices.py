"""Where this process computes."""

from __future__ import annotations

import torch
from torch import Tensor


def best_device() -> str:
    """A GPU, where PyTorch sees one: "cuda"; else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def sent(values: Tensor, device: torch.device) -> Tensor:
    """`values`, which are on the CPU, on `device`; a GPU gets them when it is done with what it has, and is not waited
    for meanwhile."""
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
