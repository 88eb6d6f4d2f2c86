"""A real cluster on this machine, in the background: Ray's head, further nodes where they are asked for, and MLflow.

All of it listens on loopback. Ray asks for the token, since whoever reaches it runs code as its owner. MLflow asks for
nothing, as under `gan ui`: its page opens in a browser at once, and no site can make a browser send it requests (it
checks Host and Origin). But whoever else is logged in on this machine can; where they are not trusted, `--tracking`
names an MLflow that wants passwords, and none is started here.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ganlib.errors import UserError
from pipelines import processes
from pipelines.cluster_state import State, recorded
from pipelines.ports import LOOPBACK, ONLY_LOOPBACK, free_ports, is_free

START_SECONDS = 600.0
"""How long the processes may take to answer: some ten seconds on a quiet machine, minutes on a busy one."""
END_SECONDS = 40.0
"""How long they may take to end; Ray's take six."""

RAY_SETTINGS = {
    **ONLY_LOOPBACK,
    "RAY_USAGE_STATS_ENABLED": "0",
    # A busy laptop takes longer than the minute, or half of one, that Ray gives each of these.
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
    "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "300",
    "RAY_DASHBOARD_HEAD_NODE_REGISTRATION_TIMEOUT": "300",
    "RAY_worker_niceness": "0",  # training goes before Ray's dozen daemons (pipelines.cluster.QUIET)
    "RAY_JOB_STOP_WAIT_TIME_S": "60",  # a training that is stopped writes a checkpoint first
}


@dataclass(frozen=True)
class Wanted:
    """What is asked for; None leaves it to the machine, or to what is up already."""

    nodes: int = 1
    cpus: int | None = None
    ray_port: int | None = None
    dashboard_port: int | None = None
    mlflow_port: int | None = None
    tracking: str | None = None


def up(home: Path, wanted: Wanted, say: Callable[[str], None]) -> State:
    """Starts what is not running yet of the cluster in `home`, and returns once all of it answers.

    Where the head is gone, as after a crash, what it left is ended and all is started anew. What this call started is
    ended again where it fails or is interrupted. Raises UserError.
    """
    with _alone(home):
        state = _recorded_here(home)
        if state is not None and not state.running:
            if left := processes.end(state.processes, END_SECONDS):
                say(f"ended {left} processes of a cluster that had lost its head")
            state = None
        fresh = state is None
        state = _planned(home, wanted) if state is None else _extended(state, wanted)
        before = [one for one in state.processes if one.alive]
        state.processes = list(before)
        try:
            _start_missing(state, say)
        except BaseException:
            processes.end([one for one in state.processes if one not in before], END_SECONDS)
            state.processes = before
            if fresh:
                _forget(state)
            else:
                state.nodes = sum(one.name.startswith("node-") for one in before) + 1
                state.save()
            raise
        return state


def down(home: Path) -> int:
    """Ends the cluster of `home`, and nothing else. Returns how many processes were running. Raises UserError."""
    if recorded(home) is None:
        return 0
    with _alone(home):
        state = _recorded_here(home)
        if state is None:
            return 0
        ended = processes.end(state.processes, END_SECONDS)
        _forget(state)
        return ended


def _recorded_here(home: Path) -> State | None:
    """What is noted of a cluster of this machine. Raises UserError for one of another: its processes cannot be seen."""
    state = recorded(home)
    if state is not None and state.host not in ("", socket.gethostname()):
        raise UserError(
            f"the cluster in {home} was started on {state.host}; end it there (`gan down`), or remove "
            f"{state.folder / 'cluster.json'} where that machine is gone"
        )
    return state


def _planned(home: Path, wanted: Wanted) -> State:
    """A cluster that is not there yet: its ports, its token, its folders."""
    named = {
        "--ray-port": wanted.ray_port,
        "--dashboard-port": wanted.dashboard_port,
        "--mlflow-port": wanted.mlflow_port,
    }
    for option, port in named.items():
        if port is not None and not is_free(port):
            raise UserError(
                f"port {port} is taken on {LOOPBACK}; give another with {option}, or none and one is chosen"
            )
    if wanted.tracking is not None and not wanted.tracking.startswith(("http://", "https://")):
        raise UserError(f"--tracking is {wanted.tracking}: give the http address of an MLflow server, or leave it out")
    chosen = free_ports(3)
    home = home.absolute()
    state = State(
        home=str(home),
        nodes=wanted.nodes,
        cpus=wanted.cpus,
        gcs_port=wanted.ray_port or chosen[0],
        dashboard_port=wanted.dashboard_port or chosen[1],
        mlflow_port=wanted.mlflow_port or chosen[2],
        tracking=wanted.tracking,
        temporary=str(_temporary(home)),
        host=socket.gethostname(),
    )
    for log in state.folder.glob("*.log"):
        log.unlink()
    _write_secret(state.token_file, secrets.token_hex(32))
    return state


def _extended(state: State, wanted: Wanted) -> State:
    """The running cluster, with nodes to be added. Raises UserError for what would take another cluster."""
    asked = {
        "--ray-port": (wanted.ray_port, state.gcs_port),
        "--dashboard-port": (wanted.dashboard_port, state.dashboard_port),
        "--mlflow-port": (wanted.mlflow_port, state.mlflow_port),
        "--cpus": (wanted.cpus, state.cpus),
        "--tracking": (wanted.tracking, state.tracking),
    }
    for option, (value, standing) in asked.items():
        if value is not None and value != standing:
            raise UserError(f"a cluster is up in {state.home} with another {option} ({standing}); `gan down` ends it")
    state.nodes = max(state.nodes, wanted.nodes)
    return state


