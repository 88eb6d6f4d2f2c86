"""Published weights: where a file of them is on this machine, and how it comes there.

Which weights judged is in every metric's name, by their digest; where they lie is the machine's matter and no field of
a recipe, which has to mean the same on the next machine. So a file is named by an environment variable, or is fetched
once into the folder in which torch keeps such files, where torch-fidelity has put the same ones.
"""

from __future__ import annotations

import hashlib
import logging
import os
import urllib.request
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from ganlib.errors import UserError
from ganlib.files import file_digest

OTHERS = "judge with the extractor classifier, instances or random, which need no download"
_PIECE = 1 << 20
_SECONDS = 30.0


@dataclass(frozen=True)
class PublishedWeights:
    """Weights for `extractor`, published at `url` with this SHA-256. file: what torch-fidelity's cache calls them."""

    extractor: str
    file: str
    url: str
    sha256: str

    @property
    def variable(self) -> str:
        """The environment variable that names another file of such weights: GAN_WEIGHTS_INCEPTION, ..."""
        return f"GAN_WEIGHTS_{self.extractor.upper()}"

    def find(self) -> tuple[Path, str]:
        """The file, and its SHA-256: the one that the variable names, as it is; else the published one, fetched where
        it is not in torch's folder yet. Raises UserError: one line on how to get it."""
        found = self.present()
        if found is None:
            self._fetch(self._published)
            return self._published, self.sha256
        return found

    def present(self) -> tuple[Path, str] | None:
        """As `find`, but for what would have to be fetched, which is None."""
        named = os.environ.get(self.variable)
        if named:
            path = Path(named).expanduser()
            return path, file_digest(path)
        path = self._published
        return (path, self.sha256) if path.is_file() and file_digest(path) == self.sha256 else None

    @property
    def _published(self) -> Path:
        """Where the published file is kept."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.file

    def _fetch(self, path: Path) -> None:
        """Puts the published file at `path`, whole and as its digest wants it or not at all."""
        logging.getLogger(__name__).warning("fetching the weights of %s once, from %s", self.extractor, self.url)
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
        state = hashlib.sha256()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with urllib.request.urlopen(self.url, timeout=_SECONDS) as answer, part.open("xb") as file:
                while piece := answer.read(_PIECE):
                    state.update(piece)
                    file.write(piece)
            if state.hexdigest() != self.sha256:
                raise OSError(f"what came has SHA-256 {state.hexdigest()[:12]}..., not {self.sha256[:12]}...")
            part.replace(path)
        except OSError as error:  # urllib's errors and time limits are OSErrors
            reason = getattr(error, "reason", None) or error.strerror or error
            raise UserError(
                f"the weights of {self.extractor} cannot be fetched from {self.url} ({reason}): fetch them elsewhere "
                f"and name the file with {self.variable}, or {OTHERS}"
            ) from error
        finally:
            with suppress(OSError):
                part.unlink()
