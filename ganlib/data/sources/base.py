"""What a source of images offers to preparation."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SplitName = Literal["train", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "test")


class BadRecordError(Exception):
    """One record cannot be used; the text is the reason, free of paths and of all that differs between machines."""


class Source(ABC):
    """Images as a person has them, in one fixed order, each under a name of its own.

    kind: what reads it ("digits", "idx", "folder"). name: what a person calls it. names: n record names, sorted within
    a split. labels: int64 [n], index into class_names; None without labels. class_names: None without labels.
    splits: the rows of each split where the source has its own, None where preparation is to split by name.
    """

    kind: str
    name: str

    @abstractmethod
    def digest(self) -> str:
        """SHA-256, hex, over the names and bytes of what the source reads; raises UserError where it cannot be read."""

    @property
    @abstractmethod
    def names(self) -> Sequence[str]: ...

    @property
    @abstractmethod
    def labels(self) -> NDArray[np.int64] | None: ...

    @property
    @abstractmethod
    def class_names(self) -> list[str] | None: ...

    @property
    def splits(self) -> Mapping[SplitName, range] | None:
        return None

    @abstractmethod
    def image(self, index: int) -> Image.Image:
        """Record `index`, opaque, in mode "L" or "RGB". May be called from several threads.

        Raises BadRecordError.
        """

    def block(self, indices: NDArray[np.int64], image_shape: tuple[int, int, int]) -> NDArray[np.uint8] | None:
        """These records at once, uint8 [k, H, W, C], if they are arrays of exactly `image_shape` already; else None."""
        return None
