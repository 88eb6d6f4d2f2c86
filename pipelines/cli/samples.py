"""`gan sample`: images from a trained generator, of noise or of what a person tells it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganlib.errors import UserError
from pipelines.cli.options import DEFAULT_HOME, HomeOption, open_home
from pipelines.cli.told import Given, Things, things_of

if TYPE_CHECKING:
    import numpy as np

    from ganlib.sampling import Sampler
    from pipelines.run_folder import RunFolder

BLOCK = 256
"""Images made, and written, at a time."""
MOST = 1_000_000
UNTOLD = 64
"""Images of a generator that is told nothing, where no number is asked for."""


def sample(
    run: Annotated[str, typer.Argument(help="A run's name or folder, or a checkpoint's folder.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of single PNG files, or a .png file for one grid (points: .npy)."),
    ] = None,
    grid: Annotated[
        Path | None, typer.Option("--grid", help="A .png file for one grid: the same as --out of such a name.")
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", "-n", min=1, max=MOST, help="Images of each thing told, 1 by default; told none, 64."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    labels: Annotated[str | None, typer.Option(help="Classes to draw, by number: 3,3,7.")] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help='What to draw: "blue hair and red eyes"; @FILE for a text in each line. May be repeated.'),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(help="Where to draw it: x,y,width,height as shares of the sides. One for all, or one each."),
    ] = None,
    keypoints: Annotated[
        list[str] | None,
        typer.Option(help='Where its parts are: "x,y x,y - x,y", - for one that is not there; or a .json file.'),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option("--input", help="An image or a folder of them, for a generator that makes images from images."),
    ] = None,
    domain: Annotated[
        list[str] | None,
        typer.Option(help="What images are to become, by name or number: one for all, or one each; all for every."),
    ] = None,
    dropout: Annotated[
        bool | None,
        typer.Option(
            help="Of pix2pix: dropout on, many images of an input, one a seed; or off, one image. Else as trained."
        ),
    ] = None,
    interpolate: Annotated[
        int, typer.Option(min=0, max=1000, help="Images between each two inputs or texts that follow each other.")
    ] = 0,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Draw images from a trained generator: the same seed, told the same, gives the same images."""
    target = _target(out, grid)
    sampler, domain_names = _open(run, home)
    things = things_of(Given(labels, text, box, keypoints, inputs, domain), sampler.recipe, domain_names)
    if interpolate:
        if dropout is not None:
            raise UserError("--interpolate and --dropout do not go together; leave one of them out")
        _from_one_to_the_next(sampler, things, interpolate, count, seed, target)
    else:
        _each(sampler, things, count or (1 if things.count else UNTOLD), seed, target, dropout)
    typer.echo(target)


def _target(out: Path | None, grid: Path | None) -> Path:
    """Where the images go: what one of the two options says. Raises UserError."""
    if grid is None and out is not None:
        return out
    if grid is None or out is not None:
        raise UserError("say where the images go: --out FOLDER for single files, or --grid FILE.png; one of the two")
    if grid.suffix != ".png":
        raise UserError(f"--grid is {grid}, and a grid is a .png file; single files go to a folder, by --out")
    return grid


def _open(run: str, home: Path) -> tuple[Sampler, list[str]]:
    """The generator, and its domains' names where the run's dataset still is where it was."""
    from ganlib.sampling import load_sampler
    from ganlib.training.checkpoint import newest_checkpoint
    from pipelines.run_folder import RunFolder, find_run

    folder: Path | None = Path(run)
    if (Path(run) / "progress.json").is_file():
        found = RunFolder(Path(run).resolve().parent)
    else:
        found = find_run(open_home(home), run)
        folder = newest_checkpoint(found.path)
        if folder is None:
            raise UserError(f"run {found.name} has no whole checkpoint yet")
    assert folder is not None
    sampler = load_sampler(folder)
    return sampler, _domain_names(found) if "domains" in sampler.recipe.method.takes and found.exists else []


def _domain_names(run: RunFolder) -> list[str]:
    from ganlib.data.manifest import Manifest
    from ganlib.data.storage import Location

    try:
        return Manifest.read(Location.of(run.facts().dataset_path)).columns.domain_names or []
    except UserError:  # the dataset is gone, and with it its names: there are numbers still
        return []


