"""The picture of a game on a line, after figure 1 of Goodfellow et al. 2014."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ganlib.theory.densities import BOTTOM
from ganlib.theory.line import Look

ARROWS = 33
"""Latents from which a line is drawn to where G takes them."""
MARGINS = {"left": 0.055, "right": 0.985, "bottom": 0.05, "top": 0.945, "hspace": 0.05}
"""Shares of the figure. Matplotlib's own search for them takes as long as the drawing."""


class GameFigure:
    """p_data dotted, p_g solid, D dashed and D* thin, over x; below, lines from z (evenly) up to G(z).

    It is set up once, and drawn of one moment after another of a game on one line.
    """

    def __init__(self) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.collections import LineCollection
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 5.2))
        self._canvas = FigureCanvasAgg(figure)
        self._above, self._below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1], gridspec_kw=MARGINS)
        above, below = self._above, self._below
        (self._p_data,) = above.plot([], [], "k:", label="$p_{data}$")
        (self._p_g,) = above.plot([], [], color="tab:green", linewidth=1.2, label="$p_g$")
        (self._d_star,) = above.plot([], [], color="tab:blue", linewidth=0.8, alpha=0.6, label="$D^*$")
        (self._d,) = above.plot([], [], "--", color="tab:blue", label="$D$")
        above.axhline(0.5, color="0.85", linewidth=0.8, zorder=0)
        above.legend(loc="upper right", fontsize=9, ncols=4)
        self._arrows = LineCollection([], colors="tab:green", linewidths=0.7)
        below.add_collection(self._arrows)
        below.set_ylim(0, 1)
        below.set_yticks([0, 1], ["z", "x"])
        below.tick_params(axis="x", labelsize=8)

    def draw(self, moment: Look, images_seen: int) -> Image.Image:
        """RGB, 700 x 520 pixels."""
        line, figures = moment.line, moment.figures
        drawn = (
            (self._p_data, moment.p_data),
            (self._p_g, moment.p_g),
            (self._d_star, moment.d_star),
            (self._d, moment.d),
        )
        for artist, values in drawn:
            artist.set_data(line.x, values)
        # A spike of p_g, where all z go to one x, would press the rest flat.
        self._above.set_ylim(0, max(1.05, 2 * moment.p_data.max()))
        self._above.set_xlim(line.low, line.high)
        self._above.set_title(
            f"{images_seen:,} points seen   mean |D - D*| {figures['distance']:.3f}   "
            f"JS {figures['js']:.4f}   V {figures['value']:.3f} (optimum {BOTTOM:.3f})",
            fontsize=9,
        )
        chosen = np.linspace(0, len(moment.latents) - 1, ARROWS).round().astype(int)
        # z has an axis of its own, as wide as the data is, at the bottom; x = G(z) is the axis at the top.
        reach = line.low + (moment.latents + 1) / 2 * (line.high - line.low)
        ends = zip(reach[chosen], moment.images[chosen], strict=True)
        self._arrows.set_segments([np.array([(z, 0), (made, 1)]) for z, made in ends])
        self._canvas.draw()
        return Image.fromarray(np.asarray(self._canvas.buffer_rgba())[..., :3].copy())
