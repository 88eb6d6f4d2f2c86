"""Secrets on their way to a job."""

import base64
import hashlib
import hmac
import json
import os
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from ganlib.errors import UserError
from pipelines.credentials import (
    SEALED,
    cluster_token,
    seal,
    secrets_here,
    unseal,
    unseal_environment,
    without_password,
)
from pipelines.jobs import Cluster, Job, _variables


def test_a_seal_is_fernet_under_hkdf_of_the_token() -> None:
    """RFC 5869 by hand, with one block of output: extract under a salt of zeros, expand."""
    extracted = hmac.digest(bytes(32), b"token", hashlib.sha256)
    key = hmac.digest(extracted, b"gan: credentials of a job\x01", hashlib.sha256)
    sealed = seal({"AWS_SECRET_ACCESS_KEY": "s3cret"}, "token")
    assert "s3cret" not in sealed
    assert json.loads(Fernet(base64.urlsafe_b64encode(key)).decrypt(sealed)) == {"AWS_SECRET_ACCESS_KEY": "s3cret"}
    assert unseal(sealed, "token") == {"AWS_SECRET_ACCESS_KEY": "s3cret"}
    with pytest.raises(UserError, match="another token"):
        unseal(sealed, "tokem")


def test_a_worker_has_what_was_sealed(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "token").write_text("abc\n")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    monkeypatch.setenv(SEALED, seal({"MLFLOW_TRACKING_PASSWORD": "p"}, "abc"))
    unseal_environment()
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "p"


def test_the_token_is_of_the_variable_then_of_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    assert cluster_token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("one\n")
    assert cluster_token() == "one"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"nowhere .RAY_AUTH_TOKEN_PATH. cannot be read"):
        cluster_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "two")
    assert cluster_token() == "two"


def test_only_what_is_named_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "MLFLOW_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "k")
    monkeypatch.setenv("OTHER", "o")
    assert secrets_here() == {"AWS_SECRET_ACCESS_KEY": "k"}
    assert secrets_here(["OTHER"]) == {"AWS_SECRET_ACCESS_KEY": "k", "OTHER": "o"}
    with pytest.raises(UserError, match="NOT_SET is not set here"):
        secrets_here(["NOT_SET"])


def test_without_ones_own_credentials_what_is_named_goes_along_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "k")
    monkeypatch.setenv("OTHER", "o")

    def sent(token: str | None, *named: str) -> tuple[dict[str, str], str | None]:
        job = Job(["recipes"], Path("x"), tracking="https://me:pass@host:5000", variables=named, own_credentials=False)
        variables, tracking = _variables(Cluster("http://127.0.0.1:1", token, None), job, "gan-1")
        return unseal(variables[SEALED], "token") if SEALED in variables else {}, tracking

    assert sent("token", "OTHER") == ({"OTHER": "o"}, "https://host:5000")
    assert sent(None) == ({}, "https://host:5000")  # nothing to be sealed, so no token is needed
    with pytest.raises(UserError, match="NOT_SET is not set here"):
        sent("token", "NOT_SET")
    with pytest.raises(UserError, match=r"OTHER could not be sealed .* or leave out --env$"):
        sent(None, "OTHER")


def test_an_address_loses_its_password() -> None:
    found: dict[str, str] = {}
    assert without_password("https://me:p%40ss@host:5000/x", found) == "https://host:5000/x"
    assert found == {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "p@ss"}
    for plain in ("http://host:5000", "sqlite:////a@b/mlflow.db"):
        assert without_password(plain, found := {}) == plain
        assert found == {}
