"""The scripts of infra/: linted, and run."""

from __future__ import annotations

import configparser
import fcntl
import http.server
import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from tests.infra.tools import INFRA, tool

SCRIPTS = sorted([*INFRA.glob("*.sh"), *(INFRA / "image").iterdir(), *(INFRA / "cloud").glob("*.sh")])
NAMES = {
    "aws_credentials", "mlflow_credentials", "mlflow_password", "mlflow_session_key", "postgres_password", "ray_token",
    "s3_access_key", "s3_secret_key",
}  # fmt: skip


def run(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        list(map(str, words)), env=kept | environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture(scope="module")
def secrets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("infra") / "secrets"
    assert run(INFRA / "secrets.sh", folder).returncode == 0
    return folder


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_linted(path):
    done = tool("shellcheck", "--severity=style", path)
    assert done.returncode == 0, done.stdout


def test_secrets_are_made_for_their_owner(secrets):
    assert {path.name for path in secrets.iterdir()} == NAMES
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets.iterdir()} == {0o444}


def test_secrets_are_random_and_long(secrets):
    single = {name: (secrets / name).read_text() for name in NAMES if not name.endswith("credentials")}
    assert len(set(single.values())) == len(single)
    assert all(set(value) <= set("0123456789abcdef") for value in single.values())  # and so no end of line
    # A byte is two digits; an access key is a name, the others stand for what they open.
    assert {name: len(value) * 4 for name, value in single.items()} == {
        "mlflow_password": 192, "mlflow_session_key": 256, "postgres_password": 192, "ray_token": 256,
        "s3_access_key": 80, "s3_secret_key": 192,
    }  # fmt: skip


def test_clients_files_hold_the_servers_secrets(secrets):
    def section(name: str, of: str) -> dict[str, str]:
        parser = configparser.ConfigParser()
        parser.read(secrets / name)
        return dict(parser[of])

    assert section("mlflow_credentials", "mlflow") == {
        "mlflow_tracking_username": "gan",
        "mlflow_tracking_password": (secrets / "mlflow_password").read_text(),
    }
    assert section("aws_credentials", "default") == {
        "aws_access_key_id": (secrets / "s3_access_key").read_text(),
        "aws_secret_access_key": (secrets / "s3_secret_key").read_text(),
    }


def test_mlflow_reads_user_and_password_from_the_file(secrets, tmp_path, monkeypatch):
    from mlflow.utils.credentials import read_mlflow_creds

    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").symlink_to(secrets / "mlflow_credentials")
    assert read_mlflow_creds() == ("gan", (secrets / "mlflow_password").read_text())


def test_made_again_nothing_changes_and_a_missing_one_is_made(secrets):
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    assert run(INFRA / "secrets.sh", secrets).returncode == 0
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before
    (secrets / "ray_token").unlink()
    assert run(INFRA / "secrets.sh", secrets).returncode == 0
    after = {path.name: path.read_text() for path in secrets.iterdir()}
    assert {name for name in NAMES if after[name] != before[name]} == {"ray_token"}


def test_nothing_that_is_made_is_printed(tmp_path):
    done = run(INFRA / "secrets.sh", tmp_path / "new")
    assert done.stdout == f"secrets lie in {tmp_path / 'new'}\n"
    assert done.stderr == ""


def test_a_name_that_a_description_wants_and_nobody_gave_is_said():
    done = run(INFRA / "cloud" / "fill.sh", INFRA / "cloud" / "aws.yaml", GAN_REGION="eu-west-1", GAN_BUCKET="b")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert " GAN_AMI " in line
    assert " GAN_REGION" not in line


def test_what_is_filled_in_may_hold_any_character(tmp_path):
    description = tmp_path / "some.yaml"
    description.write_text("# ${GAN_A}\nimage: ${GAN_A}:${GAN_B} $RAY_HEAD_IP\n")
    done = run(INFRA / "cloud" / "fill.sh", description, GAN_A=r"a|b&c\d/e", GAN_B="1")
    assert done.stdout == "# ${GAN_A}\nimage: a|b&c\\d/e:1 $RAY_HEAD_IP\n"


