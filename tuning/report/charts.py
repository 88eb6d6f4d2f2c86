"""The pictures of a study: how it went, what it cost, what matters."""

from __future__ import annotations

import math
from typing import Any

from ganlib.evaluation.names import plain
from tuning.importance import Importances
from tuning.record import Study, Trial
from tuning.report.canvas import (
    COLOURS,
    FIRST,
    GREY,
    MARKS,
    SECOND,
    STAR,
    Picture,
    drawing,
    scale_images,
    scale_values,
)
from tuning.report.contents import STATUSES, images_of, seconds_of
from tuning.report.parameters import pairs, schedules, slices
from tuning.report.readings import best_trial, front, moments, records, whole

__all__ = ["best_so_far", "cost", "curves", "fronts", "importance_bars", "pairs", "schedules", "slices"]


def best_so_far(study: Study) -> list[Picture]:
    """Against the time since the study began, and against the images that all its trials saw; none without a value."""
    found, best = moments(study), records(study)
    if not best:
        return []
    finite = [moment for moment in found if math.isfinite(moment.reading.value)]
    values = [moment.reading.value for moment in finite]
    size, unit = time_unit(found[-1].seconds)
    pictures = []
    for stem, what in (("best-by-time", "time"), ("best-by-images", "images")):
        by_time = what == "time"
        with drawing() as drawn:
            axes = drawn.axes
            across = [moment.seconds / size if by_time else moment.images for moment in finite]
            axes.plot(across, values, ".", color=GREY, markersize=3, alpha=0.6, markeredgewidth=0)
            steps = [(m.seconds / size if by_time else m.images, m.reading.value) for m in best]
            end = max(across)
            axes.step([*(x for x, _ in steps), end], [*(y for _, y in steps), steps[-1][1]], where="post", color=FIRST)
            axes.plot(*steps[-1], "o", color=FIRST, markersize=4)
            scale_values(axes, values)
            axes.set_ylabel(plain(study.metric))
            if by_time:
                axes.set_xlabel(f"{unit} since the study began")
            else:
                scale_images(axes, [])
                axes.set_xlabel("images seen by all trials")
        last = best[-1]
        says = f"{last.reading.value:.4g}, by trial {last.trial.number}; a dot is a reading of any trial"
        pictures.append(Picture(stem, f"Best so far, by {what}", says, drawn.png))
    return pictures


def time_unit(seconds: float) -> tuple[float, str]:
    """Seconds in the unit for so long a time, and its name."""
    return (1, "seconds") if seconds < 180 else (60, "minutes") if seconds < 10_800 else (3_600, "hours")


def curves(study: Study) -> list[Picture]:
    """Every trial's readings, with how it ended where it did; none without a value."""
    drawn_trials = [(trial, _finite(trial)) for trial in study.trials]
    drawn_trials = [(trial, points) for trial, points in drawn_trials if points]
    if not drawn_trials:
        return []
    best = best_trial(study)
    with drawing(height=2.9) as drawn:
        axes = drawn.axes
        for trial, points in drawn_trials:
            first = best is not None and trial.number == best.number
            style: dict[str, Any] = {
                "color": COLOURS[trial.status],
                "alpha": 1.0 if first else 0.55,
                "zorder": 4 if first else 2,
            }
            dashes = "--" if trial.repeats is not None else "-"
            axes.plot(*zip(*points, strict=True), dashes, linewidth=2 if first else 0.8, **style)
            mark = MARKS[trial.status]
            axes.plot(*points[-1], mark, markersize=6 if mark == "|" else 4, **style | {"alpha": 1.0})
        scale_values(axes, [value for _, points in drawn_trials for _, value in points])
        scale_images(axes, [images for _, points in drawn_trials for images, _ in points])
        axes.set_ylabel(plain(study.metric))
        for status in STATUSES:
            count = sum(trial.status == status for trial, _ in drawn_trials)
            if count:
                label = f"{status} ({count})"
                axes.plot([], [], color=COLOURS[status], marker=MARKS[status], markersize=4, label=label)
        drawn.figure.legend(loc="outside lower center", ncols=3, handlelength=1.6, columnspacing=1.2)
    without = len(study.trials) - len(drawn_trials)
    says = "a mark is where a trial ended; " + (f"bold: trial {best.number}, the best" if best else "none is good")
    says += "; dashed: finals, on fresh seeds" if any(trial.repeats is not None for trial in study.trials) else ""
    says += f"; {without} without a reading that is a number are not here" if without else ""
    return [Picture("curves", "Every trial", says, drawn.png)]


def _finite(trial: Trial) -> list[tuple[int, float]]:
    return [(reading.images, reading.value) for reading in trial.readings if math.isfinite(reading.value)]


