"""Whether training data is learned by heart: by the discriminator, and by the generator after it."""

from __future__ import annotations

from itertools import chain

import numpy as np

from ganlib.evaluation.memorisation import memorised_by_chance
from ganlib.health.history import History, median
from ganlib.health.remedies import augmented, moved, penalised_more, scaled
from ganlib.health.rule import by_evaluations, by_ticks
from ganlib.health.verdict import Verdict

OVERFITTED, BY_HEART = 0.3, 0.7
"""The validation ratio r_v = (E[D(x)] - E[D(held out)]) / (E[D(x)] - E[D(G(z))]) of Karras et al. 2020 (arXiv
2006.06676, eq. 1): 0 where held-out images are as real to D as training images, 1 where they are as false as fakes.
From the first on D overfits, from the second on it knows little but its training images."""

TELLS = 0.1
"""Certainty above 1/2 below which the ratio is one of two differences that chance makes."""

MEMORISED, COPIES = 0.1, 0.5
"""The share of samples that lie nearer to a training image than all but the nearest percent of held-out images do: ten
times that percent, where there are enough of those for chance not to do it (`memorised_by_chance`); and half of all."""

ONE_LEVEL = 1 / 255
"""An L1 below which no answer can be told from the truth: a grey level."""

KNOWN, BY_ROTE = 2.0, 4.0
"""Times as far from the truth, by L1, on held-out pairs as on training pairs: from the first on a generator knows its
training pairs by heart, from the second on it knows little else."""


def fitting(history: History) -> list[Verdict]:
    """`overfitted-discriminator` and `memorisation`."""
    return [*_overfitted(history), *(_memorised(history) or _known(history))]


def _overfitted(history: History) -> list[Verdict]:
    held_out, real = history.ticks("d_heldout"), history.ticks("d_real")
    if not history.judged or not history.played or held_out is None or real is None:
        return []
    recent = history.recent
    gap = history.gap[recent]
    if history.certainty is not None:
        tells = history.certainty[recent] - 0.5 >= TELLS
    else:
        tells = gap >= TELLS * np.nanmax(history.gap)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(tells, (real - held_out)[recent] / gap, np.nan)
    middle, recipe = median(ratio), history.recipe
    return by_ticks(
        history,
        np.nan_to_num(ratio, nan=0.0) >= OVERFITTED,
        "overfitted-discriminator",
        "severe" if middle >= BY_HEART else "mild",
        f"held-out images are {100 * middle:.0f} % of the way from real to fake in the discriminator's eyes",
        {
            "r_v": middle,
            "d_real": median(real[recent]),
            "d_heldout": median(held_out[recent]),
            "d_fake": median(real[recent] - gap),
        },
        chain(augmented(recipe), penalised_more(recipe), scaled(recipe, "discriminator", 0.5)),
        "more data; or augmentation, a stronger penalty, a smaller discriminator",
    )


def _memorised(history: History) -> list[Verdict]:
    # Of extractors the one that says the worst: what one cannot tell apart, another can.
    worst_first = sorted(history.evaluations("memorised").items(), key=lambda one: -one[1][-1][1])
    held_out = history.latest("samples_floor")
    bound = max(MEMORISED, memorised_by_chance(round(held_out))) if held_out else MEMORISED
    for metric, points in worst_first:
        value, recipe = points[-1][1], history.recipe
        found = by_evaluations(
            history,
            [(images, share >= bound) for images, share in points],
            "memorisation",
            "severe" if value >= COPIES else "mild",
            f"{100 * value:.0f} % of the samples are nearer to a training image than real images are to each other",
            {metric: value},
            chain(augmented(recipe), penalised_more(recipe), scaled(recipe, "discriminator", 0.5)),
            "more data; or augmentation, a stronger penalty, a shorter run",
        )
        if found:
            return found
    return []


def _known(history: History) -> list[Verdict]:
    """Of pairs: what is right is known of those that were trained on, and of no others."""
    known = dict(history.metrics.get("paired_of_training/l1", ()))
    ratios = [(images, value / max(known[images], ONE_LEVEL)) for images, value in history.metrics.get("paired/l1", ())
              if images in known]  # fmt: skip
    if not ratios:
        return []
    (images, ratio), recipe = ratios[-1], history.recipe
    return by_evaluations(
        history,
        [(images, value >= KNOWN) for images, value in ratios],
        "memorisation",
        "severe" if ratio >= BY_ROTE else "mild",
        f"held-out pairs are answered {ratio:.1f} times as far from the truth as training pairs are",
        {"paired/l1": dict(history.metrics["paired/l1"])[images], "paired_of_training/l1": known[images]},
        chain(moved(recipe), scaled(recipe, "generator", 0.5)),
        "more pairs; or augmentation of the data, a smaller generator, a shorter run",
    )
