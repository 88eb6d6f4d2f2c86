"""Histories made by hand: a healthy run, and what is changed in it to make one that is not."""

from __future__ import annotations

from collections.abc import Sequence

from ganlib.health import Verdict, diagnose
from ganlib.recipe import Recipe

TICKS = 30
EVERY = 1_000
"""Ticks of a history, and the images between them."""

RECIPE = {
    "name": "made",
    "data": {"size": 16, "channels": 1},
    "method": {
        "generator": {"kind": "convnet", "width": 8, "widest": 16},
        "discriminator": {"kind": "convnet", "width": 8, "widest": 16},
    },
    "optim": {name: {"kind": "adam", "lr": 1e-3} for name in ("generator", "discriminator")},
    "train": {"batch": 16, "images": TICKS * EVERY},
}
HEALTHY = {
    "d_real": 0.7,
    "d_fake": 0.3,
    "d_heldout": 0.69,
    "variety": 1.0,
    "shift": 0.05,
    "gradient/generator": 0.5,
    "gradient/discriminator": 0.5,
    "loss/discriminator": 1.0,
    "loss/generator": 1.2,
}
"""At each tick. D tells a fifth of the way between not at all and always: 0.7, where 0.65 begins to be no draw."""


def recipe(*overrides: str) -> Recipe:
    return Recipe.parse(RECIPE, overrides)


def diagnosed(
    *overrides: str, evaluations: dict[str, Sequence[float]] | None = None, **ticks: float | Sequence[float]
) -> dict[str, Verdict]:
    """The verdicts by name on a healthy run in which these ticks' metrics (`__` for `/`) are others.

    evaluations: values of metrics at the end of each of so many equal parts of the run.
    """
    changed = {name.replace("__", "/"): values for name, values in ticks.items()}
    metrics: dict[str, list[tuple[int, float]]] = {}
    for name, value in {**HEALTHY, **changed}.items():
        values = list(value) if isinstance(value, Sequence) else [value] * TICKS
        metrics[name] = [((i + 1) * EVERY, one) for i, one in enumerate(values)]
    for name, values in (evaluations or {}).items():
        part = TICKS // len(values)
        metrics[name] = [((i + 1) * part * EVERY, one) for i, one in enumerate(values)]
    return {verdict.name: verdict for verdict in diagnose(metrics, recipe(*overrides))}
