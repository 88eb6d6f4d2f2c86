"""Preparation on Ray: shard tasks spread over the cluster's processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ganlib.cores import cores
from ganlib.errors import UserError

if TYPE_CHECKING:
    from ganlib.data.prepare import ShardOutcome, ShardTask, ShardWriter


AT_THE_END = 2
"""Threads of a process whose shard is among the last: the cores of those that have none left."""


@dataclass(frozen=True)
class RayMapper:
    """Runs shard tasks in up to `workers` processes at once, as Ray tasks; a process that dies is replaced.

    workers: None is as many as this machine has cores, or the cluster that the person named.

    Images never travel: a process reads its records, writes its shard to the store, and hands back what it wrote. So
    the memory in use is a few shards, whatever the source's size. Where one shard fails, those that are not begun are
    left, and those that are come to their end before the error is told: who then clears what is written is alone with
    it. (Ray Data moves blocks, of which there are none here: it ran one task alone for its first second, and was a
    third slower over a dozen shards.)
    """

    workers: int | None = None

    def __call__(self, writer: ShardWriter, tasks: Sequence[ShardTask]) -> Iterator[ShardOutcome]:
        import ray
        from ray.exceptions import NodeDiedError, ObjectLostError, OutOfMemoryError, RayTaskError, WorkerCrashedError

        from pipelines.cluster import connect, most_of, named_cluster

        connect(self.workers or 1, object_store_bytes=200 << 20)
        # A cluster may have no node that works as yet: a task that waits has its autoscaler bring one.
        most = self.workers or (max(1, int(most_of("CPU"))) if named_cluster() else cores())
        # In a list: Ray would fetch a bare reference for every task.
        plan = [ray.put((writer, list(tasks)))]
        write = ray.remote(_write)
        waiting = list(range(len(tasks)))[::-1]
        running: list[ray.ObjectRef[ShardOutcome]] = []
        try:
            while waiting or running:
                while waiting and len(running) < most:
                    threads = AT_THE_END if len(waiting) < most else 1
                    running.append(write.remote(plan, waiting.pop(), threads))
                (done,), running = ray.wait(running)
                outcome = ray.get(done)
                _check_here(writer, outcome)
                yield outcome
        except RayTaskError as error:
            if isinstance(error.cause, UserError):  # without Ray's traceback around it
                raise error.cause from None
            raise
        except (WorkerCrashedError, NodeDiedError, OutOfMemoryError, ObjectLostError) as error:
            raise UserError(
                f"a process of Ray's was lost while it prepared ({type(error).__name__}); is memory short? "
                "Run it again, with fewer --workers: it goes on where it stopped"
            ) from error
        finally:
            if running:
                ray.wait(running, num_returns=len(running))


def _check_here(writer: ShardWriter, outcome: ShardOutcome) -> None:
    """Raises UserError where this process does not see what another wrote: a node wrote to a disk of its own."""
    file = writer.staging / outcome.staged
    if file.local is not None and outcome.rows and (file.kind() != "file" or file.size() != outcome.bytes):
        raise UserError(
            f"a node of the cluster wrote a shard that is not in {writer.staging.parent} here: its disk is its own; "
            "keep datasets in a folder that all nodes share (--home), or in an object store (--store s3://...)"
        )


def _write(plan: list[Any], number: int, threads: int) -> ShardOutcome:
    """One shard, in a process of Ray's."""
    # Unpickling a source may fetch its files.
    writer, tasks = _fetch(plan[0])
    return replace(writer, threads=threads)(tasks[number])


@lru_cache(maxsize=1)
def _fetch(plan: Any) -> tuple[ShardWriter, list[ShardTask]]:
    """The writer and the plan; a process takes them once, and with them what the source keeps open."""
    import ray

    fetched: tuple[ShardWriter, list[ShardTask]] = ray.get(plan)
    source = fetched[0].source.location
    if source is not None and source.local is not None and source.kind() is None:
        # Of a folder, every record would be called bad.
        raise UserError(
            f"a node of the cluster ({os.uname().nodename}) has no {source}: "
            "keep the source in a folder that all nodes share, or in an object store (s3://..., gs://...)"
        )
    return fetched
