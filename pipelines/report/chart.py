"""Line charts as SVG: no script, no outside resource, colours that the page's light and dark styles give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Points = Sequence[tuple[int, float]]

WIDTH, HEIGHT = 360, 190
"""Units of the drawing: pixels on a phone, whose width it fills, so that the letters can be read there."""
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 22
MOST_POINTS = 300
"""Points of a line; of more, each is the mean of its neighbours."""
LOGARITHMIC = 30.0
"""The ratio of the largest value to the smallest, all above 0, from which the scale is logarithmic."""


@dataclass(frozen=True)
class Chart:
    """svg: the drawing. legend: (number of the colour, label, last value) of each line."""

    svg: str
    legend: list[tuple[int, str, float]]


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    logarithmic: bool

    def share(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1."""
        low, high = self._of(self.low), self._of(self.high)
        return (self._of(value) - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round values, some four, from end to end."""
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            decades = [10.0**power for power in range(first, last + 1, max((last - first) // 4 + 1, 1))]
            if len(decades) > 1:
                return decades
            return [self.low, math.sqrt(self.low * self.high), self.high]
        step = nice((self.high - self.low) / 4)
        numbers = range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)
        return [number * step for number in numbers]

    def _of(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


def chart(lines: Mapping[str, Points]) -> Chart:
    """Each of `lines`, label -> [(images seen, value), ...], drawn; values that are not finite are left out."""
    finite = {label: [point for point in points if math.isfinite(point[1])] for label, points in lines.items()}
    drawn = {label: thinned(points) for label, points in finite.items() if points}
    values = [value for points in drawn.values() for _, value in points]
    last = max((images for points in drawn.values() for images, _ in points), default=1)
    down, across = scale_of(values), _Scale(0, max(last, 1), False)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for tick in down.ticks():
        y = _y(down, tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{short(tick)}</text>')
    for tick in across.ticks():
        parts.append(f'<text x="{_x(across, tick):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{short(tick)}</text>')
    for colour, points in enumerate(drawn.values()):
        places = [(_x(across, images), _y(down, value)) for images, value in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="line c{colour % 8}" points="{path}"/>')
        if len(places) < 20:  # a line of few points shows where it was measured
            parts += [f'<circle class="c{colour % 8}" cx="{x:.1f}" cy="{y:.1f}" r="2.2"/>' for x, y in places]
    legend = [(colour % 8, label, finite[label][-1][1]) for colour, label in enumerate(drawn)]
    return Chart("".join([*parts, "</svg>"]), legend)


def scale_of(values: Sequence[float]) -> _Scale:
    """A scale that holds the values; logarithmic where they are far apart."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low > 0 and high / low >= LOGARITHMIC:
        return _Scale(low / 1.1, high * 1.1, True)
    margin = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    # A share, or a distance, that never is below 0 has its 0 in sight.
    bottom = 0.0 if 0 <= low < (high - low) / 2 else low - margin
    return _Scale(bottom, high + margin, False)


def thinned(points: Points) -> list[tuple[int, float]]:
    """At most MOST_POINTS of them, each the mean of as many neighbours."""
    size = math.ceil(len(points) / MOST_POINTS) or 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def nice(step: float) -> float:
    """The least of 1, 2, 2.5 and 5 times a power of ten that is at least `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= step * (1 - 1e-9))


def short(value: float) -> str:
    """Few letters: 250k, 1.5M, 0.05, 1e-6."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.2g}" if abs(value) < 1 else f"{value:.3g}"


def _x(scale: _Scale, images: float) -> float:
    return LEFT + scale.share(images) * (WIDTH - LEFT - RIGHT)


def _y(scale: _Scale, value: float) -> float:
    return HEIGHT - BOTTOM - scale.share(value) * (HEIGHT - TOP - BOTTOM)