@pytest.mark.parametrize("missing", ["MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION"])
def test_the_mlflow_server_says_what_it_was_not_told(missing):
    given = {"MLFLOW_BACKEND_STORE_URI": "sqlite:////nowhere/x.db", "MLFLOW_ARTIFACTS_DESTINATION": "/nowhere"}
    done = run("sh", INFRA / "image" / "mlflow-server", **{k: v for k, v in given.items() if k != missing})
    assert done.returncode != 0
    assert missing in done.stderr


def test_a_container_without_ray_has_nothing_to_leave(tmp_path):
    # A `ps` that lists no process stands for the container: this machine may well have a node of Ray's.
    (tmp_path / "ps").write_text("#!/bin/sh\necho /usr/bin/python\n")
    (tmp_path / "ps").chmod(0o755)
    done = run("sh", INFRA / "image" / "leave-cluster", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (1, "leave-cluster: no node of Ray runs here\n")


class Metadata(http.server.BaseHTTPRequestHandler):
    """What a machine of Amazon's or Google's is told of itself, as their documentation has it: a notice at the third
    question. Amazon's wants a token, which is given for a PUT; Google's a header."""

    asked: ClassVar[list[str]] = []

    def do_PUT(self) -> None:
        self.asked.append("token")
        lives = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        self._say(200 if self.path == "/latest/api/token" and lives else 400, "t0ken")

    def do_GET(self) -> None:
        self.asked.append(self.path)
        due = self.asked.count(self.path) >= 3
        if self.path == "/latest/meta-data/spot/instance-action":
            if self.headers.get("X-aws-ec2-metadata-token") != "t0ken":
                return self._say(401)
            return self._say(200, '{"action": "terminate"}') if due else self._say(404)
        if self.path == "/computeMetadata/v1/instance/preempted":
            if self.headers.get("Metadata-Flavor") != "Google":
                return self._say(403)
            return self._say(200, "TRUE" if due else "FALSE")
        return self._say(404)

    def _say(self, status: int, text: str = "") -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.mark.parametrize(("cloud", "seconds"), [("aws", "90"), ("google", "20")])
def test_a_spot_notice_has_the_node_left(cloud, seconds, tmp_path, monkeypatch):
    (tmp_path / "leave-cluster").write_text('#!/bin/sh\necho "left within $1"\n')
    (tmp_path / "leave-cluster").chmod(0o755)
    monkeypatch.setattr(Metadata, "asked", [])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        told = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "GAN_METADATA": f"http://127.0.0.1:{server.server_address[1]}",
            "GAN_METADATA_SECONDS": "0.1",
        }
        done = run(INFRA / "image" / "heed-spot-notice", cloud, **told)
        # A second one beside one that waits has nothing to do.
        with (tmp_path / ".heed-spot-notice").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert run(INFRA / "image" / "heed-spot-notice", cloud, **told).stdout == ""
        server.shutdown()
    assert done.stdout.splitlines()[-1] == f"left within {seconds}"
    assert len([path for path in Metadata.asked if path != "token"]) == 3


def test_a_cloud_that_nobody_knows_is_said():
    done = run(INFRA / "image" / "heed-spot-notice", "azure")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


NODE = """
set -eu
ray start --head --port 6411 --num-cpus 1 --include-dashboard=false --temp-dir "$1" > /dev/null
pgrep -x raylet > /dev/null
(exec -a ray::RayTrainWorker sleep 5) &
before=$(date +%s)
"$2" 60
echo "waited $(($(date +%s) - before))"
for _ in $(seq 100); do pgrep -x raylet > /dev/null || break; sleep 0.2; done
pgrep -x raylet > /dev/null || echo gone
ray stop --force > /dev/null 2>&1
"""


@pytest.mark.slow
def test_a_node_is_drained_and_waits_for_the_training_on_it(tmp_path):
    """A real one, alone in its namespace of processes as in a container: Ray ends it once no training is left there."""
    alone = ["unshare", "--pid", "--fork", "--mount", "--mount-proc"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespace of processes can be made here: it takes root")
    token = tmp_path / "token"
    token.write_text("a" * 64)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "COLUMNS": "80",  # as a terminal leaves it: a line of ps is not cut there
    }
    with tempfile.TemporaryDirectory(prefix="gan") as short:  # a socket's path has 107 characters at most
        command = [*alone, "bash", "-c", NODE, "node", short, str(INFRA / "image" / "leave-cluster")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    waited, gone = done.stdout.splitlines()[-2:]
    assert 4 <= int(waited.removeprefix("waited ")) < 60
    assert gone == "gone"
