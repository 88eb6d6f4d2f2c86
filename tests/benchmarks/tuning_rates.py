"""Our study of `dcgan-64` on avatars, over rates, betas and the D/G ratio alone, against the values of its paper.

The study is eight trials by TPE under ASHA, two at once, the paper's own values among them; what it found and the
paper's values are then trained afresh, on a seed that no trial had, for equal time of a core each. Both are judged by
the extractor that the study went by (`fid/instances`) and by one that took no part in it (`fid/random`).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from ganlib import Dataset, Recipe
from ganlib.evaluation.extractors import extractor_for
from ganlib.evaluation.names import metric_value
from ganlib.sampling import load_sampler
from pipelines.evaluate import judge
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home
from pipelines.shipped import find_recipe
from tests.benchmarks.recipes import speed, train
from tests.benchmarks.report import Target, show

TRIALS = 8
WHOLE = 3.0
"""Eight trials under ASHA come to about as many whole ones."""
FRESH_SEED = 1000
SPACE = {
    "optim.generator.lr": "log(5e-5, 2e-3)",
    "optim.discriminator.lr": "log(5e-5, 2e-3)",
    "optim.*.betas": "choice([0.5, 0.999], [0.5, 0.99], [0.5, 0.9], [0.0, 0.99])",
    "train.steps.discriminator": "int(1, 2)",
    "train.steps.generator": "int(1, 2)",
}


def against_the_paper(options: argparse.Namespace) -> list[Target]:
    """FID of what the study found over that of the paper's values, at equal time."""
    torch.set_num_threads(1)
    home = Home(options.home).create()
    faithful = find_recipe("dcgan-64", [f"data.size={options.size}", f"evaluate.samples={options.samples}"])
    dataset = DatasetRequest(faithful.data, home, options.avatars).prepare()
    tuned = found_by_a_study(faithful, dataset, options.minutes)
    sides = {"the paper's values": faithful, "tuned": tuned}
    rows, fids = [], []
    for name, recipe in sides.items():
        folder = home.path / f"rates-{name.split()[0]}"
        found = train(recipe.with_overrides(f"train.seed={FRESH_SEED}"), dataset, options.minutes / WHOLE, folder)
        other = judge(load_sampler(folder), dataset, extractor=extractor_for(dataset, "random"))
        fids.append((metric_value(found, "fid/instances"), metric_value(other, "fid/random")))
        optim, steps = recipe.optim, recipe.train.steps
        values = [
            f"{optim.generator.lr:.1e}", f"{optim.discriminator.lr:.1e}",
            f"{optim.generator.betas}", f"{steps.discriminator}:{steps.generator}",
        ]  # fmt: skip
        rows.append([name, *values, f"{found['images']:,.0f}", *(f"{fid:.2f}" for fid in fids[-1])])
    columns = ["", "G's rate", "D's rate", "betas", "D:G", "images", "fid/instances", "fid/random"]
    title = (
        f"dcgan-64 on avatars at {options.size}x{options.size}, {options.minutes / WHOLE:.1f} minutes of a core each, "
        f"{options.samples:,} samples"
    )
    show(title, columns, rows)
    (paper, apart), (ours, ours_apart) = fids
    return [
        Target("tuned dcgan-64, fid/instances over the paper's values'", ours / paper, 0.7, at_most=True),
        Target("tuned dcgan-64, fid/random over the paper's values'", ours_apart / apart, 0.7, at_most=True),
    ]


def found_by_a_study(faithful: Recipe, dataset: Dataset, minutes: float) -> Recipe:
    """What a study of about so many minutes of training chose."""
    from pipelines.tune import Asked, Settings, create_study, tune

    images = round(speed(faithful, dataset) * 60 * minutes / WHOLE)
    recipe = faithful.with_overrides(f"train.images={images}", f"train.tick={min(images, faithful.train.tick)}")
    with tempfile.TemporaryDirectory() as folder:
        home, uri = Home(Path(folder)).create(), f"sqlite:///{folder}/mlflow.db"
        settings = Settings(dataset_path=str(dataset.location), finalists=0, seeds=0, at_once=2)
        asked = Asked(recipe, SPACE, TRIALS, "tpe", "asha", "fid/instances")
        best = tune(create_study(asked, dataset, home, "rates", settings, uri), uri, print).best
        if best is None:
            raise SystemExit("no trial of the study was good")
        return find_recipe(str(best), [])
