"""A real S3 endpoint on this machine: moto's server, in a process of its own, on a free port of the loopback.

A test module that wants it says `from tests.s3 import s3_folder` (and ruff: noqa: F401, F811).
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from functools import cache
from pathlib import Path

import pytest

from pipelines.ports import free_ports

BUCKET = "bucket"
# moto takes any; they must be there.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@pytest.fixture
def s3_folder(monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place, s3://bucket/..., of one server for all tests; the environment says where the server is, to
    processes that the test starts too."""
    pytest.importorskip("moto.server", reason="no moto; install the project's test extra")
    for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL": endpoint()}).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@cache
def endpoint() -> str:
    """http://127.0.0.1:PORT of the server, which lives as long as this process and has one bucket."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    descriptor, name = tempfile.mkstemp(suffix="-moto.log")
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=descriptor, stderr=descriptor)
    os.close(descriptor)
    atexit.register(_end, server, Path(name))
    _wait(url, server, Path(name))
    urllib.request.urlopen(urllib.request.Request(f"{url}/{BUCKET}", method="PUT"), timeout=30).close()
    return url


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
            return
        except OSError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"moto's server did not start: {log.read_text()[-2000:]}") from error
            time.sleep(0.1)


def _end(server: subprocess.Popen[bytes], log: Path) -> None:
    server.terminate()
    server.wait(30)
    log.unlink()
