"""What turns images into the features that distances are taken of."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ganlib.evaluation.names import label_of


class Extractor(ABC):
    """`name` says what kind it is; `digest`, SHA-256 in hex, tells apart what must not be compared."""

    name: str
    digest: str
    knows_classes: bool = False
    """Whether the probabilities are of the dataset's own classes (or domains), in the order of its `judged_names`."""

    takes_floats: bool = True
    """Whether `features` reads float32 images in [-1, 1] too, as a generator gives them, between the grey levels."""

    @property
    def label(self) -> str:
        """What stands in the names of metrics and of cached statistics: different features never share it."""
        return label_of(self.name, self.digest)

    @abstractmethod
    def features(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """uint8 [n, H, W, C] -> (float64 [n, features], float64 [n, classes] probabilities or None)."""


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, hex, of the tensors' names, types, shapes and numbers, in their order, however they were stored."""
    state = hashlib.sha256()
    for name, tensor in tensors.items():
        state.update(f"{name} {tensor.dtype} {[*tensor.shape]}\n".encode())
        state.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def in_colour(images: np.ndarray) -> np.ndarray:
    """uint8 [n, H, W, 1 or 3] -> [n, H, W, 3]: networks of photographs see grey as three equal channels."""
    return np.broadcast_to(images, (*images.shape[:3], 3))
