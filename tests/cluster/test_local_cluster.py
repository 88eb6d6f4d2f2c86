"""`gan up`, jobs on it, `gan down`: real processes of Ray and MLflow on this machine, looked at from outside."""

import json
import os
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.cluster_state import State, recorded
from pipelines.processes import members
from pipelines.tracking import mlflow_client
from tests.cluster.processes import listened, wait_until
from tests.pipelines.conftest import Server
from tests.pipelines.gate import gate

pytestmark = pytest.mark.slow

MLFLOW_SECRET, AWS_SECRET = "pa55-of-mlflow", "s3cret-of-aws"
SECRETS = {
    "MLFLOW_TRACKING_USERNAME": "me",
    "MLFLOW_TRACKING_PASSWORD": MLFLOW_SECRET,
    "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
}


def environment() -> dict[str, str]:
    """A person's shell, which names no cluster."""
    named = ("RAY_", "MLFLOW_TRACKING", "GAN_")
    return {name: value for name, value in os.environ.items() if not name.startswith(named)} | SECRETS


def gan(*words: object, status: int = 0) -> str:
    """What the command says, stdout and stderr together."""
    command = [sys.executable, "-m", "pipelines.cli", *map(str, words)]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == status, done.stdout
    assert "Traceback" not in done.stdout or status == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home in which a cluster of two nodes is up."""
    path = tmp_path_factory.mktemp("home")
    try:
        gan("up", "--nodes", 2, "--cpus", 1, "--home", path)
        yield path
    finally:
        gan("down", "--home", path)


@pytest.fixture(scope="module")
def state(home: Path) -> State:
    found = recorded(home)
    assert found is not None
    return found


def ask(url: str, token: str | None) -> tuple[int, str]:
    """HTTP status and body."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, ""


def runs(pid: int) -> str:
    """The state and the command of a process that has not ended; a zombie has, and waits for its parent to look."""
    try:
        said = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return "" if said["State"].strip().startswith("Z") else f"{said['State']} {said['Name']}"
    except OSError:
        return ""


def holders(secret: str, folder: Path) -> list[Path]:
    """The files below the folder that hold the secret."""
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_all_of_it_listens_on_loopback_alone(state: State) -> None:
    pids = set(members(state.processes))
    assert len(pids) > 10  # two nodes of Ray, with dashboard and agents, and MLflow
    assert listened(pids) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert len(listened(pids)) > 0


def test_a_request_without_the_token_is_refused(state: State) -> None:
    token = state.token_file.read_text().strip()
    assert len(token) == 64
    for path in ("/api/version", "/api/jobs/", "/nodes?view=summary"):
        assert ask(state.dashboard + path, None)[0] == 401
        assert ask(state.dashboard + path, "0" * 64)[0] == 403
        assert ask(state.dashboard + path, token)[0] == 200


