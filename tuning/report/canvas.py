"""What the pictures of a study's report have in common: size, colours, scales; drawn by matplotlib as PNGs.

Their background is transparent and their letters are grey, to be read on a light page and on a dark one.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuning.distributions import Choice, Distribution, Int, Uniform
from tuning.record import TrialStatus
from tuning.report.readings import said

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 3.6, 2.5
"""Inches; at 200 dots an inch two dots to a pixel of a phone, whose width a picture fills: letters of 8 points are 11
pixels high there."""
DPI = 200
LETTERS = 8
GREY, FAINT = "#7d838d", "#7d838d55"
FIRST, SECOND, STAR = "#3b82c4", "#e07b39", "#e2a400"
COLOURS: dict[TrialStatus, str] = {
    "finished": FIRST,
    "stopped": GREY,
    "unhealthy": SECOND,
    "failed": "#d04a4a",
    "running": "#3a9d5d",
}
MARKS: dict[TrialStatus, str] = {"finished": "o", "stopped": "|", "unhealthy": "x", "failed": "X", "running": ">"}
LOGARITHMIC = 30.0
"""The ratio of the largest value to the smallest, all above 0, from which the scale is logarithmic."""


@dataclass(frozen=True)
class Picture:
    """A drawn picture: the stem of its file, for the page a title and a line on what is to be seen, and the PNG."""

    stem: str
    title: str
    says: str
    png: bytes

    @property
    def data(self) -> str:
        """As a data URI."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


class Drawing:
    """A figure while it is drawn; `png` once it is."""

    def __init__(self, figure: Figure, axes: Axes):
        self.figure, self.axes = figure, axes
        self.png = b""


@contextmanager
def drawing(width: float = WIDTH, height: float = HEIGHT) -> Iterator[Drawing]:
    """An empty figure of one pair of axes, made a PNG as the block ends."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: Any = {
        "font.size": LETTERS, "axes.labelsize": LETTERS, "xtick.labelsize": LETTERS, "ytick.labelsize": LETTERS,
        "legend.fontsize": LETTERS, "text.color": GREY, "axes.labelcolor": GREY, "xtick.color": GREY,
        "ytick.color": GREY, "axes.edgecolor": FAINT, "axes.spines.top": False, "axes.spines.right": False,
        "axes.facecolor": "none", "figure.facecolor": "none", "grid.color": FAINT, "grid.linewidth": 0.5,
        "axes.grid": True, "axes.axisbelow": True, "legend.frameon": False, "xtick.minor.visible": False,
    }  # fmt: skip
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=DPI)
        FigureCanvasAgg(figure)
        drawn = Drawing(figure, figure.add_subplot())
        yield drawn
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", transparent=True)
        drawn.png = buffer.getvalue()


def scale_values(axes: Axes, values: Iterable[float], which: str = "y") -> None:
    """A logarithmic scale where the finite values are far apart, else one that is not; ticks in few letters."""
    finite = [value for value in values if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) / min(finite) >= LOGARITHMIC:
        logarithmic(axes, which)
    else:
        _axis(axes, which).set_major_formatter(_formatter())


def scale_images(axes: Axes, images: Sequence[int]) -> None:
    """Of rungs that are each several times the one before, a logarithmic scale."""
    above = [count for count in images if count]
    if above and max(above) / min(above) >= 8:
        logarithmic(axes, "x")
        axes.set_xticks(_thinned(sorted(set(above))), minor=False)
        axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter(_formatter())
    axes.set_xlabel("images seen")


def _thinned(places: list[int]) -> list[int]:
    """Of rungs, as many as have room for their numbers: none nearer than a third of a decade to the one before."""
    kept: list[int] = []
    for place in reversed(places):
        if not kept or kept[-1] / place > 10 ** (1 / 3):
            kept.append(place)
    return kept


def logarithmic(axes: Axes, which: str) -> None:
    """With a number at each decade, or where there is no whole one, at 1, 2 and 5 times it."""
    from matplotlib.ticker import LogLocator, NullFormatter

    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = _axis(axes, which)
    low, high = axis.get_view_interval()
    few = math.log10(max(high, 1e-300) / max(low, 1e-300)) < 2
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=6))
    axis.set_major_formatter(_formatter())
    axis.set_minor_formatter(NullFormatter())


def _axis(axes: Axes, which: str) -> Any:
    return axes.xaxis if which == "x" else axes.yaxis


def _formatter() -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, place: short(value))


def short(value: float) -> str:
    """Few letters: 250k, 1.5M, 0.05, 1e-6."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    text = f"{value:.3g}"
    return text.replace("e-0", "e-") if "e" in text else text


def along(axis: Distribution, value: Any) -> float:
    """Where a parameter's value stands on its scale."""
    if isinstance(axis, Choice):
        return float(axis.index(value)) if axis.holds(value) else math.nan
    return float(value)


def scale_parameter(axes: Axes, axis: Distribution, which: str = "x") -> None:
    """The scale that a parameter is drawn from: logarithmic, by whole numbers, or choice by choice."""
    put = axes.set_xticks if which == "x" else axes.set_yticks
    match axis:
        case Uniform(low, high, log=True):
            (axes.set_xlim if which == "x" else axes.set_ylim)(low / 1.3, high * 1.3)
            logarithmic(axes, which)
        case Int(low, high):
            step = -(-(high - low + 1) // 6)
            put(list(range(low, high + 1, step)))
        case Choice(values):
            words = [said(value) for value in values]
            long = sum(map(len, words)) > 26 and which == "x"
            turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if long else {}
            put(range(len(words)), words, **turned)
            margin = (-0.5, len(words) - 0.5)
            (axes.set_xlim if which == "x" else axes.set_ylim)(*margin)


def in_time() -> Any:
    """Colours from the first to the last, none of them lost on white or on black."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("time", ["#3b6fd6", "#b05fa8", "#f0883e"])