def _start_missing(state: State, say: Callable[[str], None]) -> None:
    """Starts and notes one process after the other, and waits until all answer."""
    environment = _environment(state)
    state.save()

    def start(name: str, command: list[str]) -> None:
        if state.of(name) is None:
            log = state.folder / f"{name}.log"
            state.processes.append(processes.start(name, command, log, environment, state.folder))
            state.save()

    if state.tracking is None:
        start("mlflow", _mlflow_command(state))
    state.given.setdefault(0, state.cpus_of(0))
    start("head", _ray_command(state, 0, free_ports(5)))
    _wait(state, "head", lambda: _living_nodes(state) > 0)
    for number in range(1, state.nodes):
        state.given.setdefault(number, state.cpus_of(number))
        start(f"node-{number}", _ray_command(state, number, free_ports(5)))
        # One after the other: two at once on a busy machine run into Ray's own time limits.
        _wait(state, f"node-{number}", lambda number=number: _living_nodes(state) > number)  # type: ignore[misc]
    _wait(state, "head", lambda: _answers(f"{state.dashboard}/api/jobs/", _token(state)))
    if state.tracking is None:
        _wait(state, "mlflow", lambda: _answers(f"{state.mlflow}/health"))


def _ray_command(state: State, number: int, ports: list[int]) -> list[str]:
    """One node. Every port is given: for those that it chooses itself Ray waits, and not long enough."""
    agent, agent_grpc, environments, exported, client = ports
    command = [
        *(sys.executable, "-m", "pipelines.ray_node", "start", "--block", "--node-ip-address", LOOPBACK),
        *("--min-worker-port", "0", "--max-worker-port", "0", "--num-cpus", str(state.cpus_of(number))),
        *("--dashboard-agent-listen-port", str(agent), "--dashboard-agent-grpc-port", str(agent_grpc)),
        *("--runtime-env-agent-port", str(environments), "--metrics-export-port", str(exported)),
    ]
    if number > 0:
        # The first node has the machine's GPUs: two nodes would lend the same one twice.
        return [*command, "--address", state.address, "--num-gpus", "0"]
    return [
        *command,
        *("--head", "--port", str(state.gcs_port), "--ray-client-server-port", str(client)),
        *("--include-dashboard", "true", "--dashboard-host", LOOPBACK, "--dashboard-port", str(state.dashboard_port)),
        *("--temp-dir", state.temporary, "--disable-usage-stats"),
    ]


def _mlflow_command(state: State) -> list[str]:
    """The server of the home's own database, which commands beside the cluster open themselves."""
    from pipelines.tracking import home_database

    database = home_database(Path(state.home))
    artifacts = (Path(state.home) / "mlflow" / "artifacts").as_uri()
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(state.mlflow_port)),
        *("--workers", "1", "--backend-store-uri", database, "--default-artifact-root", artifacts),
    ]


def _environment(state: State) -> dict[str, str]:
    """What the cluster's processes, and the jobs that run in them, have in their environment."""
    from pipelines.tracking import SETTINGS

    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "GAN_JOB"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
    return {
        **SETTINGS,
        **inherited,
        **RAY_SETTINGS,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(state.token_file),
        "GAN_HOME": state.home,
        "MLFLOW_TRACKING_URI": state.mlflow,
        "PATH": path,
    }


def _wait(state: State, name: str, ready: Callable[[], bool]) -> None:
    """Until `ready`. Raises UserError where the process ends before, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        process = state.of(name)
        log = state.folder / f"{name}.log"
        if process is None:
            raise UserError(f"the cluster's {name} ended while it started: {_last_words(log)}; see {log}")
        if time.monotonic() > deadline:
            raise UserError(f"the cluster's {name} did not answer within {START_SECONDS:.0f} s; see {log}")
        time.sleep(0.2)


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "without a word"


def _token(state: State) -> str:
    return state.token_file.read_text().strip()


def _get(url: str, token: str | None = None) -> Any:
    """The JSON at `url`; raises OSError, ValueError or HTTPException where there is none."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
        return answer.read()


def _answers(url: str, token: str | None = None) -> bool:
    try:
        _get(url, token)
    except (OSError, ValueError, HTTPException):
        return False
    return True


def _living_nodes(state: State) -> int:
    """How many nodes Ray knows to be alive."""
    try:
        said = json.loads(_get(f"{state.dashboard}/nodes?view=summary", _token(state)))
        return sum(node["raylet"].get("state") == "ALIVE" for node in said["data"]["summary"])
    except (OSError, ValueError, KeyError, HTTPException):
        return 0


def _write_secret(path: Path, text: str) -> None:
    """A file of the owner's alone, from its first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _temporary(home: Path) -> Path:
    """An empty folder for Ray, of the owner's alone, at a short path that this home always has."""
    root = Path(tempfile.gettempdir()) / f"gan-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    if root.is_symlink() or root.stat().st_uid != os.getuid() or root.stat().st_mode & 0o077:
        raise UserError(f"{root} is not a folder of yours alone; remove it, or set TMPDIR to another place")
    folder = root / sha256(str(home).encode()).hexdigest()[:8]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder


def _forget(state: State) -> None:
    for path in (state.folder / "cluster.json", state.token_file):
        path.unlink(missing_ok=True)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One `gan up` or `gan down` at a time; the lock of one that is killed goes with it."""
    folder = home.absolute() / "cluster"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); give another home with --home") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another `gan up` or `gan down` is at work in {home}; wait until it is done") from None
        yield
