"""Modes: what each objective covers of a ring of 8 and of a grid of 25 Gaussians, and the recipes for them.

Every objective has the networks, the optimizers and the length of the recipes `ring` and `grid`, under the penalty that
goes with it. `--short` gives all rows but the recipes' a quarter of that length. One thread; seconds are those of the
process on its core, so that what else the machine does takes none.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ganlib import Dataset, Recipe, Trainer, open_source, prepare_dataset
from ganlib.data.sources.gaussians import known_truth
from ganlib.evaluation.names import bare
from ganlib.evaluation.points import mode_metrics
from ganlib.methods.base import SampleRequest
from pipelines.shipped import find_recipe
from tests.benchmarks.report import Target, arguments, conclude, machine, show

SAMPLES = 10_000
MODES = {"ring": 8, "grid": 25}
SECONDS = 180.0
ROWS = {
    "minimax, R1": ["method.objective=minimax"],
    "non-saturating, none": ["method.objective=non-saturating", "method.penalty={kind: none}"],
    "non-saturating, R1": ["method.objective=non-saturating"],
    "non-saturating, DRAGAN": ["method.objective=non-saturating", "method.penalty={kind: dragan, weight: 1, c: 0.1}"],
    "least squares, R1": ["method.objective=least-squares"],
    "hinge, R1": ["method.objective=hinge"],
    "Wasserstein, gradient penalty": [
        "method.objective=wasserstein",
        "method.penalty={kind: gradient-penalty, weight: 1}",
        "train.steps.discriminator=5",
    ],
    "relativistic, R1 and R2": ["method.objective=relativistic", "method.penalty={kind: r1r2, gamma: 0.1}"],
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="runs of each recipe, for the spread")
    parser.add_argument("--short", action="store_true", help="a quarter of the length for all but the recipes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    targets: list[Target] = []
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        datasets = {name: prepared(find_recipe(name), Path(folder)) for name in MODES}
        for name, modes in MODES.items():
            for seed in range(options.seeds):
                found, seconds = judged(find_recipe(name, [f"train.seed={seed}"]), datasets[name])
                rows.append([f"recipe {name}, seed {seed}", *cells(found, modes), f"{seconds:.0f}"])
                targets += [
                    Target(f"{name}, seed {seed}: modes of {modes}", found["modes/covered"], modes),
                    Target(f"{name}, seed {seed}: high quality", found["modes/high_quality"], 0.95),
                    Target(f"{name}, seed {seed}: seconds", seconds, SECONDS, at_most=True),
                ]
        found, seconds = judged(find_recipe("ring-collapse"), datasets["ring"])
        rows.append(["recipe ring-collapse", *cells(found, 8), f"{seconds:.0f}"])
        targets.append(Target("ring-collapse: modes of 8", found["modes/covered"], 4, at_most=True))
        show("Recipes", ["recipe", "modes", "high quality", "KL", "s"], rows)
        rows = []
        for label, overrides in ROWS.items():
            row = [label]
            for name, modes in MODES.items():
                recipe = find_recipe(name, overrides)
                if options.short:
                    recipe = recipe.with_overrides(f"train.images={recipe.train.length(1) // 4}")
                row += cells(judged(recipe, datasets[name])[0], modes)
            rows.append(row)
            print(*row, sep="  ", flush=True)
    columns = [f"{name}: {what}" for name in MODES for what in ("modes", "high quality", "KL")]
    show("Objectives", ["objective, penalty", *columns], rows)
    conclude(targets, options.json)


def prepared(recipe: Recipe, folder: Path) -> Dataset:
    """The recipe's own points."""
    return prepare_dataset(
        open_source(recipe.data.source, recipe.data.read), recipe.data.preparation, folder, recipe.name
    )


def judged(recipe: Recipe, dataset: Dataset) -> tuple[dict[str, float], float]:
    """The metrics at the end of a training, by what they measure, and the seconds that it took."""
    trainer = Trainer(recipe, dataset, device="cpu")
    start = time.process_time()
    for _ in trainer.run():
        pass
    seconds = time.process_time() - start
    generator = trainer.average or trainer.method.generator
    points = trainer.method.sample(generator, SampleRequest(SAMPLES, recipe.evaluate.seed)).numpy()
    truth = known_truth(dataset.manifest.source.kind)
    assert truth is not None
    found = mode_metrics(points.reshape(SAMPLES, -1).astype(np.float64), truth)
    return {bare(name): value for name, value in found.items()}, seconds


def cells(found: dict[str, float], modes: int) -> list[str]:
    return [f"{found['modes/covered']:.0f}/{modes}", f"{found['modes/high_quality']:.3f}", f"{found['modes/kl']:.3f}"]


if __name__ == "__main__":
    main()
