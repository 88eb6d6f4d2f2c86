"""Who is ahead in the game: a discriminator that has won, a generator that learns nothing; and a draw, its end."""

from __future__ import annotations

from itertools import chain

import numpy as np

from ganlib.health.history import History, median
from ganlib.health.remedies import penalised, unsaturated, weaker_discriminator
from ganlib.health.rule import by_ticks
from ganlib.health.verdict import Verdict

WON = 0.95
"""Certainty from which D has all but won: it is wrong about one image in twenty. Where fakes and data lie apart a
perfect discriminator exists (Arjovsky & Bottou 2017, theorem 2.1), and one that nothing bounds goes on to 1."""

BEATEN = 0.99
"""Certainty from which D's loss has no slope left to speak of: 1 - D is of the size of a rounding error in bf16 (2^-8)
twice over."""

VANISHED = 0.01
"""The share of its first size below which G's gradient has vanished: Adam forgets sizes, but not noise, which batches
make of a few percent of the first gradients."""

DRAW = 0.15
"""How far from 1/2 D's certainty may be for a draw: in the middle of healthy runs it is 0.2 to 0.3 away."""


def balance(history: History, healthy: bool) -> list[Verdict]:
    """`discriminator-winning`, `vanishing-gradients`; `equilibrium`, which is only said of a run that is `healthy`."""
    if not history.judged:
        return []
    found = [*_winning(history), *_vanishing(history)]
    return found if found or not healthy else _equilibrium(history)


def _winning(history: History) -> list[Verdict]:
    if history.certainty is None:
        return []
    recent = history.certainty[history.recent]
    middle = median(recent)
    return by_ticks(
        history,
        recent >= WON,
        "discriminator-winning",
        # Where each output has a right answer, its distance to that goes on teaching when D teaches no more.
        "severe" if middle >= BEATEN and not getattr(history.recipe.method, "l1", 0) else "mild",
        f"the discriminator tells {100 * middle:.1f} % of real and fake apart",
        {"certainty": middle, "d_real": _last(history, "d_real"), "d_fake": _last(history, "d_fake")},
        chain(weaker_discriminator(history.recipe), penalised(history.recipe), unsaturated(history.recipe)),
        "slow the discriminator, bound its slope, or give the generator more steps (train.steps.generator)",
    )


def _vanishing(history: History) -> list[Verdict]:
    norms = history.ticks("gradient/generator")
    if not history.played or norms is None or np.isnan(norms[history.early]).all():
        return []
    # The greatest of its start: where D wins within the first tick, the others of the start have vanished too.
    start = float(np.nanmax(norms[history.early]))
    recent = norms[history.recent]
    ahead = _ahead(history)
    share = median(recent) / start if start else 0.0
    return by_ticks(
        history,
        (recent <= VANISHED * start) & ahead,
        "vanishing-gradients",
        "severe",
        f"the generator's gradient is {share:.2g} of what it was at the start, and the discriminator is ahead",
        {"gradient/generator": median(recent), "gradient/generator at the start": start},
        chain(unsaturated(history.recipe), penalised(history.recipe), weaker_discriminator(history.recipe)),
        "take a loss that has a slope where the discriminator wins, or slow the discriminator",
    )


def _ahead(history: History) -> np.ndarray:
    """bool [recent]: whether D tells real from fake; a small gradient of a drawn game is no fault.

    A critic is ahead while its gap is at least half of the largest that there was.
    """
    if history.certainty is not None:
        ahead: np.ndarray = history.certainty[history.recent] >= 0.5 + 2 * DRAW
        return ahead
    return history.gap[history.recent] >= np.nanmax(history.gap) / 2


def _equilibrium(history: History) -> list[Verdict]:
    spread, shift = history.ticks("variety"), history.ticks("shift")
    if history.certainty is None or spread is None or shift is None:  # batches too small to tell how fakes lie
        return []
    recent = history.certainty[history.recent]
    # Fakes spread as real images do and lie where they lie: a D that learned nothing draws too.
    spread, shift = spread[history.recent], shift[history.recent]
    alike = (spread >= 0.8) & (spread <= 1.25) & (shift <= 0.3)
    holds = (np.abs(recent - 0.5) <= DRAW) & alike
    evidence = {"certainty": median(recent), "d_real": _last(history, "d_real"), "d_fake": _last(history, "d_fake")}
    return by_ticks(
        history,
        holds,
        "equilibrium",
        "good",
        f"the discriminator is right about {100 * median(recent):.0f} %, and fakes lie as real images do",
        evidence,
    )


def _last(history: History, name: str) -> float:
    value = history.latest(name)
    return float("nan") if value is None else value
