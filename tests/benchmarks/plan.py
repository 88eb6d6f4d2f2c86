"""`gan plan` against the truth: rounds of training, and messages, predicted and measured on this machine.

1, 2 and 4 processes train by the real trainer over gloo, on the loopback and, where root may make them, in network
namespaces whose links a token bucket holds to --network. Predictions come from a calibration just before: the recipe's
rounds without others, and messages of several sizes between two processes. Other programs are kept away, by real-time
priority where that is allowed; else the figures are those of the machine as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from ganlib import Dataset, Preparation, Trainer, open_source, prepare_dataset
from ganlib.cores import cores, threads_of
from ganlib.recipe import Recipe
from ganlib.scaling.calibration import Calibration, calibrate
from ganlib.scaling.links import Behind, Cluster, Link, parse_network
from ganlib.scaling.model import predict_cpu
from ganlib.scaling.rehearsal import kinds_of_round
from ganlib.scaling.work import Work, count_work
from ganlib.training.meter import Meter
from ganlib.training.world import World
from pipelines.shipped import find_recipe
from tests.benchmarks.pictures import picture_folder
from tests.benchmarks.report import Target, arguments, conclude, machine, show

RECIPES = {
    "digits": [
        "train.batch=64", "train.precision=fp32", "method.penalty.every=4", "method.condition={kind: none}",
        "data.classes=0",
    ],
    "mnist-large": ["train.batch=64"],
    "dcgan-64": ["train.batch=32"],
}  # fmt: skip
"""By what they ask of a worker: a lazy penalty; batch norm and dropout; A4, whose gradients are 25 MB. In float32:
without the instructions bfloat16 is emulated."""

WORKERS = (1, 2, 4)
SIZES = (2**18, 2**20, 2**22, 2**24, 2**26)
MEASURED_SECONDS = 2.0
WANTED = 0.15
BURST = "128kb"
"""What a link lets through at once. It has to hold what comes between two looks at it: with 64 kB four links of 400 Mb,
on two cores, let through 70 percent of what they should, with twice as much all of it."""
LEAST_IN_A_ROW = 2**22
"""Bytes that are added up in a row over such a link, so that what it lets through at once is little of them."""


@dataclass(frozen=True)
class Job:
    """What one worker process is told. rounds: of training, in `blocks` blocks. sizes: of all-reduces, bytes.

    throttled: whether its link is.
    """

    rank: int
    workers: int
    meet: str
    recipe: str | None
    dataset: str
    rounds: int
    blocks: int
    sizes: list[int]
    throttled: bool
    out: str


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--network", default="400Mb,50us", help="the link between namespaces (400Mb,50us)")
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--worker", type=Path, metavar="FILE", help=argparse.SUPPRESS)  # how this program calls itself
    options = parser.parse_args()
    if options.worker is not None:
        work(Job(**json.loads(options.worker.read_text())))
        return
    print(machine(), f"; real-time priority: {'yes' if may_be_urgent() else 'no'}", sep="")
    errors: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        picture_folder(folder / "pictures", 512)
        rows: list[tuple[str, ...]] = []
        calibration: Calibration | None = None
        namespaces = [*stack.enter_context(throttled(max(WORKERS), options.network))]
        for name in options.recipes:
            recipe = find_recipe(name, RECIPES[name])
            dataset = dataset_of(recipe, folder)
            works = {n: count_work(recipe, n) for n in WORKERS}
            calibration = calibrated(recipe)
            for n in WORKERS:
                for link in (None, options.network) if n > 1 and namespaces else (None,):
                    if link is None:
                        expected = predict_cpu(works[n], calibration, n).seconds
                    else:
                        expected = crowded(works[n], calibration, parse_network(link))
                    period = period_of(recipe)
                    blocks = max(2, min(40, round(MEASURED_SECONDS / (expected * period))))
                    found = measure(folder, n, namespaces if link else [], recipe, dataset, period, blocks)
                    error = expected / found - 1
                    errors.setdefault(f"rounds, {n} processes, {'loopback' if link is None else link}", []).append(
                        error
                    )
                    rows.append(
                        (f"{name}, {link or 'loopback'}", str(n), str(works[n].slice), f"{expected * 1e3:.1f}",
                         f"{found * 1e3:.1f}", f"{error:+.0%}")
                    )  # fmt: skip
                    print(*rows[-1], file=sys.stderr, flush=True)
        columns = ["recipe, link", "processes", "batch each", "predicted, ms", "measured, ms", "error"]
        show("A round of training", columns, rows)
        assert calibration is not None
        print(f"loopback: {calibration.loopback}")
        show("All-reduce", ["link", "processes", "bytes", "predicted, ms", "measured, ms", "error"],
             sizes(folder, namespaces, options.network, calibration, errors))  # fmt: skip
    conclude(
        [
            Target(f"{what}: largest error", max(map(abs, found)), WANTED, at_most=True)
            for what, found in errors.items()
        ],
        options.json,
    )


def sizes(
    folder: Path, namespaces: Sequence[str], network: str, calibration: Calibration, errors: dict[str, list[float]]
) -> list[tuple[str, ...]]:
    """All-reduces of every size, predicted and measured; adds to `errors`."""
    rows = []
    for n in WORKERS[1:]:
        for link in (None, network) if namespaces else (None,):
            asked = [size for size in SIZES if link is None or size <= 2**24]
            cluster = cluster_of(calibration, n, None if link is None else parse_network(link), computing=False)
            for size, found in zip(asked, measure_sizes(folder, n, namespaces if link else [], asked), strict=True):
                expected = cluster.all_reduce(size, n)
                error = expected / found - 1
                errors.setdefault(f"all-reduce, {n} processes, {link or 'loopback'}", []).append(error)
                rows.append(
                    (
                        link or "loopback",
                        str(n),
                        f"{size:,}",
                        f"{expected * 1e3:.2f}",
                        f"{found * 1e3:.2f}",
                        f"{error:+.0%}",
                    )
                )
    return rows


def cluster_of(calibration: Calibration, workers: int, network: Link | None, computing: bool) -> Cluster:
    """This machine's cores, with the loopback or the network between the workers, which compute or only add up."""
    inside = calibration.loopback.shared(calibration.crowding(workers), computing)
    if network is None:
        return Cluster(workers, inside, inside, trees=False)
    return Cluster(1, inside, Behind(network, inside), trees=False)


