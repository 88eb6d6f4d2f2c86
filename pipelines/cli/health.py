"""`gan health`: what is wrong with a run, by its own history, and what to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import DEFAULT_HOME, HomeOption, open_home

if TYPE_CHECKING:
    from ganlib.health import Change, Verdict
    from pipelines.run_folder import Home, RunFolder


def health(
    run: Annotated[str, typer.Argument(help="A run's name or folder; it may still be training.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Diagnose a run: what is wrong, by which numbers, how certain that is, and what to change in its recipe."""
    from ganlib.health import amended
    from pipelines.health import verdicts_of
    from pipelines.run_folder import find_run

    folder = find_run(open_home(home), run)
    verdicts = verdicts_of(folder)
    if not verdicts:
        typer.echo(f"{folder.name}: nothing wrong, and nothing settled, that its journal shows so far")
    for verdict in verdicts:
        typer.echo(described(verdict))
    changes = amended(folder.recipe(), verdicts)[1]
    if changes:
        typer.echo(f"gan train --from {folder.name} --apply-advice   starts a run with these changes:")
        typer.echo(listed(changes))


def begun_like(home: Home, old: RunFolder, overrides: list[str], apply_advice: bool) -> RunFolder:
    """A new run with the recipe and the data of `old`, changed by its health's advice and then by `overrides`."""
    from ganlib.data import Dataset
    from pipelines.health import advised
    from pipelines.journal import Journal
    from pipelines.run_folder import new_run_name
    from pipelines.train import create_run

    recipe, tags = old.recipe(), {"gan.from": old.name}
    if apply_advice:
        recipe, changes = advised(old)
        typer.echo(f"changed, as the health of {old.name} advises:\n{listed(changes)}")
        tags["gan.advice"] = listed(changes)
    recipe = recipe.with_overrides(*overrides)
    folder = create_run(recipe, Dataset.open(old.facts().dataset_path), home, new_run_name(recipe.name))
    with Journal(folder.path, "driver") as journal:
        journal.tags(tags)
    return folder


def described(verdict: Verdict) -> str:
    """A verdict on a few lines."""
    first, last = verdict.images
    evidence = ", ".join(f"{name} {value:.3g}" for name, value in verdict.evidence.items())
    lines = [
        f"{verdict.name} ({verdict.severity}, confidence {verdict.confidence:.2f})",
        f"  {verdict.says}",
        f"  from {first:,} to {last:,} images: {evidence}",
    ]
    if verdict.advice:
        lines.append(f"  advice: {verdict.advice}")
    return "\n".join(lines)


def listed(changes: list[Change]) -> str:
    """Changed fields, one a line."""
    return "\n".join(
        f"  {change.path}: {_shown(change.before)} -> {_shown(change.after)}   ({change.verdict})" for change in changes
    )


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
