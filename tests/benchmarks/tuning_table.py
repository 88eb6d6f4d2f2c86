"""Makes `figures/tuning-table.csv`, for `tuning` to search: what 96 settings of a small recipe come to, at five rungs.

    python -m tests.benchmarks.tuning_table            one core; goes on where it was cut off

The recipe is `digits` with narrow networks; the settings are the first points of a scrambled Halton sequence over
SPACE. A reading is the Frechet distance of 1,000 samples of the moving average by the classifier's features; a training
that diverged has `inf` from there on. Each setting is trained once, on a seed of its own, so a row has the noise that a
trial has. Seconds are of training alone, on the core (`time.process_time`). The table that lies there took 11.2 minutes
of one core.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import qmc

from ganlib import Dataset, Recipe, Trainer, UserError
from ganlib.evaluation.distances import frechet_distance
from ganlib.evaluation.extractors import extractor_for
from ganlib.evaluation.findings import reference_findings
from ganlib.evaluation.statistics import FeatureStatistics
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home
from pipelines.shipped import find_recipe

TABLE = Path(__file__).parent / "figures" / "tuning-table.csv"
BETAS = ([0.0, 0.99], [0.5, 0.99], [0.9, 0.99])
SPACE = {
    "optim.generator.lr": "log(1e-5, 3e-2)",
    "optim.discriminator.lr": "log(1e-5, 3e-2)",
    "optim.*.betas": "choice([0.0, 0.99], [0.5, 0.99], [0.9, 0.99])",
    "train.steps.discriminator": "int(1, 3)",
}
RUNGS = (1_152, 2_304, 4_608, 9_216, 18_432)
"""Images seen: each twice the one before, and all of them whole rounds of 64 images at any of the step ratios."""
SMALL = (
    *(f"method.{side}.{field}" for side in ("generator", "discriminator") for field in ("width=12", "widest=24")),
    "method.latent.dim=16",
    "train.precision=fp32",
    "optim.ema_half_life=2000",
    f"train.images={RUNGS[-1]}",
    f"train.tick={RUNGS[0]}",
)
SETTINGS, SAMPLES, SEED = 96, 1_000, 7
COLUMNS = ("setting", "generator_lr", "discriminator_lr", "beta1", "steps", "images", "seconds", "fid")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--settings", type=int, default=SETTINGS)
    parser.add_argument("--home", type=Path, default=Path("build/benchmarks"), help="for the dataset")
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = find_recipe("digits", SMALL)
    dataset = DatasetRequest(recipe.data, Home(options.home).create()).prepare()
    rows = read_rows(options.output) if options.output.exists() else []
    done = {int(row["setting"]) for row in rows}
    options.output.parent.mkdir(exist_ok=True)
    begun = time.process_time()
    with options.output.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not rows:
            writer.writerow(COLUMNS)
        for number, point in enumerate(points(options.settings)):
            if number in done:
                continue
            values = setting(point)
            found = list(readings(with_values(recipe, values, seed=number), dataset))
            head = [number, *(f"{lr:.5g}" for lr in point_rates(values)), values["optim.*.betas"][0]]
            steps = values["train.steps.discriminator"]
            writer.writerows([*head, steps, images, f"{seconds:.2f}", f"{fid:.4g}"] for images, seconds, fid in found)
            file.flush()
            spent = (time.process_time() - begun) / 60
            print(f"{number} {values}: {found[-1][2]:.1f}, {spent:.1f} CPU minutes so far", flush=True)


def points(count: int) -> np.ndarray:
    """float64 [count, 4] in the unit cube, evenly spread."""
    return qmc.Halton(len(SPACE), scramble=True, rng=SEED).random(count)


def setting(point: np.ndarray) -> dict[str, Any]:
    """A point of the unit cube as values of SPACE."""
    low, high = math.log(1e-5), math.log(3e-2)
    generator, discriminator = (math.exp(low + share * (high - low)) for share in point[:2])
    return {
        "optim.generator.lr": generator,
        "optim.discriminator.lr": discriminator,
        "optim.*.betas": BETAS[int(point[2] * len(BETAS))],
        "train.steps.discriminator": 1 + int(point[3] * 3),
    }


def point_rates(values: dict[str, Any]) -> tuple[float, float]:
    return values["optim.generator.lr"], values["optim.discriminator.lr"]


def with_values(recipe: Recipe, values: dict[str, Any], seed: int) -> Recipe:
    return recipe.with_overrides(*(f"{path}={value}" for path, value in values.items()), f"train.seed={seed}")


def readings(recipe: Recipe, dataset: Dataset) -> Iterator[tuple[int, float, float]]:
    """(images, seconds of training, FID) at each of RUNGS."""
    extractor = extractor_for(dataset)
    real = reference_findings(dataset, extractor, "train").statistics
    trainer, start, spent = Trainer(recipe, dataset, device="cpu"), time.process_time(), 0.0
    rungs = list(RUNGS)
    try:
        for tick in trainer.run():
            spent += time.process_time() - start
            if tick.images_seen >= rungs[0]:
                fakes = FeatureStatistics.of(*extractor.features(trainer.sample(SAMPLES, SEED).numpy()))
                yield rungs.pop(0), spent, frechet_distance(fakes, real)
            start = time.process_time()
    except UserError:  # diverged
        yield from ((images, spent, math.inf) for images in rungs)


def read_rows(path: Path = TABLE) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
