"""The choices that turn a source into a dataset."""

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Preparation(BaseModel):
    """How images are brought to one form; every field is part of the dataset's digest.

    size: height and width in pixels: the shorter side is resized to it with Pillow's antialiased LANCZOS filter, then
    the centre square is kept; where the shorter side is `size` already no pixel changes. channels: 1 (Rec. 601 luma) or
    3. test_share: for a source without a split of its own, the share of its images that are the test split, by the hash
    of their names. max_bad: the share of records that cannot be read past which preparation stops.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(ge=8, le=1024)
    channels: Literal[1, 3]
    test_share: float = Field(default=0.1, ge=0, lt=1)
    max_bad: float = Field(default=0.01, ge=0, lt=1)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.size, self.size, self.channels

    def is_test(self, name: str) -> bool:
        """Whether a record of this name is in the test split: of the name alone, so that adding images moves none."""
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") < self.test_share * 2**64
