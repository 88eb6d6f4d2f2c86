"""What a record of a dataset may hold beside its image and its name."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Columns(BaseModel):
    """The columns of a dataset's shards; a source states them, the manifest keeps them.

    dtype: "uint8" for images, "float32" for points of a density (image_shape is then (1, dimensions, 1)).
    class_names: column `label`, int64, one class a record. domain_names: column `domains`, uint8 [D], 0 or 1 each: one
    of them set for folders of domains, any number for attributes. captions: column `captions`, a list of strings, at
    least one. boxes: column `box`, float32 [4]: x, y of the corner at the top left, width and height, as shares of the
    image's sides. keypoint_names: column `keypoints`, float32 [K, 3]: x, y as shares of the sides, and 1 where the part
    is seen, else all three 0. partner: column `partner`, an image of the same shape: the other side of a pair.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: Literal["uint8", "float32"] = "uint8"
    class_names: list[str] | None = None
    domain_names: list[str] | None = None
    captions: bool = False
    boxes: bool = False
    keypoint_names: list[str] | None = None
    partner: bool = False
