"""Tuning: against Ray's PBT example, ASHA and TPE against random search, what a study costs besides its trainings, and
how many samples its rankings take.

    python -m tests.benchmarks.tuning asha tpe      on the table of `tuning_table`; a minute
    python -m tests.benchmarks.tuning overhead      a study of 8 trials of `digits`; some minutes
    python -m tests.benchmarks.tuning ranking       24 trainings of seconds, each judged often; some minutes
    python -m tests.benchmarks.tuning pbt --minutes 16 --source ../shared/data/mnist
    python -m tests.benchmarks.tuning rates --minutes 36 --size 32 --avatars ../shared/data/avatars.zip

asha: images seen by all trials until one is within 10 percent of the best of random search, over all that random
search saw. tpe: best loss after as many trials, over random search's. Both are medians of five seeds; the first trials
of ASHA are random search's. overhead: wall time over the sum of trainings divided by how many run at once, of those
trials that run in processes which have run one before. ranking: see `tuning_ranking`. pbt: see `tuning_pbt`. rates: see
`tuning_rates`.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home
from pipelines.shipped import find_recipe
from tests.benchmarks.pictures import SHARED
from tests.benchmarks.report import Target, arguments, conclude, machine, show
from tests.benchmarks.tuning_pbt import against_pbt
from tests.benchmarks.tuning_ranking import ranking
from tests.benchmarks.tuning_rates import against_the_paper
from tests.benchmarks.tuning_simulation import Table, simulate
from tests.benchmarks.tuning_table import RUNGS, SMALL

SEEDS = range(5)
TRIALS = 24
"""Of random search, and of TPE."""
ASHA_RUNGS = (RUNGS[0], RUNGS[2], RUNGS[4])
"""Each four times the one before: the table has no rungs three apart; a third of the trials pass, as in a study."""
PROPER = {
    "train.images": 120_000,
    "evaluate.samples": 500,
    "evaluate.extractor": "random",
}
"""A trial of `overhead`: a minute of training and four readings, of a second each. Of trials of a quarter of a minute
its readings alone would be a quarter."""


def main() -> None:
    runs: dict[str, Callable[..., list[Target]]] = {
        "asha": asha, "tpe": tpe, "overhead": overhead, "ranking": ranking, "pbt": against_pbt,
        "rates": against_the_paper,
    }  # fmt: skip
    parser = arguments(__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *runs], metavar="NAME", help=f"of {', '.join(runs)}; or all")
    parser.add_argument(
        "--minutes", type=float, default=16.0, help="of training: either side of pbt, or the whole study of rates"
    )
    parser.add_argument("--samples", type=int, default=10_000, help="that the judges of pbt and rates see")
    parser.add_argument("--source", help="MNIST's IDX files, for pbt; a download where nothing is said")
    parser.add_argument("--avatars", default=str(SHARED / "avatars.zip"), help="the images of rates")
    parser.add_argument("--size", type=int, default=64, help="of the images of rates, a side")
    parser.add_argument("--home", type=Path, default=Path("build/benchmarks"), help="for datasets")
    options = parser.parse_args()
    print(machine())
    targets = [target for name in options.names or runs for target in runs[name](options)]
    conclude(targets, options.json)


def asha(options: object) -> list[Target]:
    """Images until within 10 percent of random search's best, over all of random search's."""
    recipe, table = find_recipe("digits", SMALL), Table()
    rows, shares, own = [], [], []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            at = Path(folder)
            random = simulate(recipe, table, "random", "none", RUNGS[-1:], seed, at, trials=TRIALS)
            whole, best = random[-1][0], min(value for _, value in random)
            halving = simulate(recipe, table, "random", "asha", ASHA_RUNGS, seed, at, budget=whole)
        needed = first_within(halving, best)
        shares.append(needed / whole)
        own.append(first_within(random, best) / whole)
        found = min(value for _, value in halving)
        rows.append([f"seed {seed}", f"{best:.0f}", f"{found:.0f}", f"{shares[-1]:.3f}", f"{own[-1]:.3f}"])
    columns = ["", "random's best", "ASHA's at equal images", "ASHA's share of images", "random's own"]
    show(f"ASHA and random search ({TRIALS} trials of {RUNGS[-1]:,} images), on the table", columns, rows)
    return [Target("ASHA, images to random's best + 10 percent", statistics.median(shares), 0.4, at_most=True)]


def first_within(readings: list[tuple[int, float]], best: float) -> float:
    """Images seen when the first reading is at most 1.1 times `best`; infinite where none is."""
    return next((float(images) for images, value in readings if value <= 1.1 * best), float("inf"))


def tpe(options: object) -> list[Target]:
    """The best of as many trials, TPE's over random search's."""
    recipe, table = find_recipe("digits", SMALL), Table()
    rows, ratios = [], []
    for seed in SEEDS:
        best = []
        for search in ("random", "tpe"):
            with tempfile.TemporaryDirectory() as folder:
                found = simulate(recipe, table, search, "none", RUNGS[-1:], seed, Path(folder), trials=TRIALS)
            best.append(min(value for _, value in found))
        ratios.append(best[1] / best[0])
        rows.append([f"seed {seed}", *(f"{value:.0f}" for value in best), f"{ratios[-1]:.3f}"])
    show(f"TPE and random search, the best of {TRIALS} trials, on the table", ["", "random", "TPE", "ratio"], rows)
    return [Target("TPE's best over random search's", statistics.median(ratios), 1.0, at_most=True)]


def overhead(options: object) -> list[Target]:
    """Wall time of trials in processes that are warm, over their trainings divided by how many run at once."""
    from pipelines.tune import Asked, Settings, create_study, tune

    at_once = 2
    recipe = find_recipe("digits", [f"{path}={value}" for path, value in PROPER.items()])
    space = {"optim.*.lr": "log(2e-4, 2e-3)"}
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder)).create()
        dataset = DatasetRequest(recipe.data, home).prepare()
        settings = Settings(dataset_path=str(dataset.location), finalists=0, seeds=0, at_once=at_once)
        asked = Asked(recipe, space, 8, "random", "none")
        uri = f"sqlite:///{folder}/mlflow.db"
        study_folder = create_study(asked, dataset, home, "overhead", settings, uri)
        begun = time.time()
        study = tune(study_folder, uri, print).study
        whole = time.time() - begun
    warm = [trial for trial in study.trials if trial.number >= at_once and trial.ended is not None and trial.readings]
    trained = sum(trial.readings[-1].seconds for trial in warm) / at_once
    wall = max(trial.ended or 0 for trial in warm) - min(trial.began for trial in warm)
    every = sum(trial.readings[-1].seconds for trial in study.trials if trial.readings) / at_once
    rows = [
        ["the warm trials", f"{len(warm)}", f"{wall:.1f}", f"{trained:.1f}", f"{wall / trained:.2f}"],
        ["the whole study, Ray's start and MLflow too", f"{len(study.trials)}", f"{whole:.1f}", f"{every:.1f}",
         f"{whole / every:.2f}"],
    ]  # fmt: skip
    show(f"A study, {at_once} trials at once", ["", "trials", "seconds", "training / 2", "ratio"], rows)
    return [Target("overhead of a study's warm trials, ratio", wall / trained, 1.1, at_most=True)]


if __name__ == "__main__":
    main()
