"""Runs benchmarks in turn, each in a process of its own, and prints all their targets in one table at the end.

python -m tests.benchmarks           the short ones: all but these (twenty minutes)
python -m tests.benchmarks mnist     quality for time on MNIST (twice eight minutes of training, and judging)
python -m tests.benchmarks stacked   modes of stacked MNIST, ours against plain DCGAN (twice eight minutes, and judging)
python -m tests.benchmarks modes     every objective on rings and grids of Gaussians
python -m tests.benchmarks health    every fault that a run can have, provoked (twenty minutes)
python -m tests.benchmarks plan      what `gan plan` predicts, against measurements
python -m tests.benchmarks tuning    searches against each other and against Ray's PBT example (an hour)
python -m tests.benchmarks gpu       rounds on a GPU as they are and replayed, beside `gan plan` (where there is one)
python -m tests.benchmarks load      eight jobs that write to one MLflow server (five minutes)
python -m tests.benchmarks faults    thirty parts of trainings killed, and what was lost (half an hour)

The exit status is 1 where a benchmark broke; a target that was missed is said in the table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.report import Target, read_targets, show_targets

MODULES = {
    "batches": "tests.benchmarks.batches",
    "preparation": "tests.benchmarks.preparation",
    "distances": "tests.benchmarks.distances",
    "modes": "tests.benchmarks.modes",
    "training_step": "tests.benchmarks.training_step",
    "inception": "tests.benchmarks.inception",
    "orchestration": "tests.benchmarks.orchestration",
    "beside": "tests.benchmarks.beside",
    "health": "tests.benchmarks.health",
    "plan": "tests.benchmarks.plan",
    "tuning": "tests.benchmarks.tuning",
    "gpu": "tests.benchmarks.gpu",
    "load": "tests.benchmarks.load",
    "faults": "tests.benchmarks.faults",
    "mnist": "tests.benchmarks.mnist_quality",
    "stacked": "tests.benchmarks.stacked_mnist",
}
SHORT = ("batches", "preparation", "training_step", "distances", "inception", "orchestration", "beside")


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODULES)}")
    names = parser.parse_args().names or SHORT
    if unknown := [name for name in names if name not in MODULES]:
        parser.error(f"there is no benchmark {unknown[0]!r} (there are: {', '.join(MODULES)})")
    targets: list[Target] = []
    broken: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            file = Path(folder) / f"{name}.json"
            ended = subprocess.run([sys.executable, "-m", MODULES[name], "--json", str(file)], check=False)
            if ended.returncode == 0:
                targets += read_targets(file)
            else:
                broken.append(name)
    if len(names) > 1:
        show_targets(targets)
    if broken:
        sys.exit(f"broken, see above: {', '.join(broken)}")


if __name__ == "__main__":
    main()
