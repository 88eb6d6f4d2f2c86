"""`gan theory`: a GAN on a line, watched beside what the theory says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import DEFAULT_HOME, HomeOption, OverridesArgument, open_home

RECIPE = "theory-1d"
STILLS = (0.0, 0.02, 0.1, 0.3, 1.0)
"""The shares of a run at which stills are kept where no others are asked for."""


def theory(
    overrides: OverridesArgument = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the stills and the animation.")] = Path("theory"),
    at: Annotated[
        list[int] | None, typer.Option("--at", min=0, help="Points seen at which a still is kept; may be repeated.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Train a GAN on a line, in a minute: p_g reaches p_data, D follows D* to 1/2, V goes to -log 4. With pictures."""
    import tempfile

    import torch

    from ganlib.data.sources.gaussians import known_truth
    from ganlib.errors import UserError
    from ganlib.files import write_atomically
    from ganlib.pictures import animate, png
    from ganlib.theory.densities import BOTTOM
    from ganlib.theory.figure import GameFigure
    from ganlib.theory.line import Line
    from ganlib.theory.run import watch
    from pipelines.prepare import DatasetRequest
    from pipelines.shipped import find_recipe

    recipe = find_recipe(RECIPE, overrides or ())
    truth = known_truth(recipe.data.source or "")
    if truth is None or truth.dimensions != 1:
        raise UserError("gan theory needs points on a line whose density is known: data.source=gaussian-mixture-1d")
    dataset = DatasetRequest(recipe.data, open_home(home)).prepare()
    total = recipe.train.length(len(dataset.split("train")))
    asked = sorted(set(at)) if at else [round(share * total) for share in STILLS]
    if asked[-1] > total:
        raise UserError(f"the run ends at {total:,} points, before the {asked[-1]:,} of --at; ask for no more (--at)")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {out} cannot be written ({error.strerror})") from error
    torch.set_num_threads(1)  # its networks are too small for a second, which would spin until the first needs it
    typer.echo(f"{'points seen':>12s}  {'mean |D-D*|':>11s}  {'JS':>7s}  {'V(D, G)':>8s}  {'V + log 4':>9s}")
    with tempfile.TemporaryDirectory() as folder:
        frames, figure = [], GameFigure()
        for seen, moment in watch(recipe, dataset, truth, Line.around(truth)):
            figures = moment.figures
            picture = png(figure.draw(moment, seen))
            frames.append(Path(folder, f"{seen:012d}.png"))
            frames[-1].write_bytes(picture)
            if asked and seen >= asked[0]:
                asked = [later for later in asked if later > seen]
                write_atomically(out / f"theory-{seen:09d}.png", picture)
            typer.echo(
                f"{seen:12,d}  {figures['distance']:11.4f}  {figures['js']:7.4f}  "
                f"{figures['value']:8.4f}  {figures['value'] - BOTTOM:9.4f}"
            )
        animate(frames, out / "theory.gif", 150)
    typer.echo(f"stills and animation in {out}")
