"""The picture of a game on a line, after figure 1 of Goodfellow et al. 2014."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ganlib.theory.densities import BOTTOM
from ganlib.theory.line import Look

ARROWS = 33
"""Latents from which a line is drawn to where G takes them."""


def draw(moment: Look, images_seen: int) -> Image.Image:
    """p_data dotted, p_g solid, D dashed and D* thin, over x; below, lines from z (evenly) up to G(z)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    x, figures = moment.line.x, moment.figures
    figure = Figure(figsize=(7, 5.2), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.plot(x, moment.p_data, "k:", label="$p_{data}$")
    above.plot(x, moment.p_g, color="tab:green", linewidth=1.2, label="$p_g$")
    above.plot(x, moment.d_star, color="tab:blue", linewidth=0.8, alpha=0.6, label="$D^*$")
    above.plot(x, moment.d, "--", color="tab:blue", label="$D$")
    above.axhline(0.5, color="0.85", linewidth=0.8, zorder=0)
    # A spike of p_g, where all z go to one x, would press the rest flat.
    above.set_ylim(0, max(1.05, 2 * moment.p_data.max()))
    above.set_xlim(moment.line.low, moment.line.high)
    above.legend(loc="upper right", fontsize=9, ncols=4)
    above.set_title(
        f"{images_seen:,} points seen   mean |D - D*| {figures['distance']:.3f}   "
        f"JS {figures['js']:.4f}   V {figures['value']:.3f} (optimum {BOTTOM:.3f})",
        fontsize=9,
    )
    chosen = np.linspace(0, len(moment.latents) - 1, ARROWS).round().astype(int)
    # z has an axis of its own, as wide as the data is, at the bottom; x = G(z) is the axis at the top.
    reach = moment.line.low + (moment.latents + 1) / 2 * (moment.line.high - moment.line.low)
    for z, made in zip(reach[chosen], moment.images[chosen], strict=True):
        below.plot([z, made], [0, 1], color="tab:green", linewidth=0.7)
    below.set_ylim(0, 1)
    below.set_yticks([0, 1], ["z", "x"])
    below.tick_params(axis="x", labelsize=8)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