def crowded(work: Work, calibration: Calibration, network: Link) -> float:
    """Seconds of a round where the workers have links as between machines, and share this one's cores."""
    cluster = cluster_of(calibration, work.workers, network, computing=True)
    sent = sum(times * cluster.all_reduce(size, work.workers) for size, times in work.messages.items())
    return calibration.rounds[work.workers] * calibration.crowding(work.workers) + sent


def calibrated(recipe: Recipe) -> Calibration:
    """Measured with other programs kept away, which the processes inherit."""
    with urgent():
        return calibrate(dict.fromkeys(WORKERS, recipe))


def period_of(recipe: Recipe) -> int:
    """Rounds after which the penalty's steps come round again."""
    shares = [share for _, share in kinds_of_round(recipe)]
    return round(1 / min(shares)) if len(shares) > 1 else 1


def dataset_of(recipe: Recipe, folder: Path) -> Dataset:
    preparation = Preparation(size=recipe.data.size, channels=recipe.data.channels)
    return prepare_dataset(open_source(folder / "pictures"), preparation, folder, "pictures")


def measure(
    folder: Path, workers: int, namespaces: Sequence[str], recipe: Recipe, dataset: Dataset, rounds: int, blocks: int
) -> float:
    """Seconds of a round by the slowest of so many processes, the median over the blocks."""
    found = run(folder, workers, namespaces, recipe, dataset, rounds, blocks, [])
    return max(statistics.median(one) for one in found) / rounds


def measure_sizes(folder: Path, workers: int, namespaces: Sequence[str], asked: list[int]) -> list[float]:
    """Seconds of an all-reduce of each size."""
    return [max(ranks) for ranks in zip(*run(folder, workers, namespaces, None, None, 0, 0, asked), strict=True)]


