"""Secrets that a job needs, on their way to it: sealed with the cluster's token, for a job's environment is on record.

Ray keeps the environment that a job is submitted with, and shows it to whoever asks its Jobs API. The cluster's
processes have the token already, so what is sealed with a key derived from it (Fernet: AES-128-CBC and HMAC-SHA256, the
key by HKDF-SHA256 of RFC 5869) is read by the job and, in the record, by nobody without it.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from ganlib.errors import UserError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

SECRET = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
"""Variables of the submitter's environment that go along sealed, where they are set."""
SEALED = "GAN_SEALED"
"""The variable of the job's environment that holds them."""


def cluster_token() -> str | None:
    """The token for Ray that the environment names: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, or ~/.ray/auth_token.

    Raises UserError for a file that is named and cannot be read.
    """
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        return path.read_text().strip() or None
    except OSError as error:
        if named:
            raise UserError(
                f"the token's file {path} (RAY_AUTH_TOKEN_PATH) cannot be read: {error.strerror}"
            ) from error
        return None


def secrets_here(also: Iterable[str] = (), own: bool = True) -> dict[str, str]:
    """The secrets of this environment, unless not `own`, and the variables `also`.

    Raises UserError where one of those is not set.
    """
    for name in also:
        if name not in os.environ:
            raise UserError(f"the variable {name} is not set here, so that it cannot be given to the job")
    return {name: os.environ[name] for name in (*(SECRET if own else ()), *also) if os.environ.get(name)}


def seal(secrets: Mapping[str, str], token: str) -> str:
    """The secrets as one word of ASCII, which `unseal` reads with the same token."""
    return _cipher(token).encrypt(json.dumps(dict(secrets)).encode()).decode()


def unseal(sealed: str, token: str) -> dict[str, str]:
    """What was sealed. Raises UserError where it was sealed with another token, or changed."""
    from cryptography.fernet import InvalidToken

    try:
        found: dict[str, str] = json.loads(_cipher(token).decrypt(sealed.encode()))
    except InvalidToken as error:
        raise UserError("the job's credentials were sealed with another token than this cluster's") from error
    return found


def unseal_environment() -> None:
    """Puts what the job's environment holds sealed into this process's own; Ray calls it in each of a job's workers."""
    sealed, token = os.environ.get(SEALED), cluster_token()
    if sealed and token:
        os.environ.update(unseal(sealed, token))


def without_password(uri: str, environment: MutableMapping[str, str]) -> str:
    """The address without `user:password@`, which go into `environment` where MLflow looks for them."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri  # no address, as whoever asks it will find
    if parts.scheme not in ("http", "https") or parts.username is None:
        return uri
    environment["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
    environment["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _cipher(token: str) -> Fernet:
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    key = HKDF(SHA256(), length=32, salt=None, info=b"gan: credentials of a job").derive(token.encode())
    return Fernet(base64.urlsafe_b64encode(key))