def _each(sampler: Sampler, things: Things, count: int, seed: int, out: Path, dropout: bool | None) -> None:
    """`count` images of each thing; image i of them all is number i of the seed's sequence."""
    from pipelines.console import Progress

    total = count * max(things.count, 1)
    if total > MOST:
        raise UserError(f"{things.count:,} things, {count:,} images of each, are more than {MOST:,}; ask for fewer")

    def block(first: int, size: int) -> np.ndarray:
        told = things.request([i // count for i in range(first, first + size)]) if things.count else {}
        return sampler.sample(size, seed, first, dropout=dropout, **told)

    if sampler.recipe.data.points:
        _write_points(out, block(0, total))
    elif out.suffix == ".png":
        _write_sheet(out, things, block(0, total), count)
    else:
        with Progress("sample") as progress:
            for first in range(0, total, BLOCK):
                images = block(first, min(BLOCK, total - first))
                _write(out, [_name(things, first + i, count) for i in range(len(images))], images)
                progress.update(first + len(images), total)


def _name(things: Things, index: int, count: int) -> str:
    """Of the file of an image; where it is made of an input it has that one's name, and its domain's."""
    if things.names is None:
        return f"sample-{index:06d}"
    thing, across = index // count, things.across or [""]
    name = f"{thing // len(across):04d}-{things.names[thing]}"
    if things.across:
        name += f"-{across[thing % len(across)].replace('/', '_')}"
    return f"{name}-{index % count:03d}" if count > 1 else name


def _write_sheet(out: Path, things: Things, images: np.ndarray, count: int) -> None:
    """One picture: inputs before what is made of them, texts to the left, domains above; else a grid."""
    import numpy as np

    from ganlib.files import write_atomically
    from ganlib.pictures import png, side_by_side, table

    inputs = things.told.get("inputs")
    across = things.across or [""]
    rows = images.reshape(-1, count * len(across), *images.shape[1:])
    if inputs is not None:
        before = np.stack(inputs[:: len(across)])
        if rows.shape[1] == 1:
            picture = side_by_side(before, images)
        else:
            heads = ["input", *(name for name in across for _ in range(count))] if things.across else []
            picture = table(np.concatenate([before[:, None], rows], 1), above=heads)
    elif "captions" in things.told or things.across:
        heads = [name for name in across for _ in range(count)] if things.across else []
        texts = list(things.told.get("captions", ()))[:: len(across)]
        picture = table(rows, texts, heads)
    else:
        _write_grid(out, images, count if things.count and count > 1 else None)
        return
    write_atomically(out, png(picture))


def _from_one_to_the_next(
    sampler: Sampler, things: Things, interpolate: int, count: int | None, seed: int, out: Path
) -> None:
    """Each thing, and `interpolate` images between each two; a grid has a row from each to the next.

    Inputs stand at the two ends of their row, and give their names to the files.
    """
    import numpy as np

    if count is not None:
        raise UserError("--interpolate says how many images there are; leave out --count")
    if not things.told.keys() & {"inputs", "captions"}:
        raise UserError("--interpolate goes between images or texts; give some with --input or --text")
    made = sampler.sample(things.count, seed, interpolate=interpolate, **things.request(list(range(things.count))))
    steps = interpolate + 1
    if out.suffix != ".png":
        names = things.names or ["sample"] * things.count
        _write(out, [f"{i // steps:04d}-{names[i // steps]}-{i % steps:03d}" for i in range(len(made))], made)
        return
    if things.count == 1:
        _write_sheet(out, things, made, 1)
        return
    rows = [made[start : start + steps + 1] for start in range(0, len(made) - 1, steps)]
    if "inputs" in things.told:
        ends = np.stack(things.told["inputs"])
        rows = [np.concatenate([ends[i : i + 1], row, ends[i + 1 : i + 2]]) for i, row in enumerate(rows)]
    _write_grid(out, np.concatenate(rows), len(rows[0]))


def _write(folder: Path, names: list[str], images: np.ndarray) -> None:
    """A PNG each, in a folder that is made where it is missing."""
    from ganlib.files import write_atomically
    from ganlib.pictures import png, to_image

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the output folder {folder} cannot be written ({error.strerror})") from error
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
