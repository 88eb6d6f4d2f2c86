"""Jobs on a Ray cluster, through its Jobs API: the one of `gan up`, or any by the address of its dashboard."""

from __future__ import annotations

import json
import logging
import os
import secrets
import shlex
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ganlib.errors import UserError
from pipelines.credentials import SEALED, cluster_token, seal, secrets_here, without_password
from pipelines.job_link import JOB, JOB_LINK, PUBLIC_MLFLOW, PUBLIC_RAY, job_page

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

    from pipelines.cluster_state import State

ASK_SECONDS = 20.0
"""How long the cluster may take to say its version."""
SETTINGS = (
    "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "GAN_STORE",
    PUBLIC_RAY, PUBLIC_MLFLOW,
)  # fmt: skip
"""Variables of the submitter's environment that go along as they are: where things lie, and nothing secret."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that answers. address: its dashboard's URL. local: the state of `gan up` where it is that cluster."""

    address: str
    token: str | None
    local: State | None

    def link(self, job: str) -> str:
        """The job's page in Ray's dashboard, with its logs."""
        return job_page(self.address, job)

    def client(self) -> JobSubmissionClient:
        """Ray's own client, with the token. Raises UserError where the cluster is not there any more."""
        from ray.job_submission import JobSubmissionClient

        for name in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
            logging.getLogger(f"ray.{name}").setLevel(logging.WARNING)
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else None
        with told(self.address):
            return JobSubmissionClient(self.address, headers=headers)


@dataclass(frozen=True)
class Job:
    """What is submitted: the words after `gan`, and what goes along.

    working_dir: the code. folder: where the words' paths are relative to; None for the code's own. tracking: MLflow's
    address for the job; None leaves it to the nodes. variables: of this environment to be given along, sealed.
    own_credentials: whether this environment's secrets go along too, and a password that stands in the address.
    """

    words: Sequence[str]
    working_dir: Path
    folder: Path | None = None
    tracking: str | None = None
    variables: Sequence[str] = ()
    own_credentials: bool = True


def find_cluster(home: Path, address: str | None) -> Cluster:
    """The cluster at `address`, else the one that RAY_API_SERVER_ADDRESS names, else that of `gan up` in `home`.

    Raises UserError where there is none, where it does not answer, and where it refuses the token.
    """
    from pipelines.cluster_state import running

    state = running(home)
    address = address or os.environ.get("RAY_API_SERVER_ADDRESS")
    if address is None:
        if state is None:
            raise UserError(f"no cluster is up in {home}; start one with `gan up`, or name one with --address")
        address = state.dashboard
    address = _dashboard_address(address)
    if state is not None and address == state.dashboard:
        cluster = Cluster(address, state.token_file.read_text().strip(), state)
    else:
        cluster = Cluster(address, cluster_token(), None)
    _check(cluster)
    return cluster


def submit(cluster: Cluster, job: Job) -> str:
    """Hands the job to the cluster; returns its id. Raises UserError."""
    name = f"gan-{job.words[0]}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    command = shlex.join(["python", "-P", "-m", "pipelines.kept", *job.words])
    if job.folder is not None:
        command = f"cd {shlex.quote(str(job.folder))} && {command}"
    variables, tracking = _variables(cluster, job, name)
    environment: dict[str, Any] = {"working_dir": str(job.working_dir), "env_vars": variables}
    if SEALED in variables:
        environment["worker_process_setup_hook"] = "pipelines.credentials.unseal_environment"
    about = {"command": shlex.join(["gan", *job.words]), "mlflow": tracking or "the nodes'"}
    client = cluster.client()
    with told(cluster.address):
        return str(client.submit_job(entrypoint=command, submission_id=name, runtime_env=environment, metadata=about))


