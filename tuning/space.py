"""A search space over a Recipe: which fields are drawn, from what, and which of them a drawn recipe has at all.

    space = Space.parse(recipe, {"optim.*.lr": "log(1e-5, 1e-2)", "method.penalty.kind": "choice(none, r1)",
                                 "method.penalty.gamma": "log(0.1, 10)"})
    values = space.draw(space.random(np.random.default_rng(7)))
    tried = space.apply(values)

A path is a field's dotted path; with `*` it is one draw for every field that it names. What belongs to a part of a
drawn kind (`method.penalty.gamma` above) is drawn only where the kind that came out has it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import ValidationError

from ganlib.errors import UserError
from ganlib.overrides import explain, override_fields
from ganlib.recipe import Recipe
from tuning.distributions import Choice, Distribution, as_yaml, parse_distribution

Choose = Callable[[str, Distribution], Any]
"""choose(path, distribution): a value of it, by chance or by a search algorithm."""


ATTEMPTS = 200
"""Draws after which a space whose draws are no recipes is given up."""


class InvalidDrawError(Exception):
    """Values that each are in their range, and together no recipe; its text says why."""


@dataclass(frozen=True)
class Space:
    """`distributions` by path, over `recipe`, which has all that is not drawn."""

    recipe: Recipe
    distributions: Mapping[str, Distribution]

    @classmethod
    def parse(cls, recipe: Recipe, texts: Mapping[str, str]) -> Space:
        """The space that a person wrote, path -> distribution. Raises UserError: one line for the first mistake.

        Ends and inside of a range and every choice are tried on the recipe, so that no draw fails on its field's type.
        """
        if not texts:
            raise UserError("the search space is empty; name a field, as in optim.generator.lr=log(1e-5,1e-2)")
        space = cls(recipe, {path: parse_distribution(str(text), path) for path, text in texts.items()})
        space._check()
        return space

    @property
    def texts(self) -> dict[str, str]:
        """Path -> distribution as written, for a record."""
        return {path: str(distribution) for path, distribution in self.distributions.items()}

    def draw(self, choose: Choose) -> dict[str, Any]:
        """Values for the paths that the drawn recipe has. Kinds come first, so that the rest is known.

        Raises InvalidDrawError where the values are no recipe together.
        """
        values: dict[str, Any] = {}
        recipe = self.recipe
        for level in self._levels():
            for path in level:
                if self._depth(path) == 0 or fields_of(recipe, path):
                    values[path] = choose(path, self.distributions[path])
            recipe = self.apply(values)
        return values

    @staticmethod
    def random(chance: np.random.Generator) -> Choose:
        """To draw from the distributions themselves."""
        return lambda path, distribution: distribution.draw(chance)

    def apply(self, values: Mapping[str, Any]) -> Recipe:
        """The recipe with these values. Raises InvalidDrawError where it is none."""
        return self._applied(values)[0]

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """`path=value` for each field that the values change, `*` written out. Raises InvalidDrawError."""
        return self._applied(values)[1]

    def _applied(self, values: Mapping[str, Any]) -> tuple[Recipe, list[str]]:
        recipe, said = self.recipe, []
        for level in self._levels():
            drawn = [path for path in level if path in values]
            changes = [f"{field}={as_yaml(values[path])}" for path in drawn for field in fields_of(recipe, path)]
            changes = [*_kept_rates(recipe, changes), *changes]
            try:
                recipe = recipe.with_overrides(*changes)
            except UserError as error:
                raise InvalidDrawError(str(error).removeprefix("the recipe: ")) from error
            said += changes
        return recipe, said

    def perturbed(self, values: Mapping[str, Any], chance: np.random.Generator) -> dict[str, Any]:
        """Values near these, as population-based training has them; the same where 20 tries give no recipe."""
        for _ in range(20):
            near = {path: self.distributions[path].perturb(value, chance) for path, value in values.items()}
            try:
                self.apply(near)
            except InvalidDrawError:
                continue
            return near
        return dict(values)

    def point(self, recipe: Recipe) -> dict[str, Any] | None:
        """The values that `recipe` has, where the space holds them: a point to start from. None where it does not."""
        flat, values = recipe.flat(), {}
        for path, distribution in self.distributions.items():
            found = [flat[field] for field in fields_of(recipe, path)]
            if not found:
                if self._depth(path):
                    continue  # not drawn for a recipe of that kind
                return None
            if any(value != found[0] for value in found) or not distribution.holds(found[0]):
                return None
            values[path] = found[0]
        return values

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether the values are a point of this space."""
        try:
            recipe = self.apply(values)
        except (InvalidDrawError, UserError):
            return False
        wanted = {path for path in self.distributions if not self._depth(path) or fields_of(recipe, path)}
        return wanted == set(values) and all(self.distributions[path].holds(values[path]) for path in values)

    def _depth(self, path: str) -> int:
        """How many drawn kinds decide whether there is the field."""
        part, depth = path.removesuffix(".kind"), 0
        while part := part.rpartition(".")[0]:
            depth += any(_meet(f"{part}.kind", kind) for kind in self._kinds())
        return depth

    def _levels(self) -> list[list[str]]:
        """The paths by their depth; each level's fields are known once those before it are drawn."""
        depths = {path: self._depth(path) for path in self.distributions}
        return [[path for path in depths if depths[path] == level] for level in range(max(depths.values()) + 1)]

    def _kinds(self) -> list[str]:
        return [path for path in self.distributions if path.endswith(".kind")]

    def _check(self) -> None:
        named: dict[str, str] = {}
        variants = self._variants()
        for path, distribution in self.distributions.items():
            homes = [recipe for recipe in variants if fields_of(recipe, path)]
            if not homes:
                raise UserError(self._unknown(path, variants))
            for field in dict.fromkeys(field for recipe in homes for field in fields_of(recipe, path)):
                if field in named:
                    raise UserError(f"{named[field]} and {path} both draw {field}; leave one of them out")
                named[field] = path
            for value in distribution.telling():
                said = [_complaint(recipe, path, value) for recipe in homes]
                if all(said):
                    raise UserError(f"{path}={distribution}: {said[0]}")

    def _variants(self) -> list[Recipe]:
        """The recipe, and those of many draws: between them they have every field that any draw has."""
        found = [self.recipe]
        for path in self._kinds():
            distribution = self.distributions[path]
            if not isinstance(distribution, Choice):
                raise UserError(f"{path}={distribution}: a kind is drawn by choice(one, other)")
            for value in distribution.values:
                # A kind that no draw of the rest makes a recipe is a mistake, and which is said by the recipe alone.
                made = self._some_recipe(path, value)
                if isinstance(made, str):
                    raise UserError(f"{path}={distribution}: {made}")
                found.append(made)
        return found

    def _some_recipe(self, path: str, value: Any) -> Recipe | str:
        """A recipe in which the kind at `path` is `value`; what is wrong where none of many draws is one."""
        why = ""
        for attempt in range(ATTEMPTS):
            chance = np.random.default_rng(attempt)
            # First the kind alone, with those that decide whether it is there; then among draws of all the rest.
            others = list(self.distributions) if attempt else (self._kinds() if self._depth(path) else [])
            narrowed = {other: self.distributions[other] for other in others} | {path: Choice((value,))}
            space = Space(self.recipe, narrowed)
            try:
                values = space.draw(self.random(chance))
            except InvalidDrawError as error:
                why = why or str(error)
                continue
            if path in values:
                return space.apply(values)
        return why or f"no draw has the field {path}"

    def _unknown(self, path: str, variants: Iterable[Recipe]) -> str:
        known = sorted({field for recipe in variants for field in recipe.flat()})
        near = difflib.get_close_matches(path, known, 1, cutoff=0.85)
        hint = f"; did you mean {near[0]}?" if near else f"; {_neighbours(path, known)}"
        return f"recipe {self.recipe.name} has no field {path} to be drawn{hint}"


