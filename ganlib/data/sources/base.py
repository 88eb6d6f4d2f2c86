"""What a source of images offers to preparation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganlib.data.columns import Columns
from ganlib.data.reading import Reading
from ganlib.data.storage import Location

SplitName = Literal["train", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "test")


class BadRecordError(Exception):
    """One record cannot be used; the text is the reason, free of paths and of all that differs between machines."""


@dataclass(frozen=True)
class Record:
    """One record as the source has it; what stands in it is what the source's `columns` state.

    image, partner: opaque pictures in mode "L" or "RGB", of any size; image is a float32 [1, d, 1] array where
    columns.dtype is "float32". domains: 0 or 1, one a domain. box: x, y, width, height in pixels of `image`.
    keypoints: float32 [K, 3]: x, y in pixels of `image`, and 1 where seen.
    """

    image: Image.Image | NDArray[np.float32]
    partner: Image.Image | None = None
    label: int | None = None
    domains: tuple[int, ...] | None = None
    captions: tuple[str, ...] = ()
    box: tuple[float, float, float, float] | None = None
    keypoints: NDArray[np.float32] | None = None


class Source(ABC):
    """Images as a person has them, in one fixed order, each under a name of its own.

    kind: what reads it ("digits", "idx", "folder", ...). name: what a person calls it; a dataset is called after it.
    A source is pickled to where its records are read, on other machines too: it holds names and places, no open file
    and no content that could be large. Opening one reads listings and tables, not images.
    """

    kind: str
    name: str
    reading: Reading = Reading()
    """The options that it was opened with; the manifest keeps them."""
    location: Location | None = None
    """The folder or file of the person's that it is read from; None where there is none."""

    @property
    @abstractmethod
    def columns(self) -> Columns: ...

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """The record names, each once; sorted (by code point) within a split."""

    @property
    def splits(self) -> Mapping[SplitName, range] | None:
        """The rows of each split where the source has its own; None where preparation splits by the hash of the name.

        A split may be missing or empty, but not "train".
        """
        return None

    @property
    def faults(self) -> Sequence[tuple[str, str]]:
        """(record, reason) of what is listed and cannot be a record: a caption without its image, say.

        They count as bad records.
        """
        return ()

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256, hex, over all that decides what `read` gives: names, sizes, times of change, the options of reading.

        No image is read for it. Two equal fingerprints mean one content; one content may have several. Raises
        UserError.
        """

    @abstractmethod
    def read(self, index: int) -> Record:
        """Record `index`. May be called from several threads. Raises BadRecordError; UserError where all is lost."""

    def block(self, rows: range, image_shape: tuple[int, int, int]) -> NDArray[np.uint8] | None:
        """The images of these rows at once, uint8 [k, H, W, C], where they are arrays of exactly `image_shape`.

        None where they are not.
        Only sources whose columns are at most class_names may answer; `labels` gives those then.
        """
        return None

    def labels(self, rows: range) -> NDArray[np.int64]:
        """int64 [k] for the rows that `block` answered."""
        raise NotImplementedError