def run(
    folder: Path,
    workers: int,
    namespaces: Sequence[str],
    recipe: Recipe | None,
    dataset: Dataset | None,
    rounds: int,
    blocks: int,
    asked: list[int],
) -> list[list[float]]:
    """Starts the processes, each in its namespace; what each of them found."""
    with tempfile.TemporaryDirectory(dir=folder) as meeting:
        started = []
        for rank in range(workers):
            job = Job(
                rank, workers, f"file://{meeting}/meet", None if recipe is None else recipe.dump(),
                "" if dataset is None else str(dataset.location), rounds, blocks, asked, bool(namespaces),
                f"{meeting}/{rank}.json",
            )  # fmt: skip
            file = Path(meeting, f"job-{rank}.json")
            file.write_text(json.dumps(asdict(job)))
            inside = ["ip", "netns", "exec", namespaces[rank]] if namespaces else []
            interface = "wire" if namespaces else "lo"
            command = [*inside, sys.executable, "-m", "tests.benchmarks.plan", "--worker", str(file)]
            started.append(subprocess.Popen(command, env={**os.environ, "GLOO_SOCKET_IFNAME": interface}))
        statuses = [process.wait() for process in started]
        if any(statuses):
            sys.exit("a worker process broke, see above")
        return [json.loads(Path(meeting, f"{rank}.json").read_text()) for rank in range(workers)]


def work(job: Job) -> None:
    """The body of one worker process: trains, or adds up numbers, with the clock in its hand."""
    torch.set_num_threads(threads_of(job.workers, cores()))
    dataset = Dataset.open(job.dataset) if job.dataset else None
    recipe = None if job.recipe is None else Recipe.load(written(job))
    with urgent():
        dist.init_process_group(
            "gloo", init_method=job.meet, rank=job.rank, world_size=job.workers, timeout=timedelta(minutes=10)
        )
        found: list[float] = []
        if recipe is not None and dataset is not None:
            trainer = Trainer(recipe, dataset, device="cpu", world=World.current())
            meter = Meter(trainer.world, trainer.device)
            for block in range(job.blocks + 1):
                start = time.perf_counter()
                for _ in range(job.rounds):
                    trainer._round(meter, last=False)
                if block:
                    found.append(time.perf_counter() - start)
        for size in job.sizes:
            values = torch.ones(size // 4)
            in_a_row = max(1, LEAST_IN_A_ROW // size) if job.throttled else 1
            seconds = []
            for _ in range(8):
                dist.barrier()
                start = time.perf_counter()
                for _ in range(in_a_row):
                    dist.all_reduce(values)
                seconds.append((time.perf_counter() - start) / in_a_row)
            found.append(statistics.median(seconds[1:]))
        dist.destroy_process_group()
    Path(job.out).write_text(json.dumps(found))


def written(job: Job) -> Path:
    """The job's recipe as a file."""
    path = Path(job.out).with_suffix(".yaml")
    path.write_text(job.recipe or "")
    return path


def may_be_urgent() -> bool:
    with urgent():
        return os.sched_getscheduler(0) == os.SCHED_RR


@contextmanager
def urgent() -> Iterator[None]:
    """The body, and the threads and processes that it starts, before all other programs, where that is allowed."""
    before = os.sched_getscheduler(0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        with suppress(PermissionError):
            os.sched_setscheduler(0, before, os.sched_param(0 if before == os.SCHED_OTHER else 1))


@contextmanager
def throttled(count: int, network: str) -> Iterator[list[str]]:
    """Network namespaces joined by a bridge, each by a link that is held to the network's bits; none without root."""
    rate = f"{network.partition(',')[0]}it".replace("G", "g").replace("M", "m")
    if os.geteuid() or shutil.which("ip") is None or shutil.which("tc") is None:
        print("no namespaces: they take root, ip and tc; the loopback alone is measured", file=sys.stderr)
        yield []
        return
    mark = f"gan{os.getpid()}"
    middle, names = f"{mark}-m", [f"{mark}-{number}" for number in range(count)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # namespaces outlive the process that made them
    try:
        shell(
            f"ip netns add {middle}",
            f"ip -n {middle} link add bridge type bridge",
            f"ip -n {middle} link set bridge up",
        )
        for number, name in enumerate(names):
            shell(
                f"ip netns add {name}",
                f"ip -n {name} link add name wire type veth peer name port{number} netns {middle}",
                f"ip -n {name} addr add 10.199.77.{number + 1}/24 dev wire",
                f"ip -n {name} link set wire up",
                f"ip -n {name} link set lo up",
                f"ip -n {middle} link set port{number} master bridge up",
                f"tc -n {name} qdisc add dev wire root tbf rate {rate} burst {BURST} latency 400ms",
                f"tc -n {middle} qdisc add dev port{number} root tbf rate {rate} burst {BURST} latency 400ms",
            )
        yield names
    finally:
        for name in (*names, middle):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def shell(*commands: str) -> None:
    for command in commands:
        subprocess.run(command.split(), check=True)


if __name__ == "__main__":
    main()