def test_a_program_without_the_token_cannot_connect_to_ray(state: State, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0" * 64)
    wrong = {**os.environ, **state.environment(), "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    code = "import ray; ray.init(logging_level='ERROR')"
    done = subprocess.run([sys.executable, "-c", code], env=wrong, capture_output=True, text=True)
    assert done.returncode != 0
    assert "oken" in done.stderr


def test_what_is_secret_is_the_owners_alone(home: Path, state: State) -> None:
    assert stat.S_IMODE(state.token_file.stat().st_mode) == 0o600
    # Ray opens its own folder to everybody, and so the one that it is in is closed.
    for folder in (state.folder, Path(state.temporary).parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    token = state.token_file.read_text().strip()
    for pid in members(state.processes):
        assert token not in Path(f"/proc/{pid}/cmdline").read_text()
        assert token not in Path(f"/proc/{pid}/environ").read_text(errors="replace")


def test_up_again_is_the_same_cluster(home: Path, state: State) -> None:
    said = gan("up", "--home", home)
    assert state.dashboard in said
    assert "2 nodes" in said
    assert recorded(home) == state
    assert "another --cpus" in gan("up", "--cpus", 3, "--home", home, status=2)


def test_a_job_and_its_run_name_each_other_and_no_secret(home: Path, state: State) -> None:
    """A chain's first stage and its parent run suffice: what a job does is the command's own affair."""
    words = ["gan-that-is-none"]
    assert "No such command" in gan("submit", "--home", home, "--", *words, status=2)
    said = gan("submit", "--home", home, "--wait", "--exclude", "tests", "--", "train", "ring", "train.images=256",
               "train.tick=128", "train.sample_every=256", "train.checkpoint_every=256", "train.evaluate_every=256",
               "evaluate.samples=64")  # fmt: skip
    job = next(line.split()[1] for line in said.splitlines() if line.startswith("job "))
    assert f"{job} succeeded" in said
    token = state.token_file.read_text().strip()
    status, body = ask(f"{state.dashboard}/api/jobs/{job}", token)
    assert status == 200
    known = json.loads(body)
    link = known["metadata"]["mlflow.run"]
    assert link.startswith(f"{state.mlflow}/#/experiments/")
    assert link in gan("jobs", "status", job, "--home", home)
    run = json.loads(ask(f"{state.mlflow}/api/2.0/mlflow/runs/get?run_id={link.rpartition('/')[2]}", None)[1])
    tags = {tag["key"]: tag["value"] for tag in run["run"]["data"]["tags"]}
    assert tags["ray.job"] == job
    assert tags["ray.job.link"] == f"{state.dashboard}/#/jobs/{job}"
    said = gan("jobs", "logs", job, "--home", home)
    assert "run " in said
    # What it had said by the end of its training stays with the run, when Ray's own log is gone.
    run_id, artifacts = link.rpartition("/")[2], f"{state.mlflow}/api/2.0/mlflow/artifacts/list"
    listed = json.loads(ask(f"{artifacts}?run_id={run_id}&path=job", None)[1])
    assert [file["path"] for file in listed["files"]] == [f"job/{job}.log"]
    (kept,) = home.glob(f"runs/*/job/{job}.log")
    assert kept.read_text()
    assert said.startswith(kept.read_text())
    assert f"{job}" in gan("jobs", "list", "--home", home)
    assert "has ended already" in gan("jobs", "stop", job, "--home", home)
    # The credentials went along, and stand nowhere in the clear.
    assert known["runtime_env"]["env_vars"]["GAN_SEALED"]
    for secret in (MLFLOW_SECRET, AWS_SECRET, token):
        assert secret not in body
        assert secret not in json.dumps(run)
        for folder in (home, Path(state.temporary)):
            assert holders(secret, folder) == ([state.token_file] if secret == token and folder == home else [])


LONG = [
    "digits", "train.images=64000", "train.tick=640", "train.sample_every=32000", "train.checkpoint_every=640",
    "train.evaluate_every=64000", "evaluate.samples=64", "method.generator.width=8", "method.discriminator.width=8",
]  # fmt: skip


def training_begun(home: Path, state: State, before: set[Path]) -> tuple[Path, int]:
    """The one run that is not among those of `before`, once it has a checkpoint, and the process of its driver."""
    seen: list[tuple[Path, int]] = []

    def look() -> bool:
        for pid in members(state.processes):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            except OSError:  # it has ended by now
                continue
            if words[3:5] == ["pipelines.cli", "train"] and (new := set(home.glob("runs/*")) - before):
                seen.extend((run, pid) for run in new if list(run.glob("checkpoint-*/*")))
        return bool(seen)

    wait_until(look, 300)
    return seen[0]


def test_a_job_whose_process_is_killed_goes_on_with_its_run(home: Path, state: State) -> None:
    before = set(home.glob("runs/*"))
    words = [sys.executable, "-m", "pipelines.cli", "submit", "--home", str(home), "--wait", "--exclude", "tests", "--"]
    submitted = subprocess.Popen([*words, "train", *LONG], env=environment(), stdout=subprocess.PIPE, text=True)
    run, driver = training_begun(home, state, before)
    os.kill(driver, signal.SIGKILL)
    said, _ = submitted.communicate(timeout=600)
    assert submitted.returncode == 0, said
    assert "the job's process was killed (SIGKILL); it goes on" in said
    assert set(home.glob("runs/*")) - before == {run}
    assert (run / "checkpoint-000000064000").is_dir()
    job = next(line.split()[1] for line in said.splitlines() if line.startswith("job "))
    client = mlflow_client(state.mlflow)
    found = client.search_runs([link_of(home, job).split("/")[-3]], f"tags.`ray.job` = '{job}'")
    assert [one.info.status for one in found] == ["FINISHED"]


def link_of(home: Path, job: str) -> str:
    """The page of the job's run, as `gan jobs status` has it."""
    return next(word for word in gan("jobs", "status", job, "--home", home).split() if "/#/experiments/" in word)


def test_a_training_that_is_stopped_leaves_a_checkpoint_and_can_go_on(home: Path, state: State) -> None:
    before = set(home.glob("runs/*"))
    said = gan("submit", "--home", home, "--exclude", "tests", "--", "train", *LONG, "train.images=6400000")
    job = next(line.split()[1] for line in said.splitlines() if line.startswith("job "))
    run, driver = training_begun(home, state, before)
    gan("jobs", "stop", job, "--home", home)
    wait_until(lambda: "stopped" in gan("jobs", "status", job, "--home", home), 120)
    wait_until(lambda: not runs(driver), 60)
    said = gan("jobs", "logs", job, "--home", home)
    assert "was ended by SIGTERM" in said
    assert "goes on" in said
    newest = max(path.name for path in run.glob("checkpoint-*"))
    assert f"{newest} stands" in said
    assert link_of(home, job)


def test_a_job_that_is_not_there_is_one_line(home: Path) -> None:
    for words in (["status", "nope"], ["logs", "nope"], ["logs", "-f", "nope"], ["stop", "nope"]):
        said = gan("jobs", *words, "--home", home, status=2)
        assert "there is no job nope" in said
        assert len(said.strip().splitlines()) == 1


@pytest.fixture
def accounts(server: Server) -> Iterator[str]:
    """HOST:PORT of an MLflow that another started, and that asks for a password."""
    with gate(server.uri, "me", MLFLOW_SECRET) as address:
        yield address


def test_a_head_that_was_killed_is_replaced_and_keeps_no_password(home: Path, state: State, accounts: str) -> None:
    head = state.of("head")
    assert head is not None
    os.kill(head.pid, signal.SIGKILL)
    assert "no cluster is up" in gan("jobs", "list", "--home", home, status=2)
    tracking = ["--tracking", f"http://me:{MLFLOW_SECRET}@{accounts}"]
    said = gan("up", "--cpus", 1, "--home", home, *tracking)
    again = recorded(home)
    assert again is not None
    assert again.token_file.read_text()
    assert members(state.processes) == {}
    assert again.of("head") is not None
    assert again.tracking == f"http://{accounts}"
    said += gan("submit", "--home", home, *tracking, "--exclude", "tests", "--", "recipes")
    assert said.count(f"MLflow     http://{accounts}\n") == 2
    assert MLFLOW_SECRET not in said
    assert holders(MLFLOW_SECRET, home) == []


def test_down_ends_all(home: Path, state: State) -> None:
    bystander = subprocess.Popen(["sleep", "600"])
    running = recorded(home)
    assert running is not None
    ours = set(members(running.processes))
    assert len(ours) > 5
    assert "ended" in gan("down", "--home", home)
    assert members(running.processes) == {}
    assert {pid: left for pid in ours if (left := runs(pid))} == {}
    assert not (home / "cluster" / "token").exists()
    assert "no cluster is up" in gan("down", "--home", home)
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