def fields_of(recipe: Recipe, path: str) -> list[str]:
    """The fields of the recipe that `path` names, `*` standing for any one name between two dots."""
    parts = path.split(".")
    return [
        field
        for field in recipe.flat()
        if len(names := field.split(".")) == len(parts)
        and all(fnmatchcase(name, part) for name, part in zip(names, parts, strict=True))
    ]


def _kept_rates(recipe: Recipe, changes: Iterable[str]) -> list[str]:
    """`path=value` of the learning rates of optimizers whose kind is among the changes: no kind has one of its own, so
    the recipe's stands until one is drawn."""
    flat = recipe.flat()
    kinds = [change.partition("=")[0] for change in changes if re.match(r"optim\.\w+\.kind=", change)]
    rates = [kind.removesuffix("kind") + "lr" for kind in kinds]
    return [f"{rate}={as_yaml(flat[rate])}" for rate in rates]


def read_space(path: Path) -> dict[str, str]:
    """A space from a YAML file, a mapping of dotted paths to distributions. Raises UserError."""
    try:
        texts = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"the space {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"the space {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(texts, dict) or not all(isinstance(part, str) for pair in texts.items() for part in pair):
        raise UserError(f"{path} is not a space: it is to be lines such as `optim.generator.lr: log(1e-5, 1e-2)`")
    return texts


def own_space(recipe: Recipe) -> dict[str, str]:
    """The space that a recipe has of its own: what GANs live or die by, around the recipe's values.

    Each side's rate, a decade either way; Adam's betas, one draw for both sides; the D/G ratio; a penalty's weight, a
    decade either way. It is derived, not written in the recipe: so it fits the recipes that a team makes too, and
    follows a recipe that is changed.
    """
    optim, steps, texts = recipe.optim, recipe.train.steps, {}
    for side in ("generator", "discriminator"):
        rate = getattr(optim, side).lr
        texts[f"optim.{side}.lr"] = f"log({rate / 10:g}, {min(rate * 10, 1):g})"
    if optim.generator.kind == "adam" and optim.discriminator.kind == "adam":
        betas = [[0.0, 0.9], [0.0, 0.99], [0.5, 0.9], [0.5, 0.99], [0.5, 0.999], [0.9, 0.999]]
        for own in (optim.generator.betas, optim.discriminator.betas):
            betas += [] if list(own) in betas else [list(own)]
        texts["optim.*.betas"] = str(Choice(tuple(betas)))
    texts["train.steps.discriminator"] = f"int(1, {max(5, steps.discriminator)})"
    least = 2 if steps.adaptive == "until-risen" else 1
    texts["train.steps.generator"] = f"int({least}, {max(3, steps.generator)})"
    flat = recipe.flat()
    for field in ("method.penalty.gamma", "method.penalty.weight"):
        weight = flat.get(field)
        if weight:
            texts[field] = f"log({weight / 10:g}, {weight * 10:g})"
    return texts


def _meet(path: str, other: str) -> bool:
    """Whether two paths, `*` in either, may name one field."""
    pairs = list(zip(path.split("."), other.split("."), strict=False))
    return path.count(".") == other.count(".") and all(a == b or "*" in (a, b) for a, b in pairs)


def _complaint(recipe: Recipe, path: str, value: Any) -> str | None:
    """What the fields that `path` names say of a value; None where they take it."""
    fields = fields_of(recipe, path)
    overrides = [f"{field}={as_yaml(value)}" for field in fields]
    try:
        Recipe.model_validate(override_fields(recipe.model_dump(mode="json"), overrides, Recipe))
    except ValidationError as error:
        # What parts say of one another is for a whole draw: another field of it may put that right.
        own = [one for one in error.errors() if one["type"] != "value_error"]
        return explain(error, Recipe) if own else None
    return None


def _neighbours(path: str, known: list[str]) -> str:
    part = path
    while part := part.rpartition(".")[0]:
        below = [field for field in known if field.startswith(f"{part}.")]
        if below:
            return f"below {part} it has {', '.join(field.removeprefix(f'{part}.') for field in below[:12])}"
    return f"it has {', '.join(sorted({field.partition('.')[0] for field in known}))}"
