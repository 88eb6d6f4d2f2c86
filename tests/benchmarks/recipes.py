"""Recipes at equal time on one dataset: FID, inception score, smallest mode and images/s of each, and its samples.

    python -m tests.benchmarks.recipes mnist mnist-large wgan-gp:data.size=28 --source ../shared/data/mnist --minutes 8

A name may carry overrides, `name:field=value,field=value`. Each recipe trains in a process of one thread, as many at
once as there are cores. Its length is set from its own speed in a first stretch, so that a falling rate has fallen when
the time is over. Time is that of the process on its core, of training alone: what else the machine does takes none.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from ganlib import Dataset, Recipe, Trainer
from ganlib.files import write_atomically
from ganlib.pictures import png
from ganlib.sampling import load_sampler
from ganlib.sheets import sheet
from pipelines.evaluate import judge
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home
from pipelines.shipped import find_recipe
from tests.benchmarks.report import arguments, machine, show

PROBE_SECONDS = 20.0
TICK_SECONDS = 2.0


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("recipes", nargs="+", metavar="RECIPE[:FIELD=VALUE,...]")
    parser.add_argument("--source", help="what the recipes read; by default what the first of them names")
    parser.add_argument("--minutes", type=float, default=8.0, help="of training, for each")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument(
        "--home", type=Path, default=Path("build/benchmarks"), help="for datasets, checkpoints, samples"
    )
    parser.add_argument("--train", help=argparse.SUPPRESS)  # how this program calls itself
    options = parser.parse_args()
    home = Home(options.home).create()
    common = [f"evaluate.samples={options.samples}"]
    if options.train is not None:
        torch.set_num_threads(1)
        recipe = chosen(options.train, common)
        dataset = DatasetRequest(recipe.data, home, options.source).prepare()
        print(json.dumps(train(recipe, dataset, options.minutes, folder_of(home, options.train))))
        return
    for name in options.recipes:  # one after the other: two that want one dataset would both make it
        DatasetRequest(chosen(name, common).data, home, options.source).prepare()

    def one(name: str) -> dict[str, float]:
        command = [sys.executable, "-m", "tests.benchmarks.recipes", *sys.argv[1:], "--train", name]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
        if ended.returncode:
            sys.exit(f"{name} broke, see above")
        found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
        print(name, found, flush=True)
        return found

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        rows = [row(name, found) for name, found in zip(options.recipes, pool.map(one, options.recipes), strict=True)]
    print(machine())
    columns = ["recipe", "minutes", "images", "images/s", "FID", "floor", "inception score", "smallest mode"]
    show(f"{options.source or chosen(options.recipes[0], []).name}, {options.samples:,} samples", columns, rows)
    print(f"samples: {home.path}/*.png")


def chosen(name: str, overrides: list[str]) -> Recipe:
    """The recipe of `name:field=value,...`."""
    name, _, own = name.partition(":")
    return find_recipe(name, [*overrides, *own.split(",")] if own else overrides)


def folder_of(home: Home, name: str) -> Path:
    return home.path / re.sub(r"[^\w.=-]+", "-", name)


def train(recipe: Recipe, dataset: Dataset, minutes: float, folder: Path) -> dict[str, float]:
    """Trains for the time, judges the end, and leaves checkpoint and samples beside `folder`."""
    rate = speed(recipe, dataset)
    images = max(round(rate * 60 * minutes), recipe.train.batch)
    tick = min(max(round(rate * TICK_SECONDS), recipe.train.batch), images)
    recipe = recipe.with_overrides(f"train.images={images}", f"train.tick={tick}")
    trainer = Trainer(recipe, dataset, device="cpu")
    start = time.process_time()
    for _ in trainer.run():
        seconds = time.process_time() - start
        if seconds >= 60 * minutes:
            break
    shutil.rmtree(folder, ignore_errors=True)
    trainer.snapshot().write(folder)
    found = judge(load_sampler(folder), dataset)
    write_atomically(folder.with_name(f"{folder.name}.png"), png(sheet(recipe, dataset, trainer.sample)))
    chosen_metrics = {
        name: value
        for name, value in found.items()
        if not name.startswith(("mode_share/", "mode_share_se/", "fid_class/"))
    }
    return {"minutes": seconds / 60, "images": trainer.progress.images, **chosen_metrics}


def speed(recipe: Recipe, dataset: Dataset) -> float:
    """Images/s, after a third of the probe's time has warmed up."""
    batch = recipe.train.batch
    trainer = Trainer(
        recipe.with_overrides("train.images=1000000000", f"train.tick={4 * batch}"), dataset, device="cpu"
    )
    begin = time.process_time()
    warm: tuple[float, int] | None = None
    for tick in trainer.run():
        seconds = time.process_time() - begin
        if warm is None:
            warm = (seconds, tick.images_seen) if seconds > PROBE_SECONDS / 3 else None
        elif seconds > PROBE_SECONDS:
            break
    assert warm is not None
    return (tick.images_seen - warm[1]) / (seconds - warm[0])


def row(name: str, found: dict[str, float]) -> list[str]:
    def of(prefix: str) -> float:
        return next((value for key, value in found.items() if key.startswith(prefix)), float("nan"))

    minutes, images = found["minutes"], found["images"]
    return [
        name, f"{minutes:.1f}", f"{images:,}", f"{images / minutes / 60:,.0f}", f"{of('fid/'):.2f}",
        f"{of('fid_floor/'):.2f}", f"{of('inception_score/'):.2f}", f"{100 * of('mode_share_min/'):.1f}%",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
