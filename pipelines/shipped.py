"""The recipes that come with the product, and any other by its path."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from ganlib.errors import UserError

if TYPE_CHECKING:
    from ganlib.recipe import Recipe


def shipped_recipes() -> dict[str, Path]:
    """Name -> file, sorted by name."""
    folder = Path(str(files("pipelines") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def is_recipe(name: str) -> bool:
    """Whether `name` is a shipped recipe's or a YAML file's."""
    return name in shipped_recipes() or name.endswith((".yaml", ".yml"))


def find_recipe(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """The shipped recipe `name`, or the one in the YAML file of that path. Raises UserError where there is neither."""
    from ganlib.recipe import Recipe

    shipped = shipped_recipes()
    path = shipped.get(name) or (Path(name) if is_recipe(name) else None)
    if path is None:
        near = difflib.get_close_matches(name, shipped, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"there is no recipe {name!r}{hint} (shipped: {', '.join(shipped)}; or give a .yaml file)")
    return Recipe.load(path, overrides)
