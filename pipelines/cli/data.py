"""`gan prepare` and `gan data`: datasets made, listed, looked at and verified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganlib.errors import UserError
from pipelines.cli.options import (
    DEFAULT_HOME,
    HomeOption,
    KindOption,
    OverridesArgument,
    SourceOption,
    StoreOption,
    open_home,
    overrides_of,
)

if TYPE_CHECKING:
    from ganlib.data import Dataset

app = typer.Typer(help="Datasets: list, show, verify.", no_args_is_help=True, rich_markup_mode=None)

NameArgument = Annotated[str, typer.Argument(help="A prepared dataset: its name, folder or URL.")]


def prepare(
    name: Annotated[str, typer.Argument(help="What the dataset is called; of a recipe's name, its images.")],
    overrides: OverridesArgument = None,
    source: SourceOption = None,
    kind: KindOption = None,
    store: StoreOption = None,
    max_bad: Annotated[
        float | None, typer.Option("--max-bad", help="Share of records that may be unusable, 0.01 where none is given.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=0, help="Ray processes; 0: this one alone. By the source's size if not given."),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Prepare a dataset from what there is, and train its classifier where it has labels."""
    from pipelines.prepare import DatasetRequest, data_of

    changes = overrides_of(overrides, kind)
    changes += [] if max_bad is None else [f"data.max_bad={max_bad}"]
    data, called = data_of(name, changes)
    describe_dataset(DatasetRequest(data, open_home(home), source, called, store, workers).prepare())


@app.command("list")
def list_datasets(store: StoreOption = None, home: HomeOption = DEFAULT_HOME) -> None:
    """The prepared datasets, one a line."""
    from ganlib.data import Manifest
    from ganlib.data.storage import Location
    from pipelines.prepare import datasets_in

    rows: list[tuple[str, ...]] = [("name", "train", "test", "shape", "holds", "megabytes", "folder")]
    for place in datasets_in(Location.of(store or open_home(home).datasets)):
        try:
            manifest = Manifest.read(place)
        except UserError as error:
            rows.append((place.name, "", "", "", str(error), "", ""))
            continue
        counts = [f"{manifest.counts.get(split, 0):,}" for split in ("train", "test")]
        shape = "x".join(map(str, manifest.image_shape))
        size = f"{sum(shard.bytes for shard in manifest.shards) / 1e6:,.1f}"
        rows.append((manifest.name, *counts, shape, holds(manifest), size, place.name))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command()
def show(
    name: NameArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The contact sheet's file; NAME.png beside you otherwise.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=400, help="Images on the sheet.")] = 48,
    split: Annotated[str, typer.Option("--split", help="train or test")] = "train",
    store: StoreOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """What a dataset holds: counts, sizes before resizing, what was skipped and why, and a contact sheet."""
    from ganlib.contact_sheet import contact_sheet
    from ganlib.files import write_atomically

    dataset = _open(name, store, home)
    describe_dataset(dataset, whole=True)
    if split not in ("train", "test"):
        raise UserError(f"there is no split {split!r}; it is train or test")
    path = out or Path(f"{dataset.name}.png")
    write_atomically(path, contact_sheet(dataset, split, count))  # type: ignore[arg-type]
    typer.echo(f"sheet        {path}")


@app.command()
def verify(name: NameArgument, store: StoreOption = None, home: HomeOption = DEFAULT_HOME) -> None:
    """Read every file of a dataset and compare its SHA-256 with the one that was written."""
    from pipelines.console import Progress

    dataset = _open(name, store, home)
    with Progress("verify", "bytes") as progress:
        unknown = dataset.verify(progress.update)
    total = sum(shard.bytes for shard in dataset.manifest.shards)
    typer.echo(f"{dataset.location}: {len(dataset.manifest.shards)} shards, {total:,} bytes, all as they were prepared")
    if unknown:
        typer.echo(f"not checked, as they carry no digest: {', '.join(unknown)}; removed, they are made anew, with one")


def describe_dataset(dataset: Dataset, whole: bool = False) -> None:
    """One line a fact of a dataset; `whole` says all that the manifest says."""
    from ganlib.data.storage import one_line

    manifest = dataset.manifest

    def say(what: str, text: str) -> None:
        # Names and reasons are other people's: they may hold line ends, and what steers a terminal.
        typer.echo(f"{what:12s} {one_line(text)}")

    say("dataset", str(dataset.location))
    say("images", ", ".join(f"{count:,} {split}" for split, count in manifest.counts.items()))
    say("shape", "x".join(map(str, manifest.image_shape)))
    say("holds", holds(manifest))
    if manifest.classifier is not None:
        say("classifier", f"accuracy {manifest.classifier.accuracy:.4f}")
    duplicates = manifest.duplicates
    if any(duplicates.values()):
        say("duplicates", ", ".join(f"{count:,} {where.replace('_', ' ')}" for where, count in duplicates.items()))
    if manifest.skipped_count:
        say("skipped", f"{manifest.skipped_count:,} records")
    named = manifest.skipped if whole else manifest.skipped[:10]
    for skipped in named:
        say("", f"{skipped.record}: {skipped.reason}")
    if len(named) < manifest.skipped_count:
        rest = f"... and {manifest.skipped_count - len(named):,} more"
        say("", f"{rest}, not written down" if whole else rest)
    if not whole:
        return
    say("digest", manifest.digest)
    say("source", f"{manifest.source.kind} {manifest.source.name}")
    prepared = manifest.preparation.model_dump()
    say("prepared", ", ".join(f"{field}={value}" for field, value in prepared.items()) + f", {manifest.resampling}")
    for size, count in manifest.original_sizes.items():
        say("size before", f"{size}: {count:,}")
    columns = manifest.columns
    for what, names, counts in (
        ("class", columns.class_names, manifest.class_counts),
        ("domain", columns.domain_names, manifest.domain_counts),
    ):
        for index, called in enumerate(names or ()):
            said = ", ".join(f"{values[index]:,} {split}" for split, values in (counts or {}).items())
            say(what, f"{called}: {said}")


def holds(manifest: object) -> str:
    """What a dataset's records hold beside the image, in words."""
    from ganlib.data import Manifest

    assert isinstance(manifest, Manifest)
    columns = manifest.columns
    said = [f"{len(columns.class_names)} classes"] if columns.class_names else []
    said += [f"{len(columns.domain_names)} domains"] if columns.domain_names else []
    said += [f"{len(columns.keypoint_names)} keypoints"] if columns.keypoint_names else []
    flags = {"captions": columns.captions, "boxes": columns.boxes, "partners": columns.partner}
    return ", ".join([*said, *(word for word, there in flags.items() if there)]) or "images alone"


def _open(name: str, store: str | None, home: Path) -> Dataset:
    from ganlib.recipe import Recipe
    from pipelines.prepare import ANY_IMAGES, DatasetRequest

    request = DatasetRequest(Recipe.parse_data({"data": ANY_IMAGES}), open_home(home), name, store=store)
    dataset = request.find() or request.find_by_name()
    if dataset is None:
        raise UserError(f"there is no dataset {name} in {request.into}; `gan data list` lists what there is")
    return dataset
