"""What to change in a recipe against a symptom, as overrides of it: those that SYSTEMS.md's section D names, and ours.

Each remedy is a function of the recipe that suggests overrides; of these are kept those that validate and change it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ganlib.errors import UserError
from ganlib.health.verdict import Verdict
from ganlib.losses import OBJECTIVES
from ganlib.methods.game import NoAugment
from ganlib.penalties import ClipConfig, LineConfig, NoPenalty
from ganlib.recipe import Recipe

WIDEST = 4096
"""Units of a layer past which a generator is not made wider by advice."""

FAR_APART = 10.0
"""Times G's rate that D's is where neither is to be trusted."""


@dataclass(frozen=True)
class Change:
    """A field that advice changes, and on account of which verdict."""

    path: str
    before: Any
    after: Any
    verdict: str


def amended(recipe: Recipe, verdicts: Iterable[Verdict]) -> tuple[Recipe, list[Change]]:
    """`recipe` with the verdicts' remedies, and what that changed. Of two remedies for a field the first counts."""
    changes: list[Change] = []
    taken: set[str] = set()
    for verdict in verdicts:
        mine = [override for override in verdict.remedy if override.partition("=")[0] not in taken]
        before, recipe = recipe, applicable(recipe, mine)[0]
        taken |= {override.partition("=")[0] for override in mine}
        old, new = before.flat(), recipe.flat()
        changes += [
            Change(path, old.get(path), new.get(path), verdict.name)
            for path in dict.fromkeys([*old, *new])
            if old.get(path) != new.get(path)
        ]
    return recipe, changes


def applicable(recipe: Recipe, overrides: Iterable[str]) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with those of the overrides, one after the other, that validate and change it; and these.

    What an override sets its schedule sets no more: it would be undone on the way.
    """
    kept: list[str] = []
    for override in overrides:
        try:
            changed = recipe.with_overrides(override, *_unscheduled(recipe, override.partition("=")[0]))
        except UserError:  # this recipe has no such field, or it would not fit the rest
            continue
        if changed != recipe:
            recipe = changed
            kept.append(override)
    return recipe, tuple(kept)


def _unscheduled(recipe: Recipe, path: str) -> Iterator[str]:
    """The recipe's schedule without the field at `path`, and those of its parts; nothing where it has none of them."""

    def left(field: str) -> list[str]:
        if "*" not in field:
            return [] if field == path or field.startswith(f"{path}.") else [field]
        named = [name for name in recipe.flat() if fnmatchcase(name, field)]
        return [field] if path not in named else [name for name in named if name != path]

    changes = [
        (change.images, {name: value for field, value in change.fields.items() for name in left(field)})
        for change in recipe.train.schedule
    ]
    schedule = [{"images": images, "fields": fields} for images, fields in changes if fields]
    if schedule != [change.model_dump(mode="json") for change in recipe.train.schedule]:
        yield f"train.schedule={json.dumps(schedule)}"


def slower(recipe: Recipe, factor: float) -> Iterator[str]:
    """Both sides at `factor` of their rates."""
    for side in ("generator", "discriminator"):
        yield f"optim.{side}.lr={getattr(recipe.optim, side).lr * factor:.4g}"


def weaker_discriminator(recipe: Recipe) -> Iterator[str]:
    """D slower than it was and than G, and stepped no oftener (a critic has to be ahead: it keeps its steps).

    Rates that are far apart meet in the middle: it may be G's that is out of place.
    """
    theirs, ours = recipe.optim.discriminator, recipe.optim.generator
    like_ours = ours.lr if theirs.kind == ours.kind else theirs.lr
    if theirs.lr > FAR_APART * like_ours:
        like_ours = math.sqrt(theirs.lr * ours.lr)
        yield f"optim.generator.lr={like_ours:.4g}"
    yield f"optim.discriminator.lr={min(theirs.lr / 2, like_ours):.4g}"
    if getattr(recipe.method, "objective", "") != "wasserstein":
        yield "train.steps.discriminator=1"


