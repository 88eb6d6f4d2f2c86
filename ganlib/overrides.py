"""Fields by dotted path: changed as a person writes them, and named so in what is said of mistakes.

Of nested models: `root` is the one, a Recipe mostly, that values and complaints are of.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Iterator
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from ganlib.errors import UserError


def override_fields(values: dict[str, Any], overrides: Iterable[str], root: type[BaseModel]) -> dict[str, Any]:
    """A copy of nested `values`, which are of a `root`, with the fields changed that `overrides` name: each
    "path=value", the value YAML, `*` any name. Raises UserError for one that is of another form."""
    if isinstance(values.get("method"), dict):  # its kind may go unsaid, and is this one then
        values = {**values, "method": {"kind": "noise-to-image", **values["method"]}}
    # Kinds first, a part's before those of its own parts: what a part has belongs to its kind, in whatever order typed.
    for override in sorted(overrides, key=_kinds_first):
        path, value = _read(override)
        values = _assign(values, path.split("."), value, [root])
    return values


def _kinds_first(override: str) -> tuple[bool, int]:
    path = override.partition("=")[0]
    return (False, path.count(".")) if path.endswith(".kind") else (True, 0)


def _read(override: str) -> tuple[str, Any]:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise UserError(f"override {override!r} is not of the form path=value (as in optim.generator.lr=1e-4)")
    try:
        return path, yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"override {override!r}: the value is not YAML") from error


def _assign(values: dict[str, Any], path: list[str], value: Any, models: list[type[BaseModel]]) -> dict[str, Any]:
    """A copy of `values`, which are of one of the `models`, with the value at the path. `*` is any part."""
    head, *rest = path
    changed = dict(values)
    keys = [key for key in values if isinstance(values[key], dict)] if head == "*" and rest else [head]
    if not keys:
        raise UserError(f"'*.{'.'.join(rest)}' in an override stands for nothing there; write the name for '*'")
    for key in keys:
        if not rest:
            changed[key] = value
            # The other fields of a part belong to the kind that it was (`penalty.kind=none` leaves gamma behind), but
            # where one model is of both kinds (a decay, linear or cosine, starts when it did).
            if key == "kind" and values.get("kind") != value and not _of_one_model(values, value, models):
                changed = {"kind": value}
        else:
            whole = [model for model in models if values.get("kind") in _tags(model)] or models
            fields = [model.model_fields[key] for model in whole if key in model.model_fields]
            parts = list(dict.fromkeys(part for field in fields for part in _models(field.annotation)))
            below = values.get(key)
            changed[key] = _assign(below if isinstance(below, dict) else {}, rest, value, parts)
    # Images and epochs are two ways to say one length: the later word counts.
    for given, other in (("images", "epochs"), ("epochs", "images")):
        if head == given and not rest and value is not None and values.get(other) is not None:
            changed[other] = None
    return changed


def _of_one_model(values: dict[str, Any], kind: Any, models: list[type[BaseModel]]) -> bool:
    """Whether `values` are of the model that has the `kind` too."""
    given = values.get("kind")
    return any(kind in _tags(model) and (given in _tags(model) or len(models) == 1) for model in models)


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """One line for the first of pydantic's complaints on a `root`: the dotted path, what is wrong, the nearest name."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    model, shown = _walk(root, path)
    name = ".".join(shown)
    if first["type"] == "extra_forbidden":
        allowed = sorted(model.model_fields) if model else []
        near = difflib.get_close_matches(shown[-1], allowed, 1)
        hint = f"; did you mean {'.'.join([*shown[:-1], near[0]])!r}?" if near else ""
        return f"there is no field {name!r}{hint} (allowed here: {', '.join(allowed)})"
    if first["type"] == "missing":
        return f"field {name!r} is missing"
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        kinds = [tag for option in _models(model and model.model_fields[shown[-1]].annotation) for tag in _tags(option)]
        given = first.get("ctx", {}).get("tag")
        near = difflib.get_close_matches(given or "", kinds, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        said = f"there is no {name} of kind {given!r}" if given else f"{name}.kind is missing"
        return f"{said}{hint} (allowed: {', '.join(kinds)})"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{name}: {message}" if name else message
    return f"{name} is {first['input']!r}: {message[0].lower()}{message[1:]}"


def _walk(model: type[BaseModel], path: list[str]) -> tuple[type[BaseModel] | None, list[str]]:
    """The model that holds the last name of `path`, and `path` without the union tags that pydantic puts into it."""
    here: type[BaseModel] | None = model
    shown: list[str] = []
    options: list[type[BaseModel]] = []
    for position, part in enumerate(path):
        tagged = [option for option in options if part in _tags(option)]
        if tagged and (here is None or part not in here.model_fields):
            here, options = tagged[0], []
            continue
        shown.append(part)
        if position == len(path) - 1:
            break
        if part.isdigit():  # one of several of a model
            continue
        annotation = here.model_fields[part].annotation if here and part in here.model_fields else None
        options = list(_models(annotation))
        here = options[0] if len(options) == 1 else None
    return here, shown


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, tuple) or hasattr(annotation, "__metadata__"):
        for option in get_args(annotation):
            yield from _models(option)


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    return get_args(model.model_fields["kind"].annotation) if "kind" in model.model_fields else ()
