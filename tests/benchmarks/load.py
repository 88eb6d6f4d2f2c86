"""Load: 8 jobs with 4 metrics a second each into one MLflow server, by the product's own journal and sender.

Looks for metrics that are lost, twice there or out of order in what the server gives back, and for time that a job
spends in its journal, which is all that a training would wait for. While the jobs run, `gan runs` lists 200 runs.

The server keeps its runs in SQLite; in PostgreSQL where MLFLOW_BACKEND_STORE_URI says so (the address has a password,
and what is typed is seen by others); the runs stay there, in an experiment of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ganlib.recipe import Recipe
from pipelines.journal import Journal, read_metrics
from pipelines.ports import free_ports
from pipelines.sender import Sender
from pipelines.shipped import find_recipe
from pipelines.tracking import experiment_id, mlflow_client
from tests.benchmarks.report import Target, arguments, conclude, show

JOBS = 8
METRICS = ("loss/discriminator", "loss/generator", "d_real", "d_fake")
RUNS = 200
DRAIN_SECONDS = 300.0


@dataclass(frozen=True)
class Job:
    """What one process is told, and `out`, where it says how it fared."""

    folder: str
    uri: str
    experiment: str
    seconds: float
    out: str


@dataclass(frozen=True)
class Fared:
    """recorded: calls of the journal; in_journal: their seconds by the clock, in_journal_cpu: of computing; longest: of
    one call by the clock; ran: seconds of the job; drained: until MLflow had all; left: records that it had not.
    """

    run_id: str
    recorded: int
    in_journal: float
    in_journal_cpu: float
    longest: float
    ran: float
    drained: float
    left: int


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long the jobs record (5)")
    parser.add_argument("--job", type=Path, metavar="FILE", help=argparse.SUPPRESS)  # how this program calls itself
    options = parser.parse_args()
    if options.job is not None:
        work(Job(**json.loads(options.job.read_text())))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder, experiment = Path(scratch), f"load-{uuid.uuid4().hex[:8]}"
        with server(folder) as uri:
            fill(uri, experiment, find_recipe("dcgan-64"), RUNS - JOBS)
            print(f"{RUNS - JOBS} runs are there; {JOBS} jobs start", file=sys.stderr, flush=True)
            jobs = [start(folder / f"job-{number}", uri, experiment, options.minutes * 60) for number in range(JOBS)]
            while not all(begun(Path(job.folder)).exists() for _, job in jobs):
                if any(process.poll() for process, _ in jobs):
                    sys.exit("a job broke, see above")
                time.sleep(0.2)
            go(folder).touch()
            time.sleep(options.minutes * 30)
            listing = sorted(list_runs(uri, experiment) for _ in range(3))
            for process, _ in jobs:
                if process.wait():
                    sys.exit("a job broke, see above")
            fared = [Fared(**json.loads(Path(job.out).read_text())) for _, job in jobs]
            wrong = [difference(uri, one.run_id, Path(job.folder)) for (_, job), one in zip(jobs, fared, strict=True)]
    recorded, waited = sum(one.recorded for one in fared), sum(one.in_journal for one in fared)
    show(
        f"{JOBS} jobs, {len(METRICS)} metrics a second each, {options.minutes:g} minutes, in {backend_name()}",
        ["figure", "measured"],
        [
            ("metrics recorded", f"{recorded * len(METRICS):,}"),
            ("lost, twice there or out of order", str(sum(wrong))),
            ("records that MLflow had not when a job ended waiting", str(sum(one.left for one in fared))),
            ("a call of the journal, mean, ms", f"{waited / recorded * 1e3:.2f}"),
            ("... of computing, ms", f"{sum(one.in_journal_cpu for one in fared) / recorded * 1e3:.2f}"),
            ("... the longest, ms", f"{max(one.longest for one in fared) * 1e3:.1f}"),
            ("until MLflow had all after the last record, s, the slowest job", f"{max(o.drained for o in fared):.1f}"),
            (f"`gan runs` of {RUNS} runs under this load, s, of three", ", ".join(f"{s:.1f}" for s, _ in listing)),
            ("... of which computing, its own", ", ".join(f"{s:.1f}" for _, s in listing)),
        ],
    )
    conclude(
        [
            Target("load: metrics lost, twice there or out of order", sum(wrong), 0, at_most=True),
            Target(
                "load: share of a job's time in its journal", waited / sum(o.ran for o in fared), 0.01, at_most=True
            ),
            Target(f"load: `gan runs` of {RUNS} runs, s", statistics.median(s for s, _ in listing), 3.0, at_most=True),
        ],
        options.json,
    )


def start(folder: Path, uri: str, experiment: str, seconds: float) -> tuple[subprocess.Popen[bytes], Job]:
    folder.mkdir()
    job = Job(str(folder), uri, experiment, seconds, str(folder / "fared.json"))
    file = folder / "job.json"
    file.write_text(json.dumps(asdict(job)))
    return subprocess.Popen([sys.executable, "-m", "tests.benchmarks.load", "--job", str(file)]), job


def work(job: Job) -> None:
    """The body of one job: a tick a second, as a training has them, and what the journal took."""
    folder = Path(job.folder)
    sender = Sender(folder, job.uri, job.experiment, folder.name)
    sender.start()
    while sender.run_id is None:
        time.sleep(0.2)
    begun(folder).touch()
    while not go(folder.parent).exists():
        time.sleep(0.2)
    spent: list[float] = []
    computed = 0.0
    begin = time.monotonic()
    with Journal(folder, "train") as journal:
        while (now := time.monotonic()) - begin < job.seconds:
            tick = len(spent) + 1
            values = {name: tick + number / 10 for number, name in enumerate(METRICS)}
            clock, own = time.perf_counter(), time.thread_time()
            journal.metrics(tick * 1000, values)
            spent.append(time.perf_counter() - clock)
            computed += time.thread_time() - own
            time.sleep(max(begin + tick - now, 0.0))
        ran = time.monotonic() - begin
        journal.finish("FINISHED")
    ended = time.monotonic()
    left = sender.drain(DRAIN_SECONDS)
    fared = Fared(
        sender.run_id or "", len(spent), sum(spent), computed, max(spent), ran, time.monotonic() - ended, left
    )
    Path(job.out).write_text(json.dumps(asdict(fared)))


def begun(folder: Path) -> Path:
    """Is there once the job of that folder has its run in MLflow."""
    return folder / "begun"


def go(folder: Path) -> Path:
    """Is there once all have: now they record."""
    return folder / "go"


def difference(uri: str, run_id: str, folder: Path) -> int:
    """How many points of the journal MLflow lacks, has beside, or has at another place, over all metrics."""
    client, wrong = mlflow_client(uri), 0
    for name, points in read_metrics(folder).items():
        history = client.get_metric_history(run_id, name)
        history.sort(key=lambda metric: metric.timestamp)  # in the order in which they were recorded
        found = [(metric.step, metric.value) for metric in history]
        wrong += sum(a != b for a, b in zip(found, points, strict=False)) + abs(len(found) - len(points))
    return wrong


def fill(uri: str, experiment: str, recipe: Recipe, count: int) -> None:
    """Runs as trainings leave them: parameters, some metrics, tags."""
    from mlflow.entities import Metric, Param, RunTag

    client = mlflow_client(uri)
    home = experiment_id(client, experiment)
    params = [Param(name, str(value)) for name, value in recipe.flat().items()][:100]
    for number in range(count):
        run = client.create_run(home, run_name=f"filled-{number}", tags={"recipe": recipe.name})
        now = int(time.time() * 1000)
        metrics = [Metric(name, number / 7, now, 1000) for name in (*METRICS, "fid/classifier-1a2b3c4d")]
        client.log_batch(run.info.run_id, metrics, params, [RunTag("health", "well")])


def list_runs(uri: str, experiment: str) -> tuple[float, float]:
    """Seconds of `gan runs`, by the clock and of its own computing."""
    before = os.times()
    begin = time.perf_counter()
    gan = Path(sys.executable).with_name("gan")
    with tempfile.TemporaryDirectory() as home:
        command = [str(gan), "runs", experiment, "--limit", str(RUNS), "--tracking", uri, "--home", home]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, after = time.perf_counter() - begin, os.times()
    lines = printed.count("\n") - 1
    if lines != RUNS:
        sys.exit(f"`gan runs` listed {lines} runs of {RUNS}:\n{printed[:2000]}")
    return seconds, sum(after[2:4]) - sum(before[2:4])


def backend_name() -> str:
    given = os.environ.get("MLFLOW_BACKEND_STORE_URI", "")
    return given.partition(":")[0] or "sqlite"


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A real MLflow server on the loopback; its address."""
    (port,) = free_ports(1)
    uri, log = f"http://127.0.0.1:{port}", folder / "server.log"
    environment = {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder / 'mlflow.db'}", **os.environ}
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, start_new_session=True, cwd=folder, env=environment
        )
    try:
        answered = False
        for _ in range(1200):
            if process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=5).close()
                answered = True
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        if not answered:
            sys.exit(f"the MLflow server did not start:\n{log.read_text()[-3000:]}")
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    main()
