"""Which way a metric is better: what a search has to know, and what not every number that is measured has."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Literal

from ganlib.errors import UserError
from ganlib.evaluation.names import plain

Direction = Literal["min", "max"]

LESS: frozenset[str] = frozenset({
    "cycle_l1", "fid", "fid_class", "fid_patch", "fid_target", "kid", "memorised", "memorised_pixels", "mifid",
    "modes_kl", "paired_l1", "paired_lpips", "path_length", "reconstruction_l1",
})  # fmt: skip
MORE: frozenset[str] = frozenset({
    "agreement", "box_iou", "called", "coverage", "density", "inception_score", "mode_share_min", "modes_covered",
    "modes_high_quality", "paired_psnr", "paired_ssim", "precision", "recall",
})  # fmt: skip
"""Families of metrics, as `family` names them, of which less or more is better."""

NEITHER: frozenset[str] = frozenset({
    "judge_accuracy", "kid_spread", "mode_share", "paired_images", "pixel_variety", "samples", "sharpness",
})  # fmt: skip
"""What no generator is better by having more or less of: the judge's own, counts, how far subsets of the samples are
from being alike, and shares, a sharpness and a variety that should be those of the data."""

BESIDE = ("_se", "_floor", "_before", "_real", "_of_mean", "_of_training")
"""Endings of what stands beside a metric: its error, and what other images than the generator's have."""

_GROUPS = ("cycle", "modes", "paired", "reconstruction")
"""What is before the first slash is here no metric's name yet."""


def family(metric: str) -> str:
    """What it is, whoever's features and whichever class: of `fid_class/E/7` `fid_class`, of `modes/kl` `modes_kl`."""
    first, *rest = metric.split("/")
    return f"{first}_{rest[0]}" if first in _GROUPS and rest else first


def direction(metric: str) -> Direction:
    """Whether less or more of it is better. Raises UserError for a metric of which neither is, or that there is not."""
    kind = family(metric)
    if not is_known(metric):
        near = get_close_matches(kind, sorted(LESS | MORE), 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(LESS | MORE))}"
        raise UserError(f"there is no metric {plain(metric)!r}; {hint}")
    if kind in LESS:
        return "min"
    if kind in MORE:
        return "max"
    raise UserError(f"neither more nor less of {plain(metric)} is better, so there is nothing to search for by it")


def is_known(metric: str) -> bool:
    """Whether it is decided which way it is better, or that it is neither."""
    kind = family(metric)
    return kind in LESS | MORE | NEITHER or kind.endswith(BESIDE)
