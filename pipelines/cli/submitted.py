"""A command that is to run elsewhere, looked at here first: its words, its recipe, and where its data are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganlib.errors import UserError
from pipelines.cli.options import overrides_of
from pipelines.shipped import find_recipe, is_recipe

if TYPE_CHECKING:
    from pipelines.run_folder import Home

AT_HOME = ("up", "down", "submit", "jobs", "ui")
"""Commands that are about this machine."""
PLACES = ("source", "store", "against", "input")
"""Parameters that name data, by path or URL."""


@dataclass(frozen=True)
class Asked:
    """The command as the job is to get it. recipes: files of this machine that go along, into `submitted/`."""

    words: list[str]
    recipes: list[Path] = field(default_factory=list)


def checked(words: Sequence[str], home: Home, local: bool, unchecked: bool) -> Asked:
    """The command, once it is one that can be run: no wrong option, no wrong recipe, no data that is not there.

    local: it runs on this machine, where paths mean what they mean here. unchecked: paths and URLs are the nodes'.
    Raises UserError.
    """
    if any(re.search(r"://[^/@\s]*:[^/@\s]*@", word) for word in words):
        raise UserError(
            "a password in an address would stand in the job's record; set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD instead, which go along sealed"
        )
    name, given = parsed(words)
    if name in AT_HOME:
        raise UserError(f"`gan {name}` is about this machine and no job; submit what is to run on the cluster")
    recipe = given.get("recipe") or (given["name"] if name == "prepare" and is_recipe(given["name"]) else None)
    files = _recipe_files(recipe)
    if recipe is not None and "=" not in recipe:
        find_recipe(recipe, overrides_of(given.get("overrides"), given.get("kind")))
    if not unchecked:
        for place in PLACES:
            if given.get(place) is not None:
                _check_place(place, str(given[place]), recipe, given, home, local)
    if local:
        return Asked(list(words))
    sent = {str(recipe): f"submitted/{file.name}" for file in files}
    return Asked([sent.get(word, word) for word in words], files)


def parsed(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The command's name, and its parameters by name. Raises UserError for what the command does not understand."""
    import typer.main
    from typer.exceptions import TyperException

    from pipelines.cli import app

    if any(word in ("-h", "--help") for word in words):
        raise UserError("help needs no cluster; leave out `gan submit --`")
    command: Any = typer.main.get_command(app)
    try:
        context = command.make_context("gan", list(words))
        while hasattr(command, "resolve_command"):
            name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            context = command.make_context(name, rest, parent=context)
    except TyperException as error:
        said = error.format_message() if hasattr(error, "format_message") else str(error)
        raise UserError(f"gan {' '.join(words)}: {said}") from error
    return words[0], dict(context.params)


def _recipe_files(recipe: str | None) -> list[Path]:
    if recipe is None or not recipe.endswith((".yaml", ".yml")):
        return []
    return [Path(recipe)] if Path(recipe).is_file() else []


def _check_place(name: str, place: str, recipe: str | None, given: dict[str, Any], home: Home, local: bool) -> None:
    """Whether there is something where data is said to be, and where the job can see it."""
    from ganlib.data.storage import Location

    if "://" in place and not place.startswith("file:"):
        if name != "store" and Location.of(place).kind() is None:
            raise UserError(f"there is nothing at {place} (--{name}); --unchecked submits the job all the same")
        return
    path = Path(place.removeprefix("file://")).expanduser()
    if not local and (path.exists() or "/" in place):
        raise UserError(
            f"{place} (--{name}) is a path of this machine, which the cluster's nodes do not see: put the data into "
            "a store (s3://..., gs://...), or say --unchecked where the nodes have it at that path"
        )
    if local and name == "source" and recipe is not None:
        from pipelines.prepare import DatasetRequest

        data = find_recipe(recipe, overrides_of(given.get("overrides"), given.get("kind"))).data
        request = DatasetRequest(data, home, place, store=given.get("store"))
        if request.find() is None:
            request.open_source()
    elif local and name != "store" and not path.exists():
        raise UserError(f"{place} (--{name}) does not exist")