def importance_bars(weights: Importances) -> Picture:
    """Total shares with their intervals; within each bar, what the parameter does alone."""
    parameters = weights.parameters[::-1]
    rows = range(len(parameters))
    with drawing(height=1.1 + 0.36 * len(parameters)) as drawn:
        axes = drawn.axes
        totals = [100 * one.total for one in parameters]
        below = [max(100 * (one.total - one.low), 0) for one in parameters]
        above = [max(100 * (one.high - one.total), 0) for one in parameters]
        axes.barh(rows, totals, 0.62, color=FIRST, alpha=0.45, label="with others")
        axes.barh(rows, [100 * one.alone for one in parameters], 0.62, color=FIRST, label="alone")
        axes.errorbar(totals, rows, xerr=[below, above], fmt="none", ecolor=SECOND, elinewidth=1.2, capsize=2.5)
        # Names stand above their bars: beside them, they would take half of a phone's width.
        axes.set_yticks([])
        for row, one in zip(rows, parameters, strict=True):
            axes.text(0, row + 0.34, one.path, va="bottom", ha="left")
        axes.set_ylim(-0.6, len(parameters) - 0.1)
        axes.set_xlim(0, 105)
        axes.set_xlabel("percent of the variance")
        axes.grid(visible=False, axis="y")
        drawn.figure.legend(loc="outside lower center", ncols=2)
    says = (
        f"from {weights.trials} trials; R² of a trial's place, foretold from the others: {weights.explained:.2f}; "
        "the line across a bar's end: 90 percent of what the share may be"
    )
    return Picture("importance", "What matters", says, drawn.png)


def fronts(study: Study) -> list[Picture]:
    """Of a search for both, the metric against the seconds of training, and the trials that are best for their cost."""
    kept = front(study)
    if study.search != "tpe-cost" or not kept:
        return []
    best = best_trial(study)
    places = {trial.number: (trial.readings[-1].seconds, trial.readings[-1].value) for trial in whole(study)}
    size, unit = time_unit(max(seconds for seconds, _ in places.values()))
    with drawing() as drawn:
        axes = drawn.axes
        for seconds, value in places.values():
            axes.plot(seconds / size, value, "o", color=GREY, markersize=3.5, alpha=0.7)
        steps = [places[trial.number] for trial in kept]
        axes.step([x / size for x, _ in steps], [y for _, y in steps], "o-", where="post", color=FIRST, markersize=4.5)
        if best is not None and best.number in places:
            seconds, value = places[best.number]
            axes.plot(seconds / size, value, "*", color=STAR, markersize=11, markeredgecolor="white", zorder=5)
        scale_values(axes, [value for _, value in places.values()])
        scale_values(axes, [seconds / size for seconds, _ in places.values()], "x")
        axes.set_ylabel(plain(study.metric))
        axes.set_xlabel(f"{unit} of training")
    numbers = ", ".join(f"{trial.number}" for trial in kept)
    says = f"a dot is a trial that came to its end; none is better for less than trials {numbers}; the star: the best"
    return [Picture("front", "Value for cost", says, drawn.png)]


def cost(study: Study) -> list[Picture]:
    """Seconds of training and images seen by status; none without a reading."""
    whole = {
        "seconds of training": sum(map(seconds_of, study.trials)),
        "images seen": sum(map(images_of, study.trials)),
        "trials": len(study.trials),
    }
    if not whole["images seen"]:
        return []
    with drawing(height=1.7) as drawn:
        axes = drawn.axes
        for row, (name, total) in enumerate(whole.items()):
            left = 0.0
            for status in STATUSES:
                trials = [trial for trial in study.trials if trial.status == status]
                own = [sum(map(seconds_of, trials)), sum(map(images_of, trials)), len(trials)][row]
                share = 100 * own / total if total else 0
                axes.barh(row, share, 0.6, left, color=COLOURS[status], label=status if row == 0 and trials else None)
                if share >= 9:
                    axes.text(left + share / 2, row, f"{share:.0f}%", ha="center", va="center", color="white")
                left += share
            axes.text(0, row + 0.32, name, va="bottom", ha="left")
        axes.set_yticks([])
        axes.set_xticks([])
        axes.set_ylim(-0.4, len(whole) - 0.25)
        axes.set_xlim(0, 100)
        axes.spines[:].set_visible(False)
        axes.grid(visible=False)
        drawn.figure.legend(loc="outside lower center", ncols=3, handlelength=1.2, columnspacing=1.2)
    return [Picture("cost", "Cost", "what went into trials by how they ended", drawn.png)]
