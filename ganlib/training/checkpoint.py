"""Checkpoints: a folder of `recipe.yaml`, `progress.json` and safetensors. Nothing in it can run code.

`progress.json` is the table of contents, with the size and SHA-256 of every other file, so that a checkpoint that was
cut short is told from a whole one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ganlib.errors import UserError
from ganlib.files import atomic_folder, file_digest
from ganlib.recipe import Recipe

SCHEMA = 1


class Progress(BaseModel):
    """How far a run has come. All randomness is a function of these counts and the seed.

    loading: how its images are read, which decides their order. precision: what its products are computed in. Each is
    settled at the run's start, where the recipe leaves it open.
    """

    model_config = ConfigDict(extra="forbid")

    images: int = 0
    rounds: int = 0
    discriminator_steps: int = 0
    seconds: float = 0.0
    loading: Literal["resident", "streamed"] = "resident"
    precision: Literal["fp32", "bf16"] = "fp32"


class Contents(BaseModel):
    """What `progress.json` holds."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int
    progress: Progress
    dataset: str
    files: dict[str, tuple[int, str]]


@dataclass(frozen=True)
class Snapshot:
    """The state of a run on the CPU, apart from the tensors that training goes on with."""

    recipe: Recipe
    progress: Progress
    dataset: str
    tensors: dict[str, dict[str, Tensor]]  # file stem -> name -> tensor

    @classmethod
    def take(
        cls,
        recipe: Recipe,
        progress: Progress,
        dataset: str,
        generator: nn.Module,
        average: nn.Module | None,
        discriminator: nn.Module,
        optimizers: dict[str, dict[str, Tensor]],
        method: dict[str, Tensor],
    ) -> Snapshot:
        files = {"generator": generator.state_dict(), "discriminator": discriminator.state_dict()}
        if average is not None:
            files["generator_ema"] = average.state_dict()
        if method:
            files["method"] = method
        files["optimizers"] = {f"{side}/{name}": x for side, state in optimizers.items() for name, x in state.items()}
        copies = {stem: {name: _copy(tensor) for name, tensor in state.items()} for stem, state in files.items()}
        return cls(recipe, progress.model_copy(), dataset, copies)

    def write(self, folder: Path) -> Path:
        """Writes the checkpoint; `folder` is there whole or not at all. Raises UserError where it cannot be written."""
        with atomic_folder(folder) as temporary:
            (temporary / "recipe.yaml").write_text(self.recipe.dump())
            for stem, tensors in self.tensors.items():
                save_file(tensors, temporary / f"{stem}.safetensors")
            files = {p.name: (p.stat().st_size, file_digest(p)) for p in sorted(temporary.iterdir())}
            contents = Contents(schema_version=SCHEMA, progress=self.progress, dataset=self.dataset, files=files)
            (temporary / "progress.json").write_text(contents.model_dump_json(indent=2))
        return folder


def _copy(tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU (safetensors knows no memory format)."""
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())


@dataclass(frozen=True)
class State:
    """A checkpoint as read and verified."""

    recipe: Recipe
    progress: Progress
    dataset: str
    tensors: dict[str, dict[str, Tensor]]

    def load_into(self, module: nn.Module, stem: str, folder: Path) -> None:
        """Copies the weights of `stem` into `module`. Raises UserError where names or shapes differ."""
        ours, theirs = module.state_dict(), self.tensors.get(stem, {})
        for name in sorted(ours.keys() | theirs.keys()):
            if name not in ours or name not in theirs or ours[name].shape != theirs[name].shape:
                have = list(theirs[name].shape) if name in theirs else "nothing"
                want = list(ours[name].shape) if name in ours else "nothing"
                raise UserError(
                    f"checkpoint {folder} does not fit the recipe: {stem} has {have} at {name}, "
                    f"the recipe wants {want}; use the recipe.yaml beside the weights"
                )
        module.load_state_dict(theirs)

    def optimizer(self, side: str) -> dict[str, Tensor]:
        """The optimizer's tensors of one side."""
        tensors = self.tensors["optimizers"]
        return {name.removeprefix(f"{side}/"): x for name, x in tensors.items() if name.startswith(f"{side}/")}


def read_contents(folder: Path) -> Contents:
    """The table of contents of a checkpoint whose files are all there in full length. Raises UserError otherwise."""
    damaged = f"checkpoint {folder} is damaged: progress.json is not what was written; use an earlier one"
    try:
        content = json.loads((folder / "progress.json").read_bytes())
    except OSError as error:
        raise UserError(f"{folder} is not a checkpoint: progress.json cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(damaged) from error
    # Before its fields are judged: a newer version may well have others.
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA:
        raise UserError(f"checkpoint {folder} was written by a newer version of this program; update it")
    try:
        contents = Contents.model_validate(content)
    except ValidationError as error:
        raise UserError(damaged) from error
    for name, (size, _) in contents.files.items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else None
        if found != size:
            state = "is missing" if found is None else f"has {found} bytes of {size}"
            raise UserError(f"checkpoint {folder} is incomplete: {name} {state}; use an earlier one")
    return contents


def read_checkpoint(folder: Path, stems: tuple[str, ...] | None = None) -> State:
    """Reads the weights of `stems` (all, by default), each verified. Raises UserError where anything is amiss."""
    contents = read_contents(folder)
    names = [n for n in contents.files if n.endswith(".safetensors") and (stems is None or Path(n).stem in stems)]
    for name in ["recipe.yaml", *names]:
        if file_digest(folder / name) != contents.files[name][1]:
            raise UserError(f"checkpoint {folder} is damaged: {name} is not what was written; use an earlier one")
    try:
        tensors = {Path(name).stem: load_file(folder / name) for name in names}
    except SafetensorError as error:
        raise UserError(f"checkpoint {folder} is damaged: {error}; use an earlier one") from error
    recipe = Recipe.load(folder / "recipe.yaml")
    return State(recipe, contents.progress, contents.dataset, tensors)


def checkpoint_name(images: int) -> str:
    """The folder's name of the checkpoint at so many images seen; names sort as the counts do."""
    return f"checkpoint-{images:012d}"


def newest_checkpoint(run_folder: Path) -> Path | None:
    """The newest whole checkpoint below `run_folder`. One that was cut short or is damaged is passed over."""
    for folder in sorted(run_folder.glob("checkpoint-*"), reverse=True):
        try:
            read_checkpoint(folder)
        except UserError:
            continue
        return folder
    return None