def _variables(cluster: Cluster, job: Job, name: str) -> tuple[dict[str, str], str | None]:
    """The job's environment, and MLflow's address without a password."""
    from pipelines.tracking import COMMIT, DIRTY, source_commit

    variables = {name: os.environ[name] for name in SETTINGS if os.environ.get(name)}
    variables |= {JOB: name, JOB_LINK: cluster.link(name), "RAY_JOB_STOP_WAIT_TIME_S": "60"}
    if commit := source_commit():
        variables[COMMIT], variables[DIRTY] = commit
    hidden = secrets_here(job.variables, job.own_credentials)
    tracking = job.tracking
    if tracking is not None:
        kept = hidden if job.own_credentials else {}
        tracking = variables["MLFLOW_TRACKING_URI"] = without_password(tracking, kept)
    if cluster.local is not None:
        variables["GAN_HOME"] = cluster.local.home
    if hidden:
        if cluster.token is None:
            raise UserError(
                f"{cluster.address} wants no token, so that {', '.join(hidden)} could not be sealed for it: start it "
                f"with one (RAY_AUTH_MODE=token), or leave {_left_out(job)}"
            )
        variables[SEALED] = seal(hidden, cluster.token)
    return variables, tracking


def _left_out(job: Job) -> str:
    """How a person has nothing to be sealed."""
    own = ["credentials to its nodes (--no-credentials)"] if job.own_credentials else []
    return " and ".join([*own, *(["out --env"] if job.variables else [])])


def details(client: JobSubmissionClient, job: str) -> JobDetails:
    """What Ray knows of a job. Raises UserError where there is none of that id."""
    with told(client.get_address(), job):
        return client.get_job_info(job)


def all_jobs(client: JobSubmissionClient) -> list[JobDetails]:
    """The submitted jobs, oldest first."""
    with told(client.get_address()):
        jobs = [job for job in client.list_jobs() if job.submission_id]
    return sorted(jobs, key=lambda job: job.start_time or 0)


def logs(client: JobSubmissionClient, job: str) -> str:
    """All that the job has said so far. Raises UserError where there is none of that id."""
    with told(client.get_address(), job):
        return str(client.get_job_logs(job))


def follow(client: JobSubmissionClient, job: str) -> Iterator[str]:
    """What the job says, in pieces, until it ends. Raises UserError where there is none of that id."""
    import asyncio

    pieces = client.tail_job_logs(job)
    with asyncio.Runner() as runner:
        while True:
            with told(client.get_address(), job):
                piece = runner.run(anext(pieces, None))
            if piece is None:
                return
            yield piece


def stop(client: JobSubmissionClient, job: str) -> bool:
    """Asks the job to end (SIGTERM; killed a minute later); False where it has ended already. Raises UserError."""
    with told(client.get_address(), job):
        return bool(client.stop_job(job))


@contextmanager
def told(address: str, job: str | None = None) -> Iterator[None]:
    """Turns what goes wrong on the way to the cluster, or is its answer, into one line."""
    import aiohttp
    import requests
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise _refused(address) from error
    except (ConnectionError, requests.RequestException, aiohttp.ClientError, OSError) as error:
        raise UserError(f"no Ray cluster answers at {address} any more ({type(error).__name__})") from error
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        if job is not None and ("404" in text or "does not exist" in text):
            raise UserError(f"there is no job {job} on {address}; `gan jobs list` lists what there is") from error
        raise UserError(f"the cluster at {address} refuses: {text[:300]}") from error


def _dashboard_address(address: str) -> str:
    """http(s)://host:port. Raises UserError for what is none."""
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        well_formed = False
    if not well_formed or parts.username is not None:
        raise UserError(
            f"not an address of Ray's dashboard: {address!r}; write http://HOST:8265 (the token is taken from "
            "RAY_AUTH_TOKEN_PATH)"
        )
    return f"{parts.scheme}://{parts.netloc}"


def _check(cluster: Cluster) -> None:
    """One quick question, before Ray's client is imported and asks with all the patience in the world."""
    headers = {"Authorization": f"Bearer {cluster.token}"} if cluster.token else {}
    request = urllib.request.Request(f"{cluster.address}/api/version", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=ASK_SECONDS) as answer:
            if "ray_version" in json.loads(answer.read(100_000)):
                return
            why = "something else does"
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise _refused(cluster.address) from error
        why = f"HTTP status {error.code}"
    except (OSError, ValueError, TypeError, HTTPException) as error:  # whatever speaks there, it may be no HTTP
        from pipelines.tracking import reason

        why = reason(error)
    raise UserError(f"no Ray cluster answers at {cluster.address}: {why}; `gan up` starts one on this machine")


def _refused(address: str) -> UserError:
    return UserError(
        f"{address} refuses the token, or there is none: name the file of its own with RAY_AUTH_TOKEN_PATH "
        "(for the cluster of `gan up`: HOME/cluster/token, found with --home)"
    )
