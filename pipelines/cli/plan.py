"""`gan plan`: what a recipe would take on so many GPUs, before any of them is paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ganlib.errors import UserError
from pipelines.cli.options import OverridesArgument, RecipeArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganlib.recipe import Recipe
    from ganlib.scaling.model import Prediction

CPU = "cpu"
UNKNOWN_IMAGES = 1_000_000
"""The length that is planned for where a recipe's is in epochs of an unknown number of images."""


def plan(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    gpus: Annotated[str, typer.Option("--gpus", help="Numbers of GPUs (of worker processes, with --gpu cpu).")] = (
        "1,8,64,512"
    ),
    gpu: Annotated[
        str, typer.Option("--gpu", help="b200, h200, h100, a100, l40s, l4, ...; cpu: this machine, measured now.")
    ] = "h100",
    network: Annotated[
        str | None,
        typer.Option(
            "--network", help="A machine's link to the others: 100Gb, or 100Gb,5us [default: 100Gb; cpu: none]"
        ),
    ] = None,
    per_machine: Annotated[
        int | None,
        typer.Option("--per-machine", min=1, help="GPUs in a machine [default: 8; cpu: all, with --network 1]"),
    ] = None,
    batch_each: Annotated[
        int | None,
        typer.Option("--batch-each", min=1, help="Images a GPU: the batch grows with their number; else train.batch."),
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", min=1, help="Images in the training split, where the length is in epochs.")
    ] = None,
    price: Annotated[float | None, typer.Option("--price", min=0, help="US dollars a GPU and hour.")] = None,
) -> None:
    """Predict speed, time, communication, memory and cost of a recipe on 1 or 512 GPUs (ganlib.scaling.model)."""
    from ganlib.scaling.gpus import ACHIEVED, KERNEL, LAUNCH, PRICED, STREAMED, find_gpu
    from ganlib.scaling.links import parse_network
    from pipelines.shipped import find_recipe

    counts = numbers_of(gpus)
    found = find_recipe(recipe, overrides or ())
    described = None if gpu.lower() == CPU else find_gpu(gpu)
    link = parse_network(network or "100Gb") if network or described else None
    recipes = {n: at(found, n, batch_each) for n in counts}
    fitting = {n: one for n, one in recipes.items() if one is not None}
    if not fitting:
        raise UserError(
            f"train.batch is {found.train.batch}, fewer than {min(counts)} GPUs share; raise it, or say --batch-each"
        )
    if described is not None:
        predict = on_gpus(described.name, per_machine or 8, network or "100Gb")
        price = described.price if price is None else price
        typer.echo(
            f"{described.name}, not measured here; as an H200 was: {ACHIEVED:.0%} of its peak in convolutions and "
            f"products, {STREAMED:.0%} of its memory's bandwidth, {KERNEL * 1e6:.2g} us a kernel, where rounds are not "
            f"replayed {LAUNCH * 1e6:.0f}"
        )
    else:
        predict = on_this_machine(fitting, per_machine or (1 if link else max(fitting)), network)
    length = found.train.images or (round((found.train.epochs or 0) * images) if images else UNKNOWN_IMAGES)
    known = found.train.images or images
    typer.echo(f"{found.name}: {length:,} images" + ("" if known else "; of how many an epoch has, say --images"))
    typer.echo(
        f"{'gpus':>5s} {'batch each':>10s} {'images/s':>10s} {'speed-up':>8s} {'time':>8s} {'messages':>8s} "
        f"{'bound by':>10s} {'GFLOP/s each':>12s} {'memory each':>11s} {'cost':>10s}"
    )
    first: Prediction | None = None
    for n in counts:
        one = recipes[n]
        if one is None:
            typer.echo(f"{n:5d}   train.batch={found.train.batch} has no image for each; raise it, or say --batch-each")
            continue
        done = predict(n, one)
        first = first or done
        hours = length / done.images_per_second / 3600
        speed_up = done.images_per_second / first.images_per_second * first.work.workers
        cost = f"{hours * n * price:,.2f} $" if price is not None else ""
        full = described is not None and done.work.peak > described.memory * 1e9
        typer.echo(
            f"{n:5d} {done.work.slice:10d} {done.images_per_second:10,.0f} {speed_up:8.1f} {_time(hours):>8s} "
            f"{done.communication:8.0%} {done.bound:>10s} {done.work.flops / done.seconds / 1e9:12,.0f} "
            f"{done.work.peak / 1e9:8.2f} GB {cost:>10s}"
            + (f"  does not fit {described.name}'s {described.memory:.0f} GB" if full and described else "")
        )
    if described is not None and price is not None and price == described.price:
        typer.echo(f"{price:.2f} $ a GPU and hour ({PRICED}); yours: --price")


def numbers_of(text: str) -> list[int]:
    """Raises UserError where these are no numbers of GPUs."""
    try:
        counts = sorted({int(word) for word in text.split(",")})
    except ValueError:
        counts = [0]
    if counts[0] < 1 or counts[-1] > 65_536:
        raise UserError(f"--gpus is {text!r}: give numbers from 1 to 65536, separated by commas, as in 1,8,64")
    return counts


def at(recipe: Recipe, workers: int, batch_each: int | None) -> Recipe | None:
    """The recipe as so many workers train it; None where the batch has fewer images."""
    if batch_each is not None:
        recipe = recipe.with_overrides(f"train.batch={batch_each * workers}")
    return recipe if recipe.train.batch >= workers else None


def on_gpus(name: str, per_machine: int, network: str) -> Callable[[int, Recipe], Prediction]:
    from ganlib.scaling.gpus import find_gpu
    from ganlib.scaling.links import parse_network
    from ganlib.scaling.model import predict_gpu
    from ganlib.scaling.work import count_work

    return lambda n, recipe: predict_gpu(count_work(recipe, n), find_gpu(name), per_machine, parse_network(network))


def on_this_machine(
    recipes: dict[int, Recipe], per_machine: int, network: str | None
) -> Callable[[int, Recipe], Prediction]:
    """Measures the recipe's rounds here, and gloo; says what was found."""
    from ganlib.scaling.calibration import calibrate
    from ganlib.scaling.links import parse_network
    from ganlib.scaling.model import predict_cpu
    from ganlib.scaling.work import count_work

    measured = calibrate(recipes, per_machine)
    link = parse_network(network) if network else None
    typer.echo(f"this machine, {measured.cores} cores; between its processes {measured.loopback}")

    return lambda n, recipe: predict_cpu(count_work(recipe, n), measured, per_machine, link)


def _time(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:.1f} d"
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{hours * 60:.1f} min"
