"""A job and its MLflow run, each found from the other: by tags of the run, and in the job's metadata."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from ganlib.errors import UserError
from ganlib.files import write_atomically

JOB, JOB_LINK = "GAN_JOB", "GAN_JOB_LINK"
"""Variables of a job's environment: its id, and its page in Ray's dashboard, where its logs are."""
PUBLIC_RAY, PUBLIC_MLFLOW = "GAN_PUBLIC_RAY", "GAN_PUBLIC_MLFLOW"
"""Variables of the nodes, or of who submits: where people see Ray's dashboard and MLflow. Without them a job's page is
at the address that its submitter used, a run's where the nodes have MLflow, which may mean nothing to anybody else."""
RUN_LINK = "mlflow.run"
"""The key of a job's metadata under which the page of its MLflow run stands, once there is one."""

_log = logging.getLogger(__name__)


def job_tags() -> dict[str, str]:
    """The tags `ray.job` and `ray.job.link` of a run that this process opens; none outside of a job."""
    job, link, public = (os.environ.get(name) for name in (JOB, JOB_LINK, PUBLIC_RAY))
    named = {"ray.job": job, "ray.job.link": job_page(public, job) if public and job else link}
    return {tag: value for tag, value in named.items() if value}


def job_page(dashboard: str, job: str) -> str:
    """The job's page in Ray's dashboard, with its logs."""
    return f"{dashboard.rstrip('/')}/#/jobs/{job}"


def keep_job_log(folder: Path) -> Path | None:
    """Copies into `folder` what the job that this process is of has printed so far, as ID.log: Ray's own file of it
    goes with the cluster. None outside of a job, and where its output goes elsewhere; a copy that fails is logged."""
    job, printed = os.environ.get(JOB), Path("/proc/self/fd/1")
    try:
        if job is None or not printed.resolve().name.startswith("job-driver-"):  # Ray's name for it
            return None
        write_atomically(folder / f"{job}.log", printed.resolve().read_bytes())
    except (OSError, UserError) as error:
        _log.warning("the log of job %s is not kept with the run (%s)", job, error)
        return None
    return folder / f"{job}.log"


def link_job_to(run_page: str) -> None:
    """Puts the page of the run into the metadata of the job that this process is of, if it is of one.

    Ray's client sets metadata only when it submits, so that this goes to Ray's store as Ray's own job manager does.
    A job that cannot be told goes on without.
    """
    job, address = os.environ.get(JOB), os.environ.get("RAY_ADDRESS")
    if job is None or address is None:
        return
    try:
        asyncio.run(_put(job, address, run_page))
    except Exception as error:  # whatever Ray's store does, the run is opened
        _log.warning("the job %s cannot be told its run (%s)", job, type(error).__name__)


async def _put(job: str, address: str, run_page: str) -> None:
    import ray
    from ray.dashboard.modules.job.common import JobInfoStorageClient

    raylet: Any = ray._raylet  # compiled; its stub leaves the client out
    store = JobInfoStorageClient(raylet.GcsClient(address=address))
    found = await store.get_info(job)
    if found is not None:
        await store.put_info(job, replace(found, metadata={**(found.metadata or {}), RUN_LINK: run_page}))
