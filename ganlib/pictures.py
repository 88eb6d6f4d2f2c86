"""Grids, curves and animations, as PNG and GIF files."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganlib.files import write_atomically

SMALL = 64
"""Images smaller than this are shown enlarged by a whole factor, so that pixels stay pixels."""


def grid(images: np.ndarray, columns: int | None = None, gap: int = 2) -> Image.Image:
    """uint8 [n, H, W, C] -> one picture, row by row, as square as it gets, with `gap` pixels between."""
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = gap + i // columns * (height + gap), gap + i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    picture = to_image(sheet)
    factor = max(SMALL // height, 1)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def side_by_side(*views: np.ndarray) -> Image.Image:
    """uint8 [n, H, W, C], each a view of the same n things (input, output, truth) -> a grid, four things a row.

    The views of a thing stand beside one another, in the order given.
    """
    together = np.stack(views, 1).reshape(-1, *views[0].shape[1:])
    return grid(together, len(views) * min(len(views[0]), 4))


LEFT, LINE = 132, 12
"""Pixels of what is written to the left of a table's rows, and of a line of it."""


def table(cells: np.ndarray, left: Sequence[str] = (), above: Sequence[str] = (), gap: int = 2) -> Image.Image:
    """uint8 [rows, columns, H, W, C] -> a grid, RGB, with a text to the left of each row and one above each column.

    Texts that are too long for their place end in an ellipsis. Where there are none, there is no place for them.
    """
    rows, columns = cells.shape[:2]
    plain = grid(cells.reshape(-1, *cells.shape[2:]), columns, gap)
    x, y = LEFT if left else 0, LINE if above else 0
    whole = Image.new("RGB", (x + plain.width, y + plain.height), "white")
    whole.paste(plain.convert("RGB"), (x, y))
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(10)
    high, wide = plain.height / rows, plain.width / columns
    for row, text in enumerate(left):
        for number, line in enumerate(_lines(text, LEFT, max(int(high) // LINE, 1))):
            pen.text((4, y + int(row * high) + gap + number * LINE), line, "black", font)
    for column, text in enumerate(above):
        (line,) = _lines(text, int(wide), 1)
        pen.text((x + int(column * wide) + gap, 0), line, "black", font)
    return whole


def _lines(text: str, width: int, most: int) -> list[str]:
    """At most so many lines that go into so many pixels, at some 6 a letter."""
    letters = max(width // 6, 2)
    lines = textwrap.wrap(text, letters) or [""]
    return lines if len(lines) <= most else [*lines[: most - 1], lines[most - 1][: letters - 1] + "…"]


def scatter(points: np.ndarray, data: np.ndarray) -> Image.Image:
    """float32 [n, 1, d, 1] points before `data` [m, 1, d, 1]: bars for d = 1, else dots of the first two numbers.

    The window is the data's, and half as much around it, so that pictures of one run fit over one another.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made, real = points.reshape(len(points), -1)[:, :2], data.reshape(len(data), -1)[:, :2]
    low, high = real.min(0), real.max(0)
    margin = (high - low) / 4
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if made.shape[1] == 1:
        bins = np.linspace(low[0] - margin[0], high[0] + margin[0], 100).tolist()
        # Shares, not a density, which no histogram has that all points have missed.
        axes.hist(real[:, 0], bins, weights=np.full(len(real), 1 / len(real)), color="0.8")
        axes.hist(made[:, 0], bins, weights=np.full(len(made), 1 / len(made)), color="tab:green", histtype="step")
    else:
        axes.scatter(real[:, 0], real[:, 1], s=4, color="0.8", linewidths=0)
        axes.scatter(made[:, 0], made[:, 1], s=4, color="tab:green", linewidths=0, alpha=0.6)
        axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def to_image(pixels: np.ndarray) -> Image.Image:
    """uint8 [H, W, 1 or 3] -> a Pillow image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def png(picture: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def animate(frames: Sequence[Path], target: Path, milliseconds: int = 200) -> None:
    """Writes an animated GIF of the pictures `frames`, the last one held longer, at most some 60 frames."""
    step = math.ceil(len(frames) / 60)
    chosen = [*frames[:-1:step], frames[-1]]
    pictures = [Image.open(frame).convert("P", palette=Image.Palette.ADAPTIVE) for frame in chosen]
    buffer = io.BytesIO()
    durations = [milliseconds] * (len(pictures) - 1) + [2000]
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    write_atomically(target, buffer.getvalue())


def curves(series: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]], target: Path) -> None:
    """Writes one PNG with a panel for each entry of `series`: title -> label -> [(images seen, value)]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = {title: lines for title, lines in series.items() if any(lines.values())}
    figure = Figure(figsize=(9, 2.6 * max(len(panels), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    for position, (title, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(len(panels), 1, position + 1)
        for label, points in lines.items():
            if points:
                seen, values = zip(*points, strict=True)
                # A line of few points, or of one alone, shows where it was measured.
                marker = "o" if len(points) < 20 else None
                axes.plot(np.asarray(seen) / 1000, values, label=label, linewidth=1.2, marker=marker, markersize=3)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("thousands of images seen", fontsize=8)
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_atomically(target, buffer.getvalue())


def sheet(frames: Mapping[str, Path], target: Path, across: int = 3) -> None:
    """Writes one PNG of the pictures `frames` (title -> file), all of one size, each under its title."""
    pictures = {title: Image.open(path).convert("RGB") for title, path in frames.items()}
    width, height = next(iter(pictures.values())).size
    across, title_height = min(across, len(pictures)), 24
    cell = (width + 8, height + title_height + 8)
    whole = Image.new("RGB", (across * cell[0], math.ceil(len(pictures) / across) * cell[1]), "white")
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(16)
    for position, (title, picture) in enumerate(pictures.items()):
        x, y = position % across * cell[0] + 4, position // across * cell[1] + 4
        pen.text((x, y), title, "black", font)
        whole.paste(picture, (x, y + title_height))
    write_atomically(target, png(whole))
