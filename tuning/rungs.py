"""Where trials are compared: counts of images seen, the same whatever batch size and workers."""

from __future__ import annotations

from ganlib.errors import UserError
from ganlib.recipe import Recipe

REDUCTION = 3
"""Each rung of successive halving is so many times as far as the one before, and a third of its trials pass (Li et al.
2020, arXiv 1810.05934, have 4; Hyperband 3)."""
MOST_HALVINGS = 3
"""A trial that is stopped first has cost 1/27 of a whole one."""
EVEN = {"none": 4, "median": 8, "pbt": 8}
"""Rungs of the other schedulers, at equal distances: as often a population changes, and medians are taken."""
LEAST_BATCHES = 4
"""Between two rungs."""
WORTH_BATCHES = 50
"""Before the first halving, where trials are long enough for more than one. On the table that `tuning_table` of
tests/benchmarks makes, rankings after 18, 36, 72 and 144 batches agree with that after the whole 288 by Kendall's tau
0.20, 0.31, 0.55 and 0.80; of the best eight settings 6, 7, 8 and 8 are in the better third there, which passes."""


def rungs_for(scheduler: str, recipe: Recipe, total: int) -> list[int]:
    """Images seen at which a scheduler compares trials of `total` images, rising; the last is `total`.

    All but the last are whole multiples of the first. Raises UserError where there is no room for the two rungs that
    stopping takes.
    """
    least = LEAST_BATCHES * recipe.train.batch
    if scheduler == "asha":
        halvings = MOST_HALVINGS
        while halvings > 1 and total // REDUCTION**halvings < WORTH_BATCHES * recipe.train.batch:
            halvings -= 1
        if total // REDUCTION**halvings < least:
            halvings = 0
        multiples = [REDUCTION**place for place in range(halvings)]
        first = total // REDUCTION**halvings
    else:
        count = max(min(EVEN[scheduler], total // least), 1)
        multiples = list(range(1, count))
        first = total // count
    if not multiples and scheduler != "none":
        raise UserError(
            f"trials of {total:,} images are too short for {scheduler}, whose rungs are {least:,} images apart at the "
            "least; give them more (train.images=...), or take --scheduler none"
        )
    tick = _tick(first, recipe)
    return [*(first // tick * tick * multiple for multiple in multiples), total]


def with_rungs(recipe: Recipe, rungs: list[int]) -> Recipe:
    """The recipe with the length of a trial, and with ticks that end at each rung: the first is whole ticks."""
    return recipe.with_overrides(f"train.images={rungs[-1]}", f"train.tick={_tick(rungs[0], recipe)}")


def _tick(first: int, recipe: Recipe) -> int:
    """Images of a tick, as near to the recipe's as lets whole ones come to about `first`."""
    return first // -(-first // recipe.train.tick)
