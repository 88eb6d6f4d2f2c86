"""Preparation on Ray Data: shard tasks spread over the cluster's processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganlib.errors import UserError

if TYPE_CHECKING:
    from ganlib.data.prepare import ShardOutcome, ShardTask, ShardWriter


def cluster_is_named() -> bool:
    """Whether the person named a Ray cluster to work on."""
    return bool(os.environ.get("RAY_ADDRESS"))


class _Hand:
    """A process that writes shards, one after the other. It gets the source and the plan once, when it starts."""

    def __init__(self, reference: list[Any]):
        import ray

        self._writer, self._tasks = ray.get(reference[0])

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        from ganlib.data.shard_writer import SourceError

        try:
            outcome = self._writer(self._tasks[row["id"]])
        except UserError as error:
            # As data: Ray would wrap it in tracebacks of its own.
            return {"outcome": "", "error": str(error), "of_source": isinstance(error, SourceError)}
        return {"outcome": outcome.model_dump_json(), "error": "", "of_source": False}


@dataclass(frozen=True)
class RayMapper:
    """Runs shard tasks in up to `workers` processes, by Ray Data.

    Images never travel: a process reads its records, writes its shard to the store, and hands back what it wrote. So
    the memory in use is a few shards, whatever the source's size.
    """

    workers: int

    def __call__(self, writer: ShardWriter, tasks: Sequence[ShardTask]) -> Iterator[ShardOutcome]:
        import ray
        import ray.data

        from ganlib.data.shard_writer import ShardOutcome, SourceError
        from pipelines.cluster import connect

        if not tasks:
            return
        connect(self.workers, object_store_bytes=200 << 20)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        # In a list: Ray Data would fetch a bare reference for each process's start itself.
        reference = [ray.put((writer, list(tasks)))]
        rows = ray.data.range(len(tasks), override_num_blocks=len(tasks))
        hands = min(self.workers, len(tasks))
        done = rows.map(_Hand, fn_constructor_args=(reference,), concurrency=hands, num_cpus=1)
        for row in done.iter_rows():
            if row["error"]:
                raise SourceError(row["error"]) if row["of_source"] else UserError(row["error"])
            yield ShardOutcome.model_validate_json(row["outcome"])
