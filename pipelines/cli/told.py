"""What `gan sample` is told by its options, as a generator is told it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganlib.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from ganlib.recipe import Recipe

FLAGS = {
    "labels": "--labels",
    "captions": "--text",
    "boxes": "--box",
    "keypoints": "--keypoints",
    "inputs": "--input",
    "domains": "--domain",
}
"""What a SampleRequest tells, by the option that says it here."""
ALL = "all"
"""The word for each of the domains in turn."""


@dataclass(frozen=True)
class Given:
    """The options as they were typed; None where one was not."""

    labels: str | None = None
    text: list[str] | None = None
    box: list[str] | None = None
    keypoints: list[str] | None = None
    source: Path | None = None
    domain: list[str] | None = None

    @property
    def flags(self) -> list[str]:
        """Those that were typed."""
        values = (self.labels, self.text, self.box, self.keypoints, self.source, self.domain)
        return [flag for flag, value in zip(FLAGS.values(), values, strict=True) if value is not None]


@dataclass(frozen=True)
class Things:
    """`count` things to make, each told a value of every name in `told`.

    names: of the input files, one a thing, where there are inputs. across: the domains' names where every input is to
    be made in each of them, one after the other.
    """

    count: int = 0
    told: dict[str, list[Any]] = field(default_factory=dict)
    names: list[str] | None = None
    across: list[str] | None = None

    def request(self, things: list[int]) -> dict[str, Any]:
        """What a SampleRequest of those things, by number, tells."""
        import numpy as np

        values = {name: [value[i] for i in things] for name, value in self.told.items()}
        return {
            name: tuple(value) if name in ("labels", "captions") else np.stack(value) for name, value in values.items()
        }


def things_of(given: Given, recipe: Recipe, domain_names: list[str]) -> Things:
    """What the options tell the generator of `recipe`, one of each option for all things or one for each.

    Raises UserError for an option that it does not take, one that it has to have, options that do not go together, and
    all that cannot be understood or made.
    """
    from ganlib.methods.base import SampleRequest
    from ganlib.sampling import checked

    _check_flags(given, recipe)
    told: dict[str, list[Any]] = {}
    names: list[str] | None = None
    across: list[str] | None = None
    if given.labels is not None:
        told["labels"] = _labels(given.labels)
    if given.text is not None:
        told["captions"] = [line for text in given.text for line in _captions(text)]
    if given.box is not None:
        told["boxes"] = [_box(text) for text in given.box]
    if given.keypoints is not None:
        told["keypoints"] = [one for text in given.keypoints for one in _keypoints(text, recipe.data.keypoints)]
    if given.source is not None:
        from ganlib.inputs import read_inputs

        names, images = read_inputs(given.source, recipe.data.preparation)
        told["inputs"] = list(images)
    crossed = given.domain == [ALL] and ALL not in domain_names
    if given.domain is not None and not crossed:
        told["domains"] = _domains(given.domain, domain_names, recipe.data.domains)
    count = _together(told)
    told = {name: values * count if len(values) < count else values for name, values in told.items()}
    names = names * count if names and len(names) < count else names
    if crossed:
        across = domain_names or [str(number) for number in range(recipe.data.domains)]
        told = {name: [value for value in values for _ in across] for name, values in told.items()}
        told["domains"] = _domains([str(number) for number in range(len(across))], [], len(across)) * max(count, 1)
        names = names and [name for name in names for _ in across]
        count = len(told["domains"])
    things = Things(count, told, names, across)
    if count:
        checked(SampleRequest(count, **things.request(list(range(count)))), recipe)
    return things


def _check_flags(given: Given, recipe: Recipe) -> None:
    takes = [flag for name, flag in FLAGS.items() if name in recipe.method.takes]
    for flag in given.flags:
        if flag not in takes:
            raise UserError(
                f"the generator of {recipe.name} takes no {flag}; it takes {', '.join([*takes, '--count', '--seed'])}"
            )
    missing = [flag for name, flag in FLAGS.items() if name in recipe.method.wants and flag not in given.flags]
    if missing:
        raise UserError(f"the generator of {recipe.name} has to be told what to make; give {' and '.join(missing)}")


def _together(told: dict[str, list[Any]]) -> int:
    """How many things there are."""
    count = max((len(values) for values in told.values()), default=0)
    if any(len(values) not in (1, count) for values in told.values()):
        counts = ", ".join(f"{len(values)} of {FLAGS[name]}" for name, values in told.items())
        raise UserError(f"{counts} do not go together; give one for all, or as many of each")
    return count


def _labels(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError as error:
        raise UserError(f"--labels is {text!r}: give classes by number, separated by commas, as in 3,3,7") from error


def _captions(text: str) -> list[str]:
    """The caption, or the lines of a file, of which empty ones are none."""
    if not text.startswith("@"):
        if not text.strip():
            raise UserError("--text is empty; give a caption of a word at least")
        return [text]
    lines = [line.strip() for line in _read(text[1:], "--text").splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        raise UserError(f"the file {text[1:]} (--text) has no captions; give one a line")
    return lines


def _read(path: str, flag: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"the file {path} ({flag}) cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"the file {path} ({flag}) is no UTF-8 text") from error


def _box(text: str) -> np.ndarray:
    from ganlib.asked import asked_box

    return _said("--box", asked_box, text.split(","))


def _keypoints(text: str, count: int) -> list[np.ndarray]:
    """Parts between blanks, x,y each or - for one that is not there; or of a JSON file, one set of them or several.

    In JSON a part is [x, y] or null.
    """
    from ganlib.asked import asked_keypoints

    if not text.endswith(".json"):
        points = [None if word == "-" else word.split(",") for word in text.split()]
        return [_said("--keypoints", asked_keypoints, points, count)]
    try:
        found = json.loads(_read(text, "--keypoints"))
    except ValueError as error:
        raise UserError(f"the file {text} (--keypoints) is not JSON") from error
    several = isinstance(found, list) and any(
        isinstance(part, list) and any(isinstance(point, list) or point is None for point in part) for part in found
    )
    sets = found if several else [found]
    return [_said(f"the file {text} (--keypoints)", asked_keypoints, points, count) for points in sets]


def _domains(words: list[str], names: list[str], count: int) -> list[np.ndarray]:
    from ganlib.asked import asked_domains

    return [_said("--domain", asked_domains, word, names, count) for word in words]


def _said(where: str, asked: Callable[..., np.ndarray], *values: Any) -> np.ndarray:
    """What `asked` makes of the values; its UserError says where."""
    try:
        return asked(*values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
