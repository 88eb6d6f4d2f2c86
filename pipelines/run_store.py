"""The runs that MLflow holds, read without importing mlflow, which takes longer than all else in a table of runs.

A server is asked through its REST API (/api/2.0/mlflow/...); a SQLite database is read as the pinned mlflow lays it
out. Nothing is written here.
"""

from __future__ import annotations

import base64
import json
import math
import os
import sqlite3
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ganlib.errors import UserError
from pipelines.tracking import check_address, is_sqlite, reason, sqlite_path

SECONDS = 30.0
_PAGE = 1000


@dataclass(frozen=True)
class StoredRun:
    """One run. start: milliseconds since 1970. metrics: the latest value of each; NaN where it is that."""

    run_id: str
    experiment_id: str
    name: str
    status: str
    start: int
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    datasets: list[str] = field(default_factory=list)


class Store(Protocol):
    """Where runs are."""

    def experiments(self) -> dict[str, str]:
        """Name -> id of those that were not deleted."""

    def runs(self, experiments: Sequence[str], limit: int | None = None) -> list[StoredRun]:
        """The runs of the experiments (by id) that were not deleted, at most `limit`, newest first."""


def open_store(uri: str) -> Store:
    """The store at `uri`: http(s)://host:port or sqlite:////path. Raises UserError, as its methods do."""
    if is_sqlite(uri):
        return _Database(sqlite_path(uri))
    check_address(uri)
    return _Server(uri.rstrip("/"))


@dataclass(frozen=True)
class _Server:
    address: str

    def experiments(self) -> dict[str, str]:
        found = self._pages("experiments/search", {"max_results": _PAGE}, "experiments")
        return {one["name"]: str(one["experiment_id"]) for one in found}

    def runs(self, experiments: Sequence[str], limit: int | None = None) -> list[StoredRun]:
        size = _PAGE if limit is None else min(limit, _PAGE)
        asked = {"experiment_ids": list(experiments), "max_results": size, "order_by": ["attributes.start_time DESC"]}
        return [self._run(one) for one in self._pages("runs/search", asked, "runs", limit)]

    def _run(self, said: dict[str, Any]) -> StoredRun:
        info, data = said["info"], said.get("data", {})
        inputs = said.get("inputs", {}).get("dataset_inputs", [])
        return StoredRun(
            info["run_id"],
            str(info["experiment_id"]),
            info.get("run_name", ""),
            info.get("status", ""),
            int(info.get("start_time", 0)),
            {one["key"]: float(one["value"]) for one in data.get("metrics", [])},
            {one["key"]: one["value"] for one in data.get("params", [])},
            {one["key"]: one.get("value", "") for one in data.get("tags", [])},
            [one["dataset"]["name"] for one in inputs],
        )

    def _pages(self, path: str, asked: dict[str, Any], key: str, limit: int | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token = ""
        while limit is None or len(found) < limit:
            said = self._ask(path, {**asked, "page_token": token} if token else asked)
            found += said.get(key, [])
            token = said.get("next_page_token", "")
            if not token:
                break
        return found if limit is None else found[:limit]

    def _ask(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", **_authorization()}
        url = f"{self.address}/api/2.0/mlflow/{path}"
        request = urllib.request.Request(url, json.dumps(asked).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                said = json.loads(answer.read())
                if isinstance(said, dict):
                    return said
                why = "something else does"
        except urllib.error.HTTPError as error:
            why = f"HTTP status {error.code}"
            if error.code in (401, 403):
                why += ", so that it wants MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        except (OSError, ValueError) as error:
            why = reason(error)
        raise UserError(f"no MLflow answers at {self.address}: {why}; start it there, or correct MLFLOW_TRACKING_URI")


@dataclass(frozen=True)
class _Database:
    path: Path

    def experiments(self) -> dict[str, str]:
        rows = self._rows("SELECT name, experiment_id FROM experiments WHERE lifecycle_stage = 'active'")
        return {name: str(number) for name, number in rows}

    def runs(self, experiments: Sequence[str], limit: int | None = None) -> list[StoredRun]:
        # Ids are the database's own numbers; SQLite has a limit of parameters, and none here.
        chosen = ", ".join(str(int(number)) for number in experiments)
        runs = (
            f"SELECT run_uuid, experiment_id, name, status, start_time FROM runs WHERE experiment_id IN ({chosen}) "
            f"AND lifecycle_stage = 'active' ORDER BY start_time DESC, run_uuid LIMIT {-1 if limit is None else limit}"
        )
        ids = f"IN (SELECT run_uuid FROM ({runs}))"
        metrics: dict[str, dict[str, float]] = defaultdict(dict)
        params: dict[str, dict[str, str]] = defaultdict(dict)
        tags: dict[str, dict[str, str]] = defaultdict(dict)
        datasets: dict[str, list[str]] = defaultdict(list)
        for run, key, value, is_nan in self._rows(
            f"SELECT run_uuid, key, value, is_nan FROM latest_metrics WHERE run_uuid {ids}"
        ):
            metrics[run][key] = math.nan if is_nan else value
        for table, into in (("params", params), ("tags", tags)):
            for run, key, value in self._rows(f"SELECT run_uuid, key, value FROM {table} WHERE run_uuid {ids}"):
                into[run][key] = value
        for run, name in self._rows(
            "SELECT destination_id, name FROM inputs JOIN datasets ON dataset_uuid = source_id "
            f"WHERE source_type = 'DATASET' AND destination_type = 'RUN' AND destination_id {ids}"
        ):
            datasets[run].append(name)
        return [
            StoredRun(
                run, str(number), name or "", status, start or 0, metrics[run], params[run], tags[run], datasets[run]
            )
            for run, number, name, status, start in self._rows(runs)
        ]

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        if not self.path.exists():
            return []  # nothing was recorded yet
        try:
            with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=60)) as connection:
                return connection.execute(query).fetchall()
        except sqlite3.Error as error:
            raise UserError(f"cannot read the MLflow database {self.path}: {error}") from error


def _authorization() -> dict[str, str]:
    """As MLflow's own client has it from the environment."""
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if user is not None and password is not None:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}
