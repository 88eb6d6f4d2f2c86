"""Preparation on Ray Data: shard tasks spread over the cluster's processes."""

from __future__ import annotations

import logging
import os
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ganlib.errors import UserError

if TYPE_CHECKING:
    from ganlib.data.prepare import ShardOutcome, ShardTask, ShardWriter


THREADS = 2
"""Of a process. Ray Data runs one task alone for the second until it has learned what the cluster holds, and one may be
left over at the end: meanwhile it takes the cores that stand idle."""


def cluster_is_named() -> bool:
    """Whether the person named a Ray cluster to work on."""
    return bool(os.environ.get("RAY_ADDRESS"))


@dataclass(frozen=True)
class RayMapper:
    """Runs shard tasks in up to `workers` processes at once, by Ray Data.

    Images never travel: a process reads its records, writes its shard to the store, and hands back what it wrote. So
    the memory in use is a few shards, whatever the source's size. Where one shard fails, those that are not begun are
    passed over, and those that are come to their end before the error is told: who then clears what is written is alone
    with it.
    """

    workers: int

    def __call__(self, writer: ShardWriter, tasks: Sequence[ShardTask]) -> Iterator[ShardOutcome]:
        import ray
        import ray.data
        from ray.exceptions import NodeDiedError, ObjectLostError, OutOfMemoryError, RayError, WorkerCrashedError
        from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_put

        from ganlib.data.shard_writer import ShardOutcome, SourceError
        from pipelines.cluster import connect

        if not tasks:
            return
        connect(self.workers, object_store_bytes=200 << 20)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        plan = ray.put((replace(writer, threads=THREADS), list(tasks)))
        rows = ray.data.range(len(tasks), override_num_blocks=len(tasks))
        # Tasks, not actors: Ray has idle processes for them, and keeps them for the next.
        strategy = ray.data.TaskPoolStrategy(size=min(self.workers, len(tasks)))
        # In a list: Ray Data would fetch a bare reference for every task.
        stop = f"ganlib-stop-{uuid.uuid4().hex}"
        done = rows.map(_write, fn_kwargs={"plan": [plan], "stop": stop}, compute=strategy, num_cpus=1)
        arriving = iter(done.iter_rows())
        try:
            for row in arriving:
                if row["error"]:
                    raise SourceError(row["error"]) if row["of_source"] else UserError(row["error"])
                yield ShardOutcome.model_validate_json(row["outcome"])
        except (UserError, GeneratorExit):
            _internal_kv_put(stop, b"1")
            # Ray Data, when it is closed, cancels tasks without waiting for them.
            with suppress(RayError):
                deque(arriving, maxlen=0)
            raise
        except (WorkerCrashedError, NodeDiedError, OutOfMemoryError, ObjectLostError) as error:
            raise UserError(
                f"a process of Ray's was lost while it prepared ({type(error).__name__}); is memory short? "
                "Run it again, with fewer --workers: it goes on where it stopped"
            ) from error
        finally:
            _internal_kv_del(stop)


def _write(row: dict[str, Any], plan: list[Any], stop: str) -> dict[str, Any]:
    """One shard, in a process of Ray's; what went wrong comes back as data, without Ray's tracebacks around it."""
    from ray.experimental.internal_kv import _internal_kv_get

    from ganlib.data.shard_writer import SourceError

    if _internal_kv_get(stop) is not None:
        return {"outcome": "", "error": "another shard failed", "of_source": False}
    try:
        # Unpickling a source may fetch its files.
        writer, tasks = _fetch(plan[0])
        outcome = writer(tasks[row["id"]])
    except UserError as error:
        return {"outcome": "", "error": str(error), "of_source": isinstance(error, SourceError)}
    return {"outcome": outcome.model_dump_json(), "error": "", "of_source": False}


@lru_cache(maxsize=1)
def _fetch(plan: Any) -> tuple[ShardWriter, list[ShardTask]]:
    """The writer and the plan; a process takes them once, and with them what the source keeps open."""
    import ray

    fetched: tuple[ShardWriter, list[ShardTask]] = ray.get(plan)
    return fetched
