"""The pictures of a study's parameters: each against what trials came to, two together, and their way in time."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganlib.evaluation.names import plain
from tuning.distributions import Choice, Distribution, Uniform
from tuning.ledger import BAD, lineage
from tuning.record import Study, Trial
from tuning.report.canvas import (
    COLOURS,
    FIRST,
    GREY,
    LOGARITHMIC,
    STAR,
    Picture,
    along,
    drawing,
    in_time,
    logarithmic,
    scale_images,
    scale_parameter,
    scale_values,
    short,
)
from tuning.report.readings import base_value, best_trial, last_value, space_of, values_now, when

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RATES = ("optim.generator.lr", "optim.discriminator.lr")
BOTH = "optim.*.lr"
STEPS = ("train.steps.discriminator", "train.steps.generator")


def slices(study: Study) -> list[Picture]:
    """A picture a parameter: what trials came to, against its value; of bad ones the value alone. None of bad alone."""
    found: list[Picture] = []
    if all(last_value(trial) is None for trial in study.trials):
        return found
    for number, (path, axis) in enumerate(space_of(study).items()):
        points = [(trial, along(axis, value)) for trial in study.trials
                  if (value := values_now(study, trial).get(path)) is not None]  # fmt: skip
        if points:
            stem = f"slice-{number + 1}-{re.sub(r'[^A-Za-z0-9.]+', 'each', path)}"
            found.append(Picture(stem, path, "", _slice(study, axis, points)))
    return found


def _slice(study: Study, axis: Distribution, points: Sequence[tuple[Trial, float]]) -> bytes:
    from matplotlib.colors import Normalize

    best = best_trial(study)
    good = [(trial, place, reading) for trial, place in points if (reading := last_value(trial)) is not None]
    bad = [place for trial, place in points if trial.status in BAD]
    with drawing() as drawn:
        axes = drawn.axes
        times = [when(study, trial, reading) for trial, _, reading in good]
        if good:
            colours = in_time()(Normalize(min(times), max(times))(times))
            for (trial, place, reading), colour in zip(good, colours, strict=True):
                hollow = trial.status == "stopped"
                axes.plot(
                    place, reading.value, "o", color=colour, markersize=4.5, fillstyle="none" if hollow else "full"
                )
        for trial, place, reading in good:
            if best is not None and trial.number == best.number:
                axes.plot(place, reading.value, "*", color=STAR, markersize=11, markeredgecolor="white", zorder=5)
        scale_values(axes, [reading.value for _, _, reading in good])
        scale_parameter(axes, axis)
        _bad_marks(axes, bad)
        axes.set_ylabel(plain(study.metric))
    return drawn.png


def _bad_marks(axes: Axes, places: Sequence[float]) -> None:
    """Along the upper edge, where no value is."""
    axes.plot(places, [0.98] * len(places), "x", color=COLOURS["failed"], markersize=4, alpha=0.8,
              transform=axes.get_xaxis_transform(), clip_on=False)  # fmt: skip


@dataclass(frozen=True)
class _Side:
    """One axis of a picture of two: what it is called, a trial's place on it, and how to scale it."""

    name: str
    of: Callable[[Trial], float]
    scale: Callable[[Axes, str], None]


def pairs(study: Study) -> list[Picture]:
    """The two learning rates, and each rate against the D/G ratio, where the space has them."""
    space = space_of(study)
    rates = [path for path in (*RATES, BOTH) if path in space]
    sides = {path: _parameter(study, path, space[path]) for path in rates}
    found = []
    if set(RATES) <= set(space):
        generator, discriminator = (sides[path] for path in RATES)
        png = _pair(study, generator, discriminator, diagonal=True)
        if png:
            found.append(Picture("rates", "Learning rates", "the line: both alike", png))
    if any(path in space for path in STEPS):
        for path in rates:
            png = _pair(study, _ratio(study), sides[path])
            if png:
                stem = f"ratio-and-{path.split('.')[1].replace('*', 'both')}-rate"
                says = "discriminator steps a generator step, spread a little so that no dot hides another"
                found.append(Picture(stem, f"{path} and the D/G ratio", says, png))
    return found


def _parameter(study: Study, path: str, axis: Distribution) -> _Side:
    def of(trial: Trial) -> float:
        value = values_now(study, trial).get(path)
        return math.nan if value is None else along(axis, value)

    return _Side(path, of, lambda axes, which: scale_parameter(axes, axis, which))


