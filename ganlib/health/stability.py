"""Whether the game holds together: runs that diverge, and runs that swing instead of settling."""

from __future__ import annotations

import math
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from ganlib.health.history import History, median
from ganlib.health.remedies import augmented, penalised, slower
from ganlib.health.rule import by_evaluations, by_ticks
from ganlib.health.verdict import Verdict
from ganlib.losses import OBJECTIVES

GROWN = 100.0
"""Times the size of its start that a loss or a gradient has grown to when a run diverges. Healthy ones grow too, D's
gradient tenfold as it sharpens; exponential growth is soon past any bound."""

AWAY = 3.0
"""Spreads of the data that the fakes' mean is away from the data's when a run diverges: in a normal distribution one
point in a thousand is so far out, and of fakes it is the mean."""

ASTRAY = 10.0
"""Times the loss of a D that says the same of every image (2 log 2 of cross-entropy) that D's is when a run diverges: D
can always say the same of all, and one that learns at all does no worse."""

SWING = 0.04
"""Standard deviation of D's certainty about its own trend from which a run oscillates. A tick is a mean over thousands
of images, whose chance is below 0.01."""

CRITIC_SWING = 0.5
"""The same of a critic's gap, as a share of the gap's median."""

ROAMING = 0.25
"""The same of `shift`: the fakes' mean goes to and fro by a quarter of the data's spread, from mode to mode; or by 3/2
of what chance makes of it in a batch of n, sqrt(2 / n), where that is more."""

MOVED = 0.3
"""Total variation between the mode shares of successive evaluations from which the generator leaves modes for others;
of thousands of samples each chance makes some hundredths."""


def stability(history: History) -> list[Verdict]:
    """`diverged` and `oscillation`; a run that has diverged is not said to oscillate as well."""
    return _diverged(history) or [*_swings(history), *_wanders(history)][:1]


def _diverged(history: History) -> list[Verdict]:
    recipe = history.recipe
    remedy = list(chain(slower(recipe, 0.25), penalised(recipe), ["train.precision=fp32"]))
    advice = "lower the learning rates (optim.*.lr), or compute in train.precision=fp32"
    for name in ("loss/discriminator", "loss/generator", "gradient/discriminator", "gradient/generator", "d_real"):
        points = history.metrics.get(name, ())
        bad = [images for images, value in points if not math.isfinite(value)]
        if bad:
            readings = [(images, not math.isfinite(value)) for images, value in points if images >= bad[0]]
            says = f"{name} is not a number from {bad[0]:,} images on"
            return by_evaluations(history, readings, "diverged", "severe", says, {name: math.nan}, remedy, advice)
    if not history.judged:
        return []
    for name in ("loss/discriminator", "loss/generator", "gradient/discriminator", "gradient/generator"):
        values = history.ticks(name)
        if values is None:
            continue
        sizes = np.abs(values)
        start = median(sizes[history.early])
        recent = sizes[history.recent]
        says = f"{name} is {median(recent) / start if start else math.inf:.0f} times what it was at the start"
        evidence = {name: median(recent), f"{name} at the start": start}
        # A loss that crosses zero has no size to grow from: one unit of a logit is the least.
        grown = recent > GROWN * max(start, 1.0 if name.startswith("loss/") else 0.0)
        found = by_ticks(history, grown, "diverged", "severe", says, evidence, remedy, advice)
        if found:
            return found
    astray = _astray(history, remedy, advice)
    shift = history.ticks("shift")
    if astray or shift is None:
        return astray
    recent = shift[history.recent]
    says = f"the fakes' mean is {median(recent):.1f} spreads of the data away from the data's"
    return by_ticks(history, recent > AWAY, "diverged", "severe", says, {"shift": median(recent)}, remedy, advice)


