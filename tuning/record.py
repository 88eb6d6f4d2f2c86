"""The record of a study: its space, its trials, and what each of them reported, as one JSON file.

Whoever runs a study writes it; reports, warm starts and a resumed study read it. Nothing else about a study is state.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ganlib.errors import UserError
from ganlib.files import write_atomically

SCHEMA: Final = 1

TrialStatus = Literal["running", "finished", "stopped", "unhealthy", "failed"]
"""finished: to its whole length. stopped: by the scheduler, at a rung. unhealthy: it diverged, or a verdict on its
health is severe and certain. failed: an error. The last two count as the worst there is, not as missing."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


class Reading(_Strict):
    """One evaluation of a trial, at a rung.

    images: seen by then. seconds: of training by then, the trial's own. value: of the study's metric; error: its
    standard error where there is one. metrics: all that was measured, the study's metric among them. at: when it came,
    in seconds since the epoch.
    """

    images: int = Field(ge=0)
    seconds: float = Field(ge=0)
    value: float
    error: float | None = None
    metrics: dict[str, float] = {}
    at: float | None = None


class Mutation(_Strict):
    """Population-based training: at so many images the trial took these values, and perhaps another's weights."""

    images: int = Field(ge=0)
    values: dict[str, Any]
    weights_of: int | None = None


class Trial(_Strict):
    """One recipe that was tried: what was drawn for it (dotted path -> value), and how it went."""

    number: int = Field(ge=0)
    values: dict[str, Any]
    seed: int
    status: TrialStatus = "running"
    says: str = ""
    began: float
    ended: float | None = None
    readings: list[Reading] = []
    mutations: list[Mutation] = []
    run: str | None = None
    repeats: int | None = None
    """The number of the trial whose values this one has on a fresh seed: a finalist, run again."""

    def best(self, mode: Literal["min", "max"] = "min") -> Reading | None:
        """The best reading; None where there is none or it counts as bad."""
        if not self.readings or self.status in ("unhealthy", "failed"):
            return None
        return (min if mode == "min" else max)(self.readings, key=lambda reading: reading.value)


class Study(_Strict):
    """A study whole. `space`: dotted path -> the distribution as it was written, such as "log(1e-5, 1e-2)"."""

    schema_version: Literal[1] = SCHEMA
    name: str
    recipe: dict[str, Any]
    dataset: str
    space: dict[str, str]
    search: str
    scheduler: str
    metric: str
    mode: Literal["min", "max"] = "min"
    seed: int
    trials_wanted: int
    rungs: list[int] = []
    """Images seen at which trials are compared, rising; the last is a trial's whole length."""
    began: float
    ended: float | None = None
    searched_seconds: float = Field(default=0.0, ge=0)
    """How long the search has run, all drivers of it together: what one that was killed did last may be missing."""
    trials: list[Trial] = []
    best: int | None = None
    """The number of the trial whose values won, finalists' repeats counted in."""

    def write(self, path: Path) -> None:
        """Atomically. Raises UserError where the disk refuses."""
        write_atomically(path, self.model_dump_json(indent=1))

    @classmethod
    def read(cls, path: Path) -> Study:
        """Raises UserError where it is missing or is no study's record."""
        try:
            return cls.model_validate_json(path.read_text())
        except OSError as error:
            raise UserError(f"study {path} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise UserError(f"{path} is not the record of a study: {error.errors()[0]['msg']}") from error
