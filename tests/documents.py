"""The `gan` commands that the documents name, one by one."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from typer import _click as click  # the one that its commands are made of

ROOT = Path(__file__).parents[1]


def lines(page: str) -> list[str]:
    """Commands that a person may type as they stand: indented lines of a page, in its order."""
    found = [line.strip() for line in page.splitlines() if line.startswith("    gan ")]
    return list(dict.fromkeys(command for line in found for command in _each(line)))


def named(page: str) -> list[str]:
    """Commands in a sentence, or in another's comment, which may leave out what they need."""
    spans = [code for code in re.findall(r"`(gan [^`]+)`", page) if not code.startswith("gan:")]
    return list(dict.fromkeys(command for code in spans for command in _each(code)))


def words_of(command: str) -> list[str]:
    """What stands behind `gan`."""
    return shlex.split(command)[1:]


def _each(line: str) -> list[str]:
    """`gan up [--nodes 3]; gan down  # ...` are two commands, and `gan data list | show NAME` too."""
    line = line.partition(" #")[0].removesuffix("&").replace("[", "").replace("]", "")
    commands = []
    for command in filter(None, (part.strip() for part in line.split(";"))):
        first, *others = command.split(" | ")
        commands += [first, *(f"{' '.join(first.split()[:2])} {other}" for other in others)]
    return commands


def parse(words: list[str]) -> list[str]:
    """Reads a command line as `gan` would, without running it; the command's names. Raises click's ClickException."""
    from typer.main import get_command

    from pipelines.cli import app

    command: Any = get_command(app)
    context, names, rest = None, [], words
    while hasattr(command, "commands"):
        if not rest or rest[0] not in command.commands:
            raise click.exceptions.UsageError(f"no command {' '.join([*names, *rest[:1]])!r}")
        context = click.core.Context(command, parent=context, info_name=rest[0])
        names.append(rest[0])
        command, rest = command.commands[rest[0]], rest[1:]
    inner = rest[rest.index("--") + 1 :] if names == ["submit"] and "--" in rest else None
    command.make_context(names[-1], list(rest), parent=context)
    return names if inner is None else [*names, *parse(inner)]


def fault(command: str, whole: bool) -> str | None:
    """Why it is no command of `gan`; where it is not `whole`, it may leave out what it needs."""
    words = words_of(command)
    try:
        names = parse(words)
    except click.exceptions.MissingParameter as error:
        return error.format_message() if whole else None
    except click.exceptions.UsageError as error:
        return error.format_message()
    return None if names[0] == words[0] else f"not {words[0]} but {names[0]}"
