"""What turns images into the features that distances are taken of."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ganlib.evaluation.names import label_of
from ganlib.precision import exact


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


class NetworkExtractor(Extractor):
    """An extractor that is a network, on a device of one's choice: the CPU, until `to` says another.

    A GPU adds in another order, so its features differ from a CPU's in their last digits, by rounding alone.
    """

    device = torch.device("cpu")
    block = 500
    """Images at once."""

    def to(self, device: torch.device | str) -> Self:
        """Takes the features there from now on. Returns itself."""
        self.device = torch.device(device)
        self._move()
        return self

    @torch.inference_mode()
    def features(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        features, probabilities = [], []
        with exact(self.device):
            for first in range(0, len(images), self.block):
                found, logits = self.look(torch.from_numpy(images[first : first + self.block]).to(self.device))
                features.append(found.cpu().double())
                if logits is not None:
                    probabilities.append(torch.softmax(logits.cpu().double(), 1))
        return torch.cat(features).numpy(), torch.cat(probabilities).numpy() if probabilities else None

    @abstractmethod
    def look(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of a block of what `features` is given, on the device: float32 [n, features]; [n, classes] logits or None."""

    @abstractmethod
    def _move(self) -> None:
        """Moves the network to `device`."""


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, hex, of the tensors' names, types, shapes and numbers, in their order, however they were stored."""
    state = hashlib.sha256()
    for name, tensor in tensors.items():
        state.update(f"{name} {tensor.dtype} {[*tensor.shape]}\n".encode())
        state.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def in_colour(images: Tensor) -> Tensor:
    """[n, H, W, 1 or 3] -> [n, H, W, 3], a view: networks of photographs see grey as three equal channels."""
    return images.expand(*images.shape[:3], 3)