def _astray(history: History, remedy: list[str], advice: str) -> list[Verdict]:
    """D is sure, and wrong: rates so high that its first steps threw it away leave no sound start to grow from.

    Where it was so for most of the run a falling rate may have brought D's loss down since; G is astray as long as its
    own loss says that D is as sure of its fakes.
    """
    losses = history.ticks("loss/discriminator")
    if history.objective == "wasserstein" or losses is None:  # a critic's loss has no scale
        return []
    objective = OBJECTIVES[history.objective]
    logit = torch.full((1,), objective.undecided or 0.0)
    nothing = float(objective.discriminator(logit, logit))
    astray, recent = losses > ASTRAY * nothing, history.recent
    says, size = "is", median(losses[recent])
    generator = history.ticks("loss/generator")
    if generator is not None and 2 * astray.sum() > len(astray) and 2 * astray[recent].sum() <= len(astray[recent]):
        astray |= np.abs(generator) > ASTRAY * nothing
        says, size = "was for most of the run", median(losses)
    says = f"the discriminator's loss {says} {size / nothing:.0f} times that of one which says the same of all"
    evidence = {"loss/discriminator": size, "of one that says the same of all": nothing}
    return by_ticks(history, astray[recent], "diverged", "severe", says, evidence, remedy, advice)


def _swings(history: History) -> list[Verdict]:
    """D's certainty, or where the fakes lie, goes up and down by more than chance and trend make it."""
    if not history.judged:
        return []
    found: list[Verdict] = []
    if history.certainty is not None:
        found = _swing(history, history.certainty, SWING, "the discriminator's certainty")
    elif history.played:
        scale = max(abs(median(history.gap[history.recent])), np.finfo(float).tiny)
        found = _swing(history, history.gap / scale, CRITIC_SWING, "the critic's gap")
    shift = history.ticks("shift")
    if found or shift is None:
        return found
    bound = max(ROAMING, 1.5 * math.sqrt(2 / history.recipe.train.batch))
    return _swing(history, shift, bound, "the distance of the fakes' mean from the data's, in spreads of the data,")


def _swing(history: History, values: NDArray[np.float64], bound: float, what: str) -> list[Verdict]:
    recent, recipe = values[history.recent], history.recipe
    about = _detrended(recent)
    size = float(np.sqrt(np.mean(np.square(about))))
    if not size >= bound:
        return []
    return by_ticks(
        history,
        # A swing's middle is crossed at speed: a sine is 77 percent of the time past half its deviation.
        np.abs(about) >= bound / 2,
        "oscillation",
        "severe" if size >= 3 * bound else "mild",
        f"{what} swings by {size:.2f} about its trend instead of settling",
        {"swing": size, "lowest": float(np.nanmin(recent)), "highest": float(np.nanmax(recent))},
        chain(slower(recipe, 0.5), penalised(recipe), augmented(recipe)),
        "lower both rates, bound the discriminator's slope; more data, or augmentation",
    )


def _wanders(history: History) -> list[Verdict]:
    """The generator leaves modes for others from one evaluation to the next."""
    shares = history.mode_shares()
    each = [{images for images, _ in points} for points in shares.values()]
    moments = sorted(set.intersection(*each)) if each else []
    if len(moments) < 3:
        return []
    table = np.array([[dict(points)[images] for points in shares.values()] for images in moments])  # [evaluations, k]
    moved = np.abs(np.diff(table, axis=0)).sum(1) / 2
    recipe = history.recipe
    return by_evaluations(
        history,
        [(images, bool(distance >= MOVED)) for images, distance in zip(moments[1:], moved, strict=True)],
        "oscillation",
        "severe" if moved[-1] >= 2 * MOVED else "mild",
        f"{100 * moved[-1]:.0f} % of the samples went to other modes since the evaluation before",
        {"mode shares moved": float(moved[-1])},
        chain(slower(recipe, 0.5), penalised(recipe), augmented(recipe)),
        "lower both rates, bound the discriminator's slope; more data, or augmentation",
    )


def _detrended(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is left of them past a straight line."""
    there = np.where(np.isfinite(values), values, median(values))
    steps = np.arange(len(there))
    slope, level = np.polyfit(steps, there, 1)
    left: NDArray[np.float64] = there - (slope * steps + level)
    return left
