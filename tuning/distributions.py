"""What a number or a word of a recipe may be drawn from, and how a person writes that.

log(1e-5, 1e-2)    uniform(0, 1)    int(1, 5)    choice(hinge, non-saturating)    choice([0, 0.9], [0.5, 0.999])
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from ganlib.errors import UserError

_CALL = re.compile(r"\s*([A-Za-z_]\w*)\s*\((.*)\)\s*", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")  # YAML takes 1e-4 for a word

PERTURBATION = 1.25
"""Population-based training multiplies a value by this or divides it (Jaderberg et al. 2017 have 1.2 and 0.8)."""
RESAMPLED = 0.25
"""The share of its changes that are fresh draws instead."""


class Distribution:
    """Where values come from. `str()` of one is what parses to it again."""

    def draw(self, chance: np.random.Generator) -> Any:
        """One value."""
        raise NotImplementedError

    def perturb(self, value: Any, chance: np.random.Generator) -> Any:
        """A value near `value`, within the range; now and then one from anywhere in it."""
        if chance.random() < RESAMPLED:
            return self.draw(chance)
        return self._near(value, up=bool(chance.random() < 0.5))

    def holds(self, value: Any) -> bool:
        """Whether the value may be drawn."""
        raise NotImplementedError

    def telling(self) -> list[Any]:
        """Values that a recipe takes only if it takes all that are drawn: ends and one between them, or all choices."""
        raise NotImplementedError

    def _near(self, value: Any, up: bool) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class Uniform(Distribution):
    """A float from [low, high), or with `log` one whose logarithm is uniform."""

    low: float
    high: float
    log: bool = False

    def draw(self, chance: np.random.Generator) -> float:
        if self.log:
            return self._within(math.exp(chance.uniform(math.log(self.low), math.log(self.high))))
        return self._within(chance.uniform(self.low, self.high))

    def holds(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def telling(self) -> list[Any]:
        # Ends may be whole where the field takes nothing else, and what is drawn between them is not.
        return [self.low, self.high, self.low + (self.high - self.low) / math.pi]

    def _near(self, value: float, up: bool) -> float:
        if value == 0:
            return 0.1 * self.high if up else 0.0
        return self._within(value * PERTURBATION if up else value / PERTURBATION)

    def _within(self, value: float) -> float:
        return min(max(float(value), self.low), self.high)

    def __str__(self) -> str:
        return f"{'log' if self.log else 'uniform'}({self.low:g}, {self.high:g})"


@dataclass(frozen=True)
class Int(Distribution):
    """A whole number, both ends among them."""

    low: int
    high: int

    def draw(self, chance: np.random.Generator) -> int:
        return int(chance.integers(self.low, self.high, endpoint=True))

    def holds(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def telling(self) -> list[Any]:
        return [self.low, self.high]

    def _near(self, value: int, up: bool) -> int:
        # By a quarter, and by one at least: 1 times 1.25 would be 1 for ever.
        step = max(round(value * (PERTURBATION - 1)), 1)
        return min(max(value + (step if up else -step), self.low), self.high)

    def __str__(self) -> str:
        return f"int({self.low}, {self.high})"


@dataclass(frozen=True)
class Choice(Distribution):
    """One of some values, of any kind that YAML has. Neighbours in the list are near each other."""

    values: tuple[Any, ...]

    def draw(self, chance: np.random.Generator) -> Any:
        return self.values[int(chance.integers(len(self.values)))]

    def holds(self, value: Any) -> bool:
        return value in self.values

    def telling(self) -> list[Any]:
        return list(self.values)

    def index(self, value: Any) -> int:
        """Its place in the list. Raises ValueError."""
        return self.values.index(value)

    def _near(self, value: Any, up: bool) -> Any:
        place = self.index(value) + (1 if up else -1)
        return self.values[min(max(place, 0), len(self.values) - 1)]

    def __str__(self) -> str:
        return f"choice({', '.join(as_yaml(value) for value in self.values)})"


def as_yaml(value: Any) -> str:
    """A value on one line, as YAML reads it again."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def is_distribution(text: str) -> bool:
    """Whether a person who writes `text` means a distribution, a misspelled one too, and not a value."""
    return _CALL.fullmatch(text) is not None


def parse_distribution(text: str, path: str) -> Distribution:
    """What `text` means. Raises UserError: one line that says what of it, for the field `path`, is wrong."""
    found = _CALL.fullmatch(text)
    if found is None:
        raise UserError(f"{path}={text}: a range is written log(low, high), uniform(low, high), int(low, high) or "
                        "choice(one, other)")  # fmt: skip
    name, inside = found.groups()
    if name not in ("log", "uniform", "int", "choice"):
        near = difflib.get_close_matches(name, ["log", "uniform", "int", "choice"], 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{path}={text}: there is no {name}(){hint} (there are log, uniform, int, choice)")
    try:
        arguments = _numbers(yaml.safe_load(f"[{inside}]"))
    except yaml.YAMLError as error:
        raise UserError(f"{path}={text}: what stands between the brackets is not a list of values") from error
    if name == "choice":
        return _choice(arguments, f"{path}={text}")
    return _range(name, arguments, f"{path}={text}")


def _choice(values: list[Any], said: str) -> Choice:
    if not values:
        raise UserError(f"{said}: an empty choice; name the values between the brackets")
    twice = [value for place, value in enumerate(values) if value in values[:place]]
    if twice:
        raise UserError(f"{said}: {as_yaml(twice[0])} is there twice")
    return Choice(tuple(values))


def _range(name: str, ends: list[Any], said: str) -> Distribution:
    if len(ends) != 2 or not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends):
        raise UserError(f"{said}: a range has two numbers, {name}(low, high)")
    low, high = ends
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(f"{said}: the ends of a range are finite")
    if name == "log" and low <= 0:
        raise UserError(f"{said}: the logarithm of {low:g} is not a number; a log range begins above 0")
    if name == "int":
        if not (float(low).is_integer() and float(high).is_integer()):
            raise UserError(f"{said}: an int range has whole ends")
        if low > high:
            raise UserError(f"{said}: the range is empty, {low:g} is above {high:g}")
        return Int(int(low), int(high))
    if low >= high:
        raise UserError(f"{said}: the range is empty, {low:g} is not below {high:g}")
    return Uniform(float(low), float(high), log=name == "log")


def _numbers(value: Any) -> Any:
    """The same with words such as 1e-4 as the numbers that they are."""
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
