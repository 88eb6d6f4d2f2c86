"""How a source is to be understood, where there is more than one way."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SourceKind = Literal[
    "digits",
    "idx",
    "folder",
    "captions",
    "attributes",
    "pairs",
    "pair-folders",
    "halves",
    "domains",
    "parquet",
    "mnist",
    "fashion-mnist",
    "cifar10",
    "celeba",
    "gaussian-mixture-1d",
    "gaussian-ring",
    "gaussian-grid",
    "stacked-mnist",
    "placed-mnist",
    "random-fields",
]


class Reading(BaseModel):
    """The options of sources; each kind reads those that concern it, and all are part of the fingerprint.

    kind: None recognises the source by what is there.
    first: which half of a side-by-side pair is `image`; the other is `partner`.
    attributes: the columns of an attribute table that become domains; empty: all of them.
    image_column, caption_column, label_column: of a CSV, JSON lines or Parquet file; None looks for the usual names.
    domain_rule: domains drawn from captions, as {domain: words}, a record being in every domain of whose words (regular
    expressions, matched at word boundaries, without regard to case) its caption holds one. Those in none are left out.
    count, seed: how many records a source made on the spot has, and of which draw.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: SourceKind | None = None
    first: Literal["left", "right"] = "left"
    attributes: list[str] = []
    image_column: str | None = None
    caption_column: str | None = None
    label_column: str | None = None
    domain_rule: dict[str, list[str]] = {}
    count: int = Field(60_000, ge=1, le=2**31)
    seed: int = Field(0, ge=0, lt=2**32)
