"""Our study of `dcgan-64` on avatars, over rates, how they fall, betas and the D/G ratio alone, against the values of
its paper.

The study is 16 trials by TPE under ASHA, two at once, the paper's own values the first of them, and its two finalists
on a fresh seed each. What it found and the paper's values are then trained on seeds that no trial had, for equal time
of a core each. Both are judged by the extractor that the study went by (`fid/instances`) and by one that took no part
in it (`fid/random`). What the study found stands beside, `rates-tuned.yaml`, for `tests.benchmarks.recipes` to train it
at another size or for longer.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

import torch

from ganlib import Dataset, Recipe
from ganlib.cores import cores
from ganlib.evaluation.extractors import extractor_for
from ganlib.evaluation.names import metric_value
from ganlib.files import write_atomically
from ganlib.sampling import load_sampler
from pipelines.evaluate import judge
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home
from pipelines.shipped import find_recipe
from tests.benchmarks.recipes import speed, train
from tests.benchmarks.report import Target, show

TRIALS, FINALISTS = 16, 2
WHOLE = 11.0
"""So many trials under ASHA, and the finals, come to about as many whole trainings."""
FRESH_SEEDS = (1000, 1001)
SPACE = {
    "optim.generator.lr": "log(1e-4, 2e-3)",
    "optim.discriminator.lr": "log(1e-4, 2e-3)",
    "optim.*.decay.kind": "choice(constant, cosine)",
    "optim.*.betas": "choice([0.5, 0.999], [0.5, 0.99], [0.5, 0.9], [0.0, 0.99])",
    "train.steps.discriminator": "int(1, 2)",
    "train.steps.generator": "int(1, 2)",
}
JUDGES = ("fid/instances", "fid/random")


def against_the_paper(options: argparse.Namespace) -> list[Target]:
    """FID of what the study found over that of the paper's values, at equal time."""
    torch.set_num_threads(1)
    home = Home(options.home).create()
    faithful = find_recipe("dcgan-64", [f"data.size={options.size}", f"evaluate.samples={options.samples}"])
    dataset = DatasetRequest(faithful.data, home, options.avatars).prepare()
    minutes = options.minutes / WHOLE
    sides = {"paper": faithful, "tuned": found_by_a_study(faithful, dataset, minutes)}
    write_atomically(home.path / "rates-tuned.yaml", sides["tuned"].dump())
    with ProcessPoolExecutor(cores(), get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        waited = {
            (name, seed): pool.submit(trained, recipe, seed, dataset, minutes, home.path / f"rates-{name}-{seed}")
            for seed in FRESH_SEEDS
            for name, recipe in sides.items()
        }
        found = {key: future.result() for key, future in waited.items()}
    rows = []
    for (name, seed), figures in found.items():
        optim, steps = sides[name].optim, sides[name].train.steps
        values = [
            f"{optim.generator.lr:.1e}", f"{optim.discriminator.lr:.1e}", optim.generator.decay.kind,
            f"{optim.generator.betas}", f"{steps.discriminator}:{steps.generator}",
        ]  # fmt: skip
        fids = [f"{figures[metric]:.2f}" for metric in JUDGES]
        rows.append([f"{name}, seed {seed}", *values, f"{figures['images']:,.0f}", *fids])
    title = (
        f"dcgan-64 on avatars at {options.size}x{options.size}, {minutes:.1f} minutes of a core each, "
        f"{options.samples:,} samples"
    )
    show(title, ["", "G's rate", "D's rate", "which are", "betas", "D:G", "images", *JUDGES], rows)

    def mean(name: str, metric: str) -> float:
        return fmean(found[name, seed][metric] for seed in FRESH_SEEDS)

    return [
        Target(f"tuned dcgan-64, {metric} over the paper's values'", mean("tuned", metric) / mean("paper", metric), 0.7,
               at_most=True)
        for metric in JUDGES
    ]  # fmt: skip


def trained(recipe: Recipe, seed: int, dataset: Dataset, minutes: float, folder: Path) -> dict[str, float]:
    """Images seen, and the FID by each of JUDGES, of one training; its checkpoint and samples stand at `folder`."""
    found = train(recipe.with_overrides(f"train.seed={seed}"), dataset, minutes, folder)
    other = judge(load_sampler(folder), dataset, extractor=extractor_for(dataset, "random"))
    return {"images": found["images"], **{metric: metric_value({**other, **found}, metric) for metric in JUDGES}}


def found_by_a_study(faithful: Recipe, dataset: Dataset, minutes: float) -> Recipe:
    """What a study chose, whose whole trials are about so many minutes of training."""
    from pipelines.tune import Asked, Settings, create_study, tune

    images = round(speed(faithful, dataset) * 60 * minutes)
    recipe = faithful.with_overrides(f"train.images={images}", f"train.tick={min(images, faithful.train.tick)}")
    with tempfile.TemporaryDirectory() as folder:
        home, uri = Home(Path(folder)).create(), f"sqlite:///{folder}/mlflow.db"
        # Readings alone decide: by some hundreds of batches a verdict of collapse ended the best of a rung. (Left alone
        # it did collapse.)
        settings = Settings(dataset_path=str(dataset.location), finalists=FINALISTS, seeds=1, at_once=2, prune=False)
        asked = Asked(recipe, SPACE, TRIALS, "tpe", "asha", JUDGES[0])
        best = tune(create_study(asked, dataset, home, "rates", settings, uri), uri, print).best
        if best is None:
            raise SystemExit("no trial of the study was good")
        return find_recipe(str(best), [])
