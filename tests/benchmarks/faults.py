"""Faults and losses: parts of a training are killed, at moments drawn by a seed, and what was lost is counted.

Runs of a tiny recipe on a real Ray cluster with a real MLflow server. Each is disturbed by SIGKILL of a worker, a node,
the command, the server (away for two minutes) and the process that judges, and by SIGTERM to a worker and the command.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.report import Target, arguments, conclude, machine, show
from tests.cluster.faults import FAULTS, theatre


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--faults", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--away", type=float, default=120, help="seconds that the MLflow server is away")
    options = parser.parse_args()
    dice = random.Random(options.seed)
    left, number = options.faults, 0
    with tempfile.TemporaryDirectory() as folder, theatre(Path(folder), options.away) as scene:
        whole = scene.undisturbed()
        while left > 0:
            kinds = dice.sample(list(FAULTS), min(left, len(FAULTS)))
            scene.compare(scene.disturbed(f"disturbed-{number}", kinds, dice), whole)
            left, number = left - len(kinds), number + 1
            count, lost = scene.tally.faults.total(), len(scene.tally.losses)
            print(f"faults: {count} so far, losses: {lost}", file=sys.stderr, flush=True)
    print(machine())
    rows = [[kind, str(count)] for kind, count in sorted(scene.tally.faults.items())]
    show(f"Faults in {number} runs of two workers, seed {options.seed}", ["killed", "times"], rows)
    print(f"faults: {scene.tally.faults.total()}, losses: {len(scene.tally.losses)}")
    for loss in scene.tally.losses:
        print(f"  {loss}")
    conclude([Target("faults without a loss", float(not scene.tally.losses), 1.0)], options.json)


if __name__ == "__main__":
    main()
