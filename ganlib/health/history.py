"""A run as its journal tells it, in the terms that symptoms are stated in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ganlib.evaluation.names import judge_of
from ganlib.losses import OBJECTIVES, ObjectiveName
from ganlib.recipe import Recipe

Points = Sequence[tuple[int, float]]

FEWEST_TICKS = 8
"""Ticks before which a run is too young to be judged by them: its start and its present would be the same."""

RECENT = 1 / 3
"""The share of a run's ticks, the last of them, that is its present: long enough to outlast a swing, and past the first
steps, in which any discriminator wins."""

EARLY = 1 / 10
"""The share of a run's ticks, the first of them, that is its start; gradients are measured against it."""


class History:
    """`metrics`: name -> [(images seen, value), ...] by rising images, ticks' and evaluations' alike.

    `recipe` is the run's as its schedule has it by the last of them.
    """

    def __init__(self, metrics: Mapping[str, Points], recipe: Recipe):
        self.metrics = metrics
        self.recipe = recipe = recipe.at(max((points[-1][0] for points in metrics.values() if points), default=0))
        self.objective: ObjectiveName = getattr(recipe.method, "objective", "non-saturating")
        self.played = getattr(recipe.method, "adversarial", 1) != 0
        """Whether the generator minds what D says: not under L1 alone, where D learns beside it and changes nothing."""
        self.images = np.array([images for images, _ in metrics.get("d_real", ())], dtype=np.int64)

    @property
    def judged(self) -> bool:
        """Whether there are ticks enough to say anything by."""
        return len(self.images) >= FEWEST_TICKS

    @property
    def recent(self) -> slice:
        """The ticks that are the run's present."""
        return slice(len(self.images) - max(round(len(self.images) * RECENT), FEWEST_TICKS // 2), None)

    @property
    def early(self) -> slice:
        """The ticks that are its start."""
        return slice(0, max(round(len(self.images) * EARLY), 2))

    @property
    def range(self) -> tuple[int, int]:
        """The present, from and to in images seen."""
        recent = self.images[self.recent]
        return int(recent[0]), int(recent[-1])

    def ticks(self, name: str) -> NDArray[np.float64] | None:
        """float64 [ticks]: a metric at each tick, NaN where it has none; None for one that no tick has."""
        values = dict(self.metrics.get(name, ()))
        if not values.keys() & set(self.images.tolist()):
            return None
        return np.array([values.get(int(images), np.nan) for images in self.images])

    def evaluations(self, *families: str) -> dict[str, Points]:
        """The metrics named so, or so before a slash (`recall` is that of `recall/random`): what evaluations measured.

        A value beside them, `recall_floor/random`, is of another name.
        """
        return {name: points for name, points in self.metrics.items() if name.split("/")[0] in families and points}

    def mode_shares(self, judge: str | None = None) -> dict[str, Points]:
        """`mode_share/...` of each mode, by the judge of those digits (`judge_of`); by the last one where None."""
        shares = self.evaluations("mode_share")
        if judge is None:
            judge = judge_of(max(shares, key=lambda name: shares[name][-1][0], default=""))
        return {name: points for name, points in shares.items() if judge_of(name) == judge}

    def latest(self, name: str) -> float | None:
        """The last value of a metric."""
        points = self.metrics.get(name)
        return points[-1][1] if points else None

    @cached_property
    def certainty(self) -> NDArray[np.float64] | None:
        """float64 [ticks] in [0, 1]: how far D tells real from fake; None for a critic, which has no scale.

        1/2 where it cannot, 1 where it always can; None too where nobody minds what D says (`played`). Of objectives
        whose D is a probability the mean rightness (D(x) + 1 - D(G(z))) / 2; of hinge the same of logits cut to their
        margins at -1 and 1, beyond which its loss asks for no more; of relativistic pairs sigmoid(D(x) - D(G(z))), the
        rightness about a middling pair.
        """
        real, fake = self.ticks("d_real"), self.ticks("d_fake")
        if real is None or fake is None or self.objective == "wasserstein" or not self.played:
            return None
        if OBJECTIVES[self.objective].probability:
            return (real + 1 - fake) / 2
        if self.objective == "hinge":
            return 0.5 + (np.clip(real, -1, 1) - np.clip(fake, -1, 1)) / 4
        return np.asarray(expit(real - fake))

    @cached_property
    def gap(self) -> NDArray[np.float64]:
        """float64 [ticks]: D(x) - D(G(z)), in whatever unit the objective has."""
        real, fake = self.ticks("d_real"), self.ticks("d_fake")
        return np.zeros(len(self.images)) if real is None or fake is None else real - fake


def median(values: NDArray[np.float64]) -> float:
    """Of those that are there; NaN for none."""
    there = values[np.isfinite(values)]
    return float(np.median(there)) if len(there) else float("nan")
