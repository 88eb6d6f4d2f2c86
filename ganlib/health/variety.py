"""Whether the samples are as varied, and as sharp, as the data: mode collapse, low variety, blur."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain

from ganlib.evaluation.names import bare, judge_of
from ganlib.health.history import History, Points, median
from ganlib.health.remedies import equal_rates, less_l1, penalised, relativistic, scaled
from ganlib.health.rule import by_evaluations, by_ticks
from ganlib.health.verdict import Severity, Verdict

COLLAPSED = 0.5
"""`variety` below which a generator has collapsed: pairs of fakes are half as far apart as pairs of real images. Four
neighbours of a ring's eight modes have 0.76, two 0.38, one none."""

POOR = 0.8
"""`variety` below which there is too little of it; batches of 64 digits have 1 to some hundredths by chance."""

ASIDE = 0.5
"""`shift` from which the fakes are of a part of the data: four neighbours of a ring's eight have 0.65."""

LOST_KL = math.log(2)
"""KL of the mode shares to the data's, in nats, from which a generator has collapsed: what half of equal modes have."""

POOR_KL = 0.1
"""The same from which variety is low: about what one mode in ten left out has."""

LOST_RECALL, POOR_RECALL = 0.1, 0.3
"""The share of real images that lie within the samples' manifold (Kynkäänniemi et al. 2019): good models of that paper
have 0.4 to 0.5, and half of the data cannot have more than half of the data's own, some 0.7."""

AT_MODES = 0.5
"""The share of samples near a mode below which modes without samples are missed by their scatter, not left out: whether
samples are of all modes is then for `modes/kl` to say, which counts each for the mode that is nearest."""

BLURRED, SMEARED = 0.6, 0.3
"""Sharpness over the data's: a box blur of three pixels takes most of the Laplacian's variance from white noise and
some two thirds from photographs. Below the first samples are blurred, below the second they are severely so."""


def variety(history: History) -> list[Verdict]:
    """`mode-collapse`, or else `low-variety`; and `blur`."""
    collapse = next(iter([*_collapsed(history), *_few(history, LOST_KL, LOST_RECALL, 0.5)]), None)
    low = [] if collapse else [*_poor(history), *_few(history, POOR_KL, POOR_RECALL, 1.0)][:1]
    return [*([collapse] if collapse else []), *low, *_blurred(history)]


def _collapsed(history: History) -> list[Verdict]:
    spread, shift = history.ticks("variety"), history.ticks("shift")
    if not history.judged or spread is None or shift is None:
        return []
    spread, shift = spread[history.recent], shift[history.recent]
    if median(spread) < COLLAPSED:
        says = f"two samples are {median(spread):.2f} times as far apart as two images of the data"
    else:
        says = f"the samples' mean is {median(shift):.2f} spreads from the data's: part of the data is not made at all"
    return by_ticks(
        history,
        (spread < COLLAPSED) | (shift > ASIDE),
        "mode-collapse",
        "severe",
        says,
        {"variety": median(spread), "shift": median(shift)},
        _against_collapse(history),
        _ADVICE,
    )


def _poor(history: History) -> list[Verdict]:
    spread = history.ticks("variety")
    if not history.judged or spread is None:
        return []
    recent = spread[history.recent]
    return by_ticks(
        history,
        recent < POOR,
        "low-variety",
        "mild",
        f"two samples are {median(recent):.2f} times as far apart as two images of the data",
        {"variety": median(recent)},
        _against_collapse(history),
        _ADVICE,
    )


def _few(history: History, kl: float, recall: float, share: float) -> list[Verdict]:
    """What evaluations say: modes that are missing (at most `share` of them there), data that no sample is near, or
    outputs that are much the same whatever the input."""
    severe = share < 1
    name = "mode-collapse" if severe else "low-variety"
    severity: Severity = "severe" if severe else "mild"
    for metric, points in history.evaluations("modes", "recall", "pixel_variety").items():
        modes = len(history.mode_shares(judge_of(metric)))
        if bare(metric) == "modes/covered" and modes:
            near = history.latest(metric.replace("covered", "high_quality", 1))
            if near is not None and near < AT_MODES:
                continue
            most = modes * share if severe else modes - 1
            readings, says = _below(points, most), f"{points[-1][1]:.0f} of {modes} modes are covered"
        elif bare(metric) == "modes/kl":
            readings = [(images, value >= kl) for images, value in points]
            says = f"the modes' shares are {points[-1][1]:.2f} nats from the data's"
        elif metric.startswith("recall/"):
            # Samples that are not like the data yet cannot have left part of it out.
            precision = dict(history.evaluations("precision").get(metric.replace("recall", "precision", 1), ()))
            points = [(images, value) for images, value in points if precision.get(images, 1) >= LOST_RECALL]
            if not points:
                continue
            readings, says = _below(points, recall), f"samples come near {100 * points[-1][1]:.0f} % of the data"
        elif bare(metric).startswith("pixel_variety"):
            readings = _below(points, COLLAPSED if severe else POOR)
            says = f"two {_outputs(metric)} are {points[-1][1]:.2f} times as far apart as two images of the data"
        else:
            continue
        found = by_evaluations(
            history, readings, name, severity, says, {metric: points[-1][1]},
            _against_collapse(history), _ADVICE,
        )  # fmt: skip
        if found:
            return found
    return []


def _blurred(history: History) -> list[Verdict]:
    # Of domains the one that is worst off.
    for metric, points in sorted(history.evaluations("sharpness").items(), key=lambda one: one[1][-1][1]):
        value, recipe = points[-1][1], history.recipe
        return by_evaluations(
            history,
            _below(points, BLURRED),
            "blur",
            # Blur may be what a person wants of pairs: it is nearer to the truth than any guess.
            "severe" if value < SMEARED and not hasattr(recipe.method, "l1") else "mild",
            f"the {_outputs(metric)} are {value:.2f} times as sharp as the data",
            {metric: value},
            chain(less_l1(recipe), scaled(recipe, "generator", 2), scaled(recipe, "discriminator", 0.5)),
            ("less weight of L1, " if hasattr(recipe.method, "l1") else "")
            + "more filters in the generator, fewer in the discriminator",
        )
    return []


def _outputs(metric: str) -> str:
    """Of `sharpness` samples, of `sharpness/blonde` those of that domain."""
    domain = metric.partition("/")[2]
    return f"samples of {domain}" if domain else "samples"


_ADVICE = "equal rates, a bound on the discriminator's slope, a loss with a slope far from the data, a wider generator"


def _against_collapse(history: History) -> Iterator[str]:
    """A bound on the slope where there is none; where there is one already, pairs instead. And a wider generator."""
    recipe = history.recipe
    bounds = list(penalised(recipe))
    return chain(equal_rates(recipe), bounds or relativistic(recipe), scaled(recipe, "generator", 2))


def _below(points: Points, bound: float) -> list[tuple[int, bool]]:
    return [(images, value <= bound) for images, value in points]
