"""Connecting to Ray: the cluster that RAY_ADDRESS names, that of `gan up`, or one for the life of this process."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from ganlib.cores import cores
from ganlib.errors import UserError
from pipelines.ports import LOOPBACK, ONLY_LOOPBACK

QUIET = {
    "task_events_report_interval_ms": 0,
    "enable_metrics_collection": False,
    "raylet_report_resources_period_milliseconds": 2_000,
    "worker_niceness": 0,
    "prestart_worker_first_driver": False,
}
"""Settings of a cluster in this machine. Nobody looks at its dashboard, and each of a dozen processes that report to it
ten times a second takes a core from the training when the two of a laptop are all that it has. Ray's workers give way
to all others (nice 15), to its daemons and to the evaluation beside them too: here the training goes first. Processes
that are started before anything is asked of them lack the environment that Ray Train asks for, and are never used."""

home: Path | None = None
"""The home folder that this process works in, in which a cluster of `gan up` may be."""


def enter(path: Path) -> None:
    """Makes `path` the home. Where a cluster of `gan up` is in it, the environment says how to talk to that one now.

    Ray reads it when it is imported, which happens long before there is something to connect for.
    """
    from pipelines.cluster_state import running

    global home
    home = path
    if not os.environ.get("RAY_ADDRESS") and (state := running(path)) is not None:
        os.environ.update({name: value for name, value in state.environment().items() if name != "RAY_ADDRESS"})


def named_cluster() -> str | None:
    """The address of the cluster that the person named; None for none, and for `local`, one of this process alone."""
    address = os.environ.get("RAY_ADDRESS")
    return None if address == "local" else address or None


def connect(workers: int, object_store_bytes: int | None = None, spare: int = 1) -> None:
    """Connects, or starts a cluster that has room for `workers`. Where there is a connection, nothing happens.

    Of a cluster started here: object_store_bytes (Ray's default is 30 percent of the memory), and spare, logical
    CPUs beyond the cores: the evaluation beside the workers asks for one, gives way to them (nice), and needs no core.
    Raises UserError.
    """
    if not os.environ.get("RAY_ADDRESS"):
        _use_local_cluster(workers)
    import ray

    if ray.is_initialized():
        return
    if address := named_cluster():
        try:
            ray.init(logging_level=logging.ERROR, log_to_driver=False)
        except Exception as error:  # of many kinds: no such address, nobody there, no token or another's
            said = " ".join(str(error).split())[:300]
            raise UserError(
                f"no Ray cluster answers at RAY_ADDRESS={address}: {said}; correct it, or unset it"
            ) from error
        return
    cpus = max(cores(), workers) + spare
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")  # a busy laptop takes longer than Ray's 60 s
    try:
        with _loopback_alone():
            ray.init(
                num_cpus=cpus,
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
                object_store_memory=object_store_bytes,
                _node_ip_address=LOOPBACK,
                _system_config=QUIET,
            )
    except Exception as error:  # Ray raises bare Exceptions here
        raise UserError(
            f"Ray did not start on this machine ({' '.join(str(error).split())[:200]}); "
            "see /tmp/ray/session_latest/logs, or go on without it (workers=0)"
        ) from error


@contextmanager
def _loopback_alone() -> Iterator[None]:
    """The Ray that is started meanwhile listens on loopback alone: whoever reached it could run code as its owner."""
    from ray._private import ray_constants

    reached, before = ray_constants.ENABLE_RAY_CLUSTER, {name: os.environ.get(name) for name in ONLY_LOOPBACK}
    ray_constants.ENABLE_RAY_CLUSTER = False  # read from the environment where Ray is imported, which it is by now
    os.environ.update(ONLY_LOOPBACK)
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = reached
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _use_local_cluster(workers: int) -> None:
    """Names the cluster that `gan up` started in `home`, where one runs, and says so. Raises UserError."""
    from pipelines.cluster_state import running

    state = running(home) if home is not None else None
    if state is None:
        return
    if workers > state.all_cpus:
        raise UserError(
            f"the cluster of `gan up` has {state.all_cpus} CPUs and {workers} workers want one each; end it "
            "(`gan down`) and start one with more (--cpus), or leave it alone (RAY_ADDRESS=local)"
        )
    os.environ.update(state.environment())
    print(f"on the cluster of `gan up`, {state.address} (RAY_ADDRESS=local: on one of its own)", file=sys.stderr)


def has_gpus(count: int) -> bool:
    """Whether the cluster has `count` GPUs, or would have them once its autoscaler has had the nodes for them."""
    return most_of("GPU") >= count


def most_of(kind: Literal["CPU", "GPU"]) -> float:
    """How many the cluster has, or would have once its autoscaler has had the nodes for them."""
    import ray
    from ray._private.state import state

    most = state.get_max_resources_from_cluster_config() or {}  # as Ray Train asks for it; None without an autoscaler
    return float(max(ray.cluster_resources().get(kind, 0), most.get(kind, 0)))
