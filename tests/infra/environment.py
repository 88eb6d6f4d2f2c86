"""Whether a variable that infra/ sets is one that somebody reads: ours, Ray's, MLflow's, Amazon's or the image's."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tests.documents import ROOT
from tests.infra.tools import INFRA

# Read by images that are not ours, and by the AWS SDKs, as their documentation says.
ELSEWHERE = {
    "AWS_DEFAULT_REGION", "AWS_SHARED_CREDENTIALS_FILE",  # boto3, and the SDK in pyarrow
    "POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD_FILE", "POSTGRES_INITDB_ARGS", "PGDATA",  # postgres
    "VGW_BACKEND", "VGW_BACKEND_ARG", "VGW_PORT", "VGW_REGION", "VGW_HEALTH",  # versity/versitygw
}  # fmt: skip


def is_read(name: str) -> bool:
    """Whether the code of the project or of a package that it pins names the variable, or it is read elsewhere."""
    if name in ELSEWHERE:
        return True
    if name.startswith("GAN_"):
        return name in _words(*_ours())
    if name.startswith("RAY_"):
        return name in _words(*_ray()) or name.encode() in _raylet()
    return name in _words(*_ours(), *_mlflow())


def _ours() -> tuple[Path, ...]:
    code = [path for folder in ("ganlib", "pipelines") for path in (ROOT / folder).rglob("*.py")]
    return (*code, *(INFRA / "image").iterdir())


def _mlflow() -> tuple[Path, ...]:
    folder = package("mlflow")
    return tuple(folder / name for name in ("environment_variables.py", "cli/__init__.py", "utils/cli_args.py"))


def _ray() -> tuple[Path, ...]:
    folder = package("ray")
    named = ("_private/ray_constants.py", "_common/usage/usage_constants.py", "train/v2/_internal/constants.py")
    return tuple(folder / name for name in named)


def package(name: str) -> Path:
    """Where a package lies; importing Ray or MLflow takes seconds."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@cache
def _words(*paths: Path) -> frozenset[str]:
    return frozenset(word for path in paths for word in re.findall(r"[A-Z][A-Z0-9_]{3,}", path.read_text()))


def ray_constant(name: str) -> int:
    """A number among Ray's constants: DEFAULT_DASHBOARD_PORT, ..."""
    text = (package("ray") / "_private" / "ray_constants.py").read_text()
    (value,) = re.findall(rf"^{name} = (?:env_integer\(.*, )?(\d+)\)?$", text, flags=re.M)
    return int(value)


@cache
def _raylet() -> bytes:
    """Ray's compiled half, which reads the token."""
    return next(package("ray").glob("_raylet*.so")).read_bytes()
