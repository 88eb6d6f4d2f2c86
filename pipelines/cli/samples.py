"""`gan sample`: images from a trained generator, of noise, of classes, or of a person's own images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganlib.errors import UserError
from pipelines.cli.options import DEFAULT_HOME, HomeOption, open_home

if TYPE_CHECKING:
    import numpy as np

    from ganlib.sampling import Sampler

BLOCK = 256
"""Images made, and written, at a time."""


def sample(
    run: Annotated[str, typer.Argument(help="A run's name or folder, or a checkpoint's folder.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder of single PNG files, or a .png file for one grid (points: .npy)."),
    ],
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, max=1_000_000, help="Images to make; 64 by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    labels: Annotated[
        str | None, typer.Option(help="Classes to draw, by number: 3,3,7. In turn, where --count asks for more.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--input", help="An image or a folder of them, for a generator that makes images from images."),
    ] = None,
    interpolate: Annotated[
        int, typer.Option(min=0, max=1000, help="With --input: images between each two that follow each other.")
    ] = 0,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Draw images from a trained generator: the same seed gives the same images."""
    sampler = _open(run, home)
    if source is not None:
        if labels is not None or count is not None:
            raise UserError("--input says how many images there are and of what; leave out --count and --labels")
        _from_images(sampler, source, interpolate, out)
    else:
        if interpolate:
            raise UserError("--interpolate goes between images; give some with --input")
        if "inputs" in sampler.recipe.method.wants:
            raise UserError("this generator makes images from images; give some with --input")
        classes = None if labels is None else _classes(labels)
        _from_noise(sampler, count or (len(classes) if classes else 64), seed, classes, out)
    typer.echo(out)


def _open(run: str, home: Path) -> Sampler:
    from ganlib.sampling import load_sampler
    from ganlib.training.checkpoint import newest_checkpoint
    from pipelines.run_folder import find_run

    if (Path(run) / "progress.json").is_file():
        return load_sampler(Path(run))
    found = find_run(open_home(home), run)
    folder = newest_checkpoint(found.path)
    if folder is None:
        raise UserError(f"run {found.name} has no whole checkpoint yet")
    return load_sampler(folder)


def _classes(labels: str) -> list[int]:
    try:
        return [int(word) for word in labels.split(",")]
    except ValueError as error:
        raise UserError(f"--labels is {labels!r}: give classes by number, separated by commas, as in 3,3,7") from error


def _from_noise(sampler: Sampler, count: int, seed: int, classes: list[int] | None, out: Path) -> None:
    from pipelines.console import Progress

    def block(first: int, size: int) -> np.ndarray:
        asked = None if classes is None else [classes[i % len(classes)] for i in range(first, first + size)]
        return sampler.sample(size, seed, first, labels=asked)

    if sampler.recipe.data.points:
        _write_points(out, block(0, count))
        return
    if out.suffix == ".png":
        _write_grid(out, block(0, count))
        return
    _make(out)
    with Progress("sample") as progress:
        for first in range(0, count, BLOCK):
            images = block(first, min(BLOCK, count - first))
            _write(out, [f"sample-{first + i:06d}" for i in range(len(images))], images)
            progress.update(first + len(images), count)


def _from_images(sampler: Sampler, source: Path, interpolate: int, out: Path) -> None:
    """Each input made again, under its name; what lies between two under the first's, numbered.

    A grid has each input before what is made of it; interpolated, a row from each input to the next.
    """
    import numpy as np

    from ganlib.files import write_atomically
    from ganlib.inputs import read_inputs
    from ganlib.pictures import png, side_by_side

    names, inputs = read_inputs(source, sampler.recipe.data.preparation)
    made = sampler.sample(len(inputs), inputs=inputs, interpolate=interpolate)
    if out.suffix != ".png":
        _make(out)
        steps = interpolate + 1
        numbered = [f"{i:04d}-{name}" for i, name in enumerate(names)]
        _write(
            out,
            [f"{numbered[i // steps]}-{i % steps:03d}" if steps > 1 else numbered[i] for i in range(len(made))],
            made,
        )
    elif not interpolate or len(inputs) == 1:
        write_atomically(out, png(side_by_side(inputs, made)))
    else:
        starts = range(0, len(made) - 1, interpolate + 1)
        rows = [
            np.concatenate([inputs[i : i + 1], made[start : start + interpolate + 2], inputs[i + 1 : i + 2]])
            for i, start in enumerate(starts)
        ]
        _write_grid(out, np.concatenate(rows), interpolate + 4)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the output folder {folder} cannot be written ({error.strerror})") from error


def _write(folder: Path, names: list[str], images: np.ndarray) -> None:
    from ganlib.files import write_atomically
    from ganlib.pictures import png, to_image

    for name, image in zip(names, images, strict=True):
        write_atomically(folder / f"{name}.png", png(to_image(image)))


def _write_points(path: Path, points: np.ndarray) -> None:
    """float32 [n, 1, d, 1] as a NumPy file of [n, d]."""
    import io

    import numpy as np

    from ganlib.files import write_atomically

    if path.suffix != ".npy":
        raise UserError(f"this generator makes points and no pictures: give a .npy file for {path} (--out)")
    buffer = io.BytesIO()
    np.save(buffer, points[:, 0, :, 0])
    write_atomically(path, buffer.getvalue())


def _write_grid(path: Path, images: np.ndarray, columns: int | None = None) -> None:
    from ganlib.files import write_atomically
    from ganlib.pictures import grid, png

    write_atomically(path, png(grid(images, columns)))
