"""The image's `mlflow-server` for real: on PostgreSQL, with artifacts in S3, behind its accounts.

MLflow takes half a minute of a core to make the tables of an empty database and to start.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.infra.tools import INFRA
from tests.pipelines.conftest import free_port, wait_for
from tests.s3 import BUCKET, endpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def secrets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("deployment") / "secrets"
    subprocess.run([INFRA / "secrets.sh", folder], check=True, capture_output=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def database(secrets) -> Iterator[int]:
    """The port of a PostgreSQL that asks for the password, as the images that infra/ names do."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [
        Path(path).parent for path in [shutil.which("initdb")] if path
    ]
    if not found:
        pytest.skip("no PostgreSQL on this machine")
    owner: dict[str, Any] = {"user": "postgres"} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="gan-postgres-"))
    if owner:
        shutil.chown(folder, "postgres")
    port = free_port()

    def run(program: str, *words: object, **more: Any) -> None:
        command = [str(found[-1] / program), *map(str, words)]
        subprocess.run(command, check=True, capture_output=True, timeout=300, cwd=folder, **owner, **more)

    password, data, given = (secrets / "postgres_password").read_text(), folder / "data", folder / "password"
    given.write_text(password)
    run("initdb", "-D", data, "-U", "mlflow", "--auth=scram-sha-256", f"--pwfile={given}")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -k {folder}"
    run("pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "-t", "240", "start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", port, "-U", "mlflow", "mlflow", env={"PGPASSWORD": password})
        yield port
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(secrets, database, tmp_path_factory) -> Iterator[tuple[str, int, Path]]:
    """(address, process, log) of the server."""
    pytest.importorskip("moto.server", reason="no moto; install the project's test extra")
    folder = tmp_path_factory.mktemp("mlflow")
    log, port = folder / "log", free_port()
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "GAN_SECRETS": str(secrets),
        "MLFLOW_HOST": "127.0.0.1",
        "MLFLOW_PORT": str(port),
        "MLFLOW_WORKERS": "1",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow:5000,localhost:*,127.0.0.1:*",
        "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg2://mlflow@127.0.0.1:{database}/mlflow",
        "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKET}/mlflow",
        "MLFLOW_S3_ENDPOINT_URL": endpoint(),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_SHARED_CREDENTIALS_FILE": str(secrets / "aws_credentials"),
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [INFRA / "image" / "mlflow-server"], env=environment, cwd=folder, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/health", process, log, 500)
        yield address, process.pid, log
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def ask(url: str, password: str | None, body: Any = None, method: str | None = None, **headers: str) -> tuple[int, Any]:
    """(status, answer) of a request as `gan`, or as nobody."""
    if password is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(f"gan:{password}".encode()).decode()
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers | {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text.startswith(b"{") else text
    except urllib.error.HTTPError as error:
        return error.code, None


SEARCH = "api/2.0/mlflow/experiments/search?max_results=1"


def test_who_has_no_account_gets_nothing(server, secrets):
    address, _, _ = server
    password = (secrets / "mlflow_password").read_text()
    assert ask(f"{address}/{SEARCH}", None)[0] == 401
    assert ask(f"{address}/{SEARCH}", "wrong")[0] == 401
    assert ask(f"{address}/", None)[0] == 401
    artifacts = f"{address}/api/2.0/mlflow-artifacts/artifacts"
    assert ask(f"{artifacts}/x", None, b"x", "PUT")[0] in (401, 403)
    assert ask(f"{address}/{SEARCH}", password)[0] == 200


def test_a_page_elsewhere_cannot_ask_it_by_another_name(server, secrets):
    address, _, _ = server
    password = (secrets / "mlflow_password").read_text()
    assert ask(f"{address}/{SEARCH}", password, Host="evil.example:5000")[0] == 403
    assert ask(f"{address}/{SEARCH}", password, Host="mlflow:5000")[0] == 200


def test_runs_lie_in_the_database_and_artifacts_in_the_bucket(server, secrets, database):
    import boto3
    import psycopg2

    address, _, _ = server
    password = (secrets / "mlflow_password").read_text()
    api = f"{address}/api/2.0/mlflow"
    _, made = ask(f"{api}/experiments/create", password, {"name": "deployed"})
    _, begun = ask(f"{api}/runs/create", password, {"experiment_id": made["experiment_id"], "start_time": 1})
    run = begun["run"]["info"]
    point = {"run_id": run["run_id"], "key": "fid", "value": 2.9, "timestamp": 1, "step": 7}
    assert ask(f"{api}/runs/log-metric", password, point)[0] == 200
    # The server writes the artifact, so that no client needs a key of the bucket.
    assert run["artifact_uri"].startswith("mlflow-artifacts:/")
    place = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    upload = f"{address}/api/2.0/mlflow-artifacts/artifacts/{place}/grid.png"
    assert ask(upload, password, b"PNG", "PUT")[0] == 200

    s3 = boto3.client(
        "s3", endpoint_url=endpoint(), region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    assert s3.get_object(Bucket=BUCKET, Key=f"mlflow/{place}/grid.png")["Body"].read() == b"PNG"
    connection = psycopg2.connect(
        host="127.0.0.1", port=database, user="mlflow", dbname="mlflow",
        password=(secrets / "postgres_password").read_text(),
    )  # fmt: skip
    with connection, connection.cursor() as cursor:
        cursor.execute("select key, value, step from metrics where run_uuid = %s", (run["run_id"],))
        assert cursor.fetchall() == [("fid", 2.9, 7)]
        cursor.execute("select username, is_admin from users")
        assert cursor.fetchall() == [("gan", True)]
    connection.close()


def test_no_secret_is_in_a_command_line_or_a_log(server, secrets):
    _, leader, log = server
    kept = [path.read_text() for path in secrets.iterdir() if not path.name.endswith("credentials")]
    said = [log.read_text()]
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _group(process) == leader:
            said.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    assert any("mlflow" in line for line in said[1:])
    assert not [secret for secret in kept if any(secret in text for text in said)]


def _group(process: Path) -> int | None:
    try:
        return os.getpgid(int(process.name))
    except ProcessLookupError:
        return None
