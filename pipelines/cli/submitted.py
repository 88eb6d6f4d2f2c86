"""A command that is to run elsewhere, looked at here first: its words, its recipe, and where its data are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
PLACES = {"store": "--store or GAN_STORE", "against": "--against", "inputs": "--input"}
"""Parameters that name data by path or URL, beside the source; and what a person calls them."""


@dataclass(frozen=True)
class Asked:
    """The command as the job is to get it. files: those of this machine that go along into `submitted/`, by name."""

    words: list[str]
    files: dict[str, Path] = field(default_factory=dict)


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
    files = _files(recipe, given)
    if recipe is not None and "=" not in recipe:
        find_recipe(recipe, _changes(given))
    if not unchecked:
        for name, called in PLACES.items():
            if given.get(name) is not None:
                place, is_store = str(given[name]), name == "store"
                _check_place(place, called, local, is_store)
                if local and not is_store and not _is_url(place) and not _path(place).exists():
                    raise UserError(f"{place} ({called}) does not exist")
        _check_source(given, home, local)
        for file in files:
            if not Path(file).expanduser().is_file():
                raise UserError(f"the file {file} does not exist; --unchecked takes it for one of the nodes'")
    if local:
        return Asked(list(words))
    sent: dict[str, str] = {}
    for number, file in enumerate(file for file in files if Path(file).expanduser().is_file()):
        name = Path(file).name
        sent[file] = f"{number}-{name}" if name in sent.values() else name
    along = {name: Path(file).expanduser() for file, name in sent.items()}
    return Asked([_sent(word, sent) for word in words], along)


def _sent(word: str, sent: Mapping[str, str]) -> str:
    """The word with its file's new place, where it names one: as it is, after @, or as an option's value."""
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    at = "@" if value.startswith("@") and value.removeprefix("@") in sent else ""
    name = sent.get(value.removeprefix(at))
    return word if name is None else f"{option}{equals}{at}submitted/{name}"


def parsed(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The command's name, and its parameters by name. Raises UserError for what the command does not understand."""
    import typer.main
    from typer.exceptions import TyperException

    from pipelines.cli import app

    if any(word in ("-h", "--help") for word in words):
        raise UserError("help needs no cluster; leave out `gan submit --`")
    command: Any = typer.main.get_command(app)
    names: list[str] = []
    try:
        context = command.make_context("gan", list(words))
        while hasattr(command, "resolve_command"):
            name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            names.append(name)
            context = command.make_context(name, rest, parent=context)
    except TyperException as error:
        said = error.format_message() if hasattr(error, "format_message") else str(error)
        raise UserError(f"gan {' '.join(words)}: {said}") from error
    return names[0], dict(context.params)


def _files(recipe: str | None, given: dict[str, Any]) -> list[str]:
    """The files that the command reads beside its data, as they were typed: each once."""
    named = [recipe] if recipe is not None and recipe.endswith((".yaml", ".yml")) and "=" not in recipe else []
    if given.get("space") is not None:
        named.append(str(given["space"]))
    named += [text.removeprefix("@") for text in given.get("text") or () if text.startswith("@")]
    named += [text for text in given.get("keypoints") or () if text.endswith(".json")]
    return list(dict.fromkeys(named))


def _changes(given: dict[str, Any]) -> list[str]:
    """The fields of its recipe that the command changes; `gan tune` has them among the ranges that it draws from."""
    from pipelines.cli.tune import draws

    words = [word for word in given.get("words") or () if not draws(word)]
    return overrides_of(given.get("overrides") or words, given.get("kind"))


def _check_source(given: dict[str, Any], home: Home, local: bool) -> None:
    """Whether there is a source where the command reads one: the one that is named, or else the recipe's own."""
    from ganlib.data.sources.opening import WORDS
    from pipelines.prepare import DatasetRequest, data_of

    named = given.get("name") or given.get("recipe")
    if "source" not in given or named is None or given.get("run") or given.get("like"):
        return  # it reads none, or that of a run
    data, _ = data_of(named, _changes(given))
    place, called = given["source"] or data.source, "--source" if given["source"] else "data.source"
    if place is None and data.read.kind is None:
        raise UserError(f"{named} names no source; give one with --source")
    if place is None or place in WORDS:
        return  # made on the spot, or fetched by the nodes
    _check_place(place, called, local)
    if local and not _is_url(place):
        request = DatasetRequest(data, home, given["source"], store=given.get("store"))
        if request.find() is None:
            request.open_source()


def _check_place(place: str, called: str, local: bool, is_store: bool = False) -> None:
    """Whether the job can see it, and there is something where a URL says that data are; of a store, its bucket."""
    from ganlib.data.storage import Location

    if _is_url(place):
        wanted = Location.of(place)
        if is_store:
            wanted = Location(wanted.scheme, wanted.path.partition("/")[0], wanted.options)
        try:
            there = wanted.kind() is not None
        except UserError as error:
            raise UserError(f"{error} ({called}); --unchecked submits the job all the same") from error
        if not there:
            raise UserError(f"there is nothing at {wanted} ({called}); --unchecked submits the job all the same")
        return
    if not local and (_path(place).exists() or "/" in place):
        raise UserError(
            f"{place} ({called}) is a path of this machine, which the cluster's nodes do not see: put the data into "
            "a store (s3://..., gs://...), or say --unchecked where the nodes have it at that path"
        )


def _path(place: str) -> Path:
    return Path(place.removeprefix("file://")).expanduser()


def _is_url(place: str) -> bool:
    return "://" in place and not place.startswith("file:")