def equal_rates(recipe: Recipe) -> Iterator[str]:
    """D at G's rate where it is slower: G moves on from what it has learned to make before D has learned to tell."""
    theirs, ours = recipe.optim.discriminator, recipe.optim.generator
    if theirs.kind == ours.kind and theirs.lr < ours.lr:
        yield f"optim.discriminator.lr={ours.lr:.4g}"


def penalised(recipe: Recipe) -> Iterator[str]:
    """A bound on D's slope where there is none: R1; a gradient penalty for a critic, in place of clipped weights."""
    penalty = getattr(recipe.method, "penalty", None)
    if getattr(recipe.method, "objective", "") == "wasserstein":
        if not isinstance(penalty, LineConfig):
            yield "method.penalty={kind: gradient-penalty, weight: 10}"
    elif isinstance(penalty, NoPenalty | ClipConfig):
        # Of points, whose numbers are few, slopes are steeper: the shipped recipes' weights.
        yield f"method.penalty={{kind: r1, gamma: {0.1 if recipe.data.points else 1.0}}}"


def penalised_more(recipe: Recipe) -> Iterator[str]:
    """The bound on D's slope, or four times the one that there is."""
    gamma = getattr(getattr(recipe.method, "penalty", None), "gamma", None)
    if gamma:
        yield f"method.penalty.gamma={4 * gamma:.4g}"
    else:
        yield from penalised(recipe)


def augmented(recipe: Recipe) -> Iterator[str]:
    """Differentiable augmentation where there is none, against less data than D can learn by heart.

    Steered by how far D overfits, where D's logits tell; its published speed is for runs of millions of images: a
    quarter of a shorter one takes it all the way. Else of every image, as Zhao et al. 2020 have it.
    """
    if not isinstance(getattr(recipe.method, "augment", None), NoAugment):
        return
    if OBJECTIVES[getattr(recipe.method, "objective", "non-saturating")].undecided is None:
        yield "method.augment={kind: fixed}"
        return
    speed = min(500_000, (recipe.train.images or 2_000_000) // 4)
    yield f"method.augment={{kind: adaptive, speed_images: {max(speed, 1)}}}"


def unsaturated(recipe: Recipe) -> Iterator[str]:
    """The generator's loss that keeps a slope where D wins (Goodfellow et al. 2014, section 3)."""
    if getattr(recipe.method, "objective", "") == "minimax":
        yield "method.objective=non-saturating"


def relativistic(recipe: Recipe) -> Iterator[str]:
    """Pairs of real and fake, whose loss has no plateau that ignores modes (Sun et al. 2020; Huang et al. 2024)."""
    if getattr(recipe.method, "objective", "") in ("minimax", "non-saturating"):
        yield "method.smoothing=0"
        yield "method.objective=relativistic"


def moved(recipe: Recipe) -> Iterator[str]:
    """Pairs cut out of enlarged ones at chance places, both halves alike, where they are not yet: by the 286 to 256 of
    Isola et al. 2016."""
    if recipe.data.augment.jitter_crop == 1:
        yield "data.augment.jitter_crop=1.1171875"


def less_l1(recipe: Recipe) -> Iterator[str]:
    """Of images from images the adversarial loss where there is none, else half the weight of the distance: its best
    answer is the median of all that might be right, which is blurred (Isola et al. 2016, section 3.1)."""
    method = recipe.method
    if getattr(method, "adversarial", 1) == 0:
        yield "method.adversarial=1"
    elif (weight := getattr(method, "l1", 0)) > 0:
        yield f"method.l1={weight / 2:.4g}"


def scaled(recipe: Recipe, side: str, factor: float) -> Iterator[str]:
    """The hidden layers of "generator" or "discriminator" so many times as wide."""
    network = getattr(recipe.method, side, None)
    for name in ("widths", "widest", "width"):
        widths = getattr(network, name, None)
        if widths is None:
            continue
        if isinstance(widths, tuple):
            wider = [min(round(width * factor), WIDEST) for width in widths]
            yield f"method.{side}.{name}={wider}"
        else:
            yield f"method.{side}.{name}={min(round(widths * factor), WIDEST)}"
