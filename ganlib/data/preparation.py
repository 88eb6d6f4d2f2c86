"""The choices that turn a source into a dataset."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Fit = Literal["crop", "pad"]


class Preparation(BaseModel):
    """How images are brought to one form; every field is part of the dataset's digest.

    size: height and width in pixels. channels: 1 (Rec. 601 luma) or 3. fit: "crop" keeps the centre square and resizes
    it to `size`; "pad" resizes the longer side to `size` and centres the picture on black. Resizing is an antialiased
    Lanczos filter (`geometry.resize`); an image that has its size already keeps its pixels. Points of a density are
    kept as they are, whatever stands in these three.
    pairs: "edges" makes the other side of a pair from each prepared image: its contours, dark on white (`edges.py`).
    test_share: for a source without a split of its own, the share of its records that are the test split, by the hash
    of their names. max_bad: the share of records that cannot be used past which preparation stops.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(ge=8, le=1024)
    channels: Literal[1, 3] = 3
    fit: Fit = "crop"
    pairs: Literal["none", "edges"] = "none"
    test_share: float = Field(default=0.1, ge=0, lt=1)
    max_bad: float = Field(default=0.01, ge=0, lt=1)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels of a picture."""
        return self.size, self.size, self.channels

    def is_test(self, name: str) -> bool:
        """Whether a record of this name is in the test split: of the name alone, so that adding images moves none."""
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") < self.test_share * 2**64