def _ratio(study: Study) -> _Side:
    def of(trial: Trial) -> float:
        values = values_now(study, trial)
        discriminator, generator = (float(values.get(path) or base_value(study, path) or 1) for path in STEPS)
        return discriminator / generator * (1 + 0.05 * math.sin(trial.number * 2.4))

    def scale(axes: Axes, which: str) -> None:
        logarithmic(axes, which)
        ratios = [of(trial) for trial in study.trials]
        low, high = min(ratios) / 1.2, max(ratios) * 1.2
        ticks = [tick for tick in (0.2, 1 / 3, 0.5, 1, 2, 3, 5, 10) if low <= tick <= high]
        axes.set_xlim(low, high)
        axes.set_xticks(ticks, [short(tick) for tick in ticks])
        axes.set_xticks([], minor=True)

    return _Side("D steps a G step", of, scale)


def _pair(study: Study, across: _Side, up: _Side, diagonal: bool = False) -> bytes | None:
    """What trials came to, as a colour; None where no trial has both and a value."""
    from matplotlib.colors import LogNorm, Normalize

    placed = [(trial, across.of(trial), up.of(trial)) for trial in study.trials]
    placed = [point for point in placed if math.isfinite(point[1]) and math.isfinite(point[2])]
    good = [(x, y, reading.value) for trial, x, y in placed if (reading := last_value(trial)) is not None]
    bad = [(x, y) for trial, x, y in placed if trial.status in BAD]
    if not good:
        return None
    values = [value for _, _, value in good]
    low, high = min(values), max(values)
    far = low > 0 and high / low >= LOGARITHMIC
    # A single value is a range too.
    norm = LogNorm(low, high) if far else Normalize(low, high if high > low else low + 1e-9)
    best = best_trial(study)
    with drawing(height=2.7) as drawn:
        axes = drawn.axes
        # The worst first, the best on top of them.
        order = sorted(good, key=lambda point: point[2], reverse=study.mode == "min")
        colours = "viridis_r" if study.mode == "min" else "viridis"
        x, y, c = zip(*order, strict=True)
        dots = axes.scatter(x, y, 26, c, cmap=colours, norm=norm, linewidths=0.4, edgecolors=GREY)
        axes.plot(*zip(*bad, strict=True), "x", color=COLOURS["failed"], markersize=4) if bad else None
        for trial, x_best, y_best in placed:
            if best is not None and trial.number == best.number:
                axes.plot(x_best, y_best, "*", color=STAR, markersize=11, markeredgecolor="white", zorder=5)
        across.scale(axes, "x")
        up.scale(axes, "y")
        if diagonal:
            axes.axline((1e-3, 1e-3), (1e-2, 1e-2), color=GREY, linewidth=0.7, linestyle=":")
        axes.set_xlabel(across.name)
        axes.set_ylabel(up.name)
        bar = drawn.figure.colorbar(dots, ax=axes, pad=0.02, aspect=28)
        bar.set_label(plain(study.metric))
        bar.outline.set_visible(False)
        scale_values(bar.ax, values)
    return drawn.png


def schedules(study: Study) -> list[Picture]:
    """Of a population: each parameter that changed, over images; bold, what the best trial's weights went through."""
    if not any(trial.mutations for trial in study.trials):
        return []
    best = best_trial(study)
    number = None if best is None else best.number if best.repeats is None else best.repeats
    end = max((reading.images for trial in study.trials for reading in trial.readings), default=0)
    found = []
    for place, (path, axis) in enumerate(space_of(study).items()):
        with drawing() as drawn:
            axes = drawn.axes
            seen: list[float] = []
            for trial in study.trials:
                own = [(0, trial.values), *((mutation.images, mutation.values) for mutation in trial.mutations)]
                seen += _staircase(axes, axis, path, own, end, color=GREY, linewidth=0.8, alpha=0.5)
            if number is not None:
                _staircase(axes, axis, path, lineage(study, number), end, color=FIRST, linewidth=2.2)
            scale_images(axes, [])
            scale_parameter(axes, axis, "y")
            if not isinstance(axis, Uniform | Choice):
                axes.margins(y=0.15)
            axes.set_ylabel(path)
        if len(set(seen)) > 1:
            stem = f"schedule-{place + 1}-{re.sub(r'[^A-Za-z0-9.]+', 'each', path)}"
            says = "" if number is None else f"bold: what the weights of trial {number} went through"
            found.append(Picture(stem, path, says, drawn.png))
    return found


def _staircase(
    axes: Axes, axis: Distribution, path: str, steps: Sequence[tuple[int, Any]], end: int, **style: Any
) -> list[float]:
    """Draws a parameter's values from so many images on; returns them as they stand on the scale."""
    points = [(images, along(axis, values[path])) for images, values in steps if path in values]
    if points:
        across, up = zip(*[*points, (end, points[-1][1])], strict=True)
        axes.step(across, up, where="post", **style)
    return [value for _, value in points]
