"""Where this process computes."""

from __future__ import annotations

import torch


def best_device() -> str:
    """A GPU, where PyTorch sees one: "cuda"; else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"
