"""Stacked MNIST: of its 1,000 modes, how many a recipe covers after equal time, and the KL of their shares to uniform.

    python -m tests.benchmarks stacked                  trains stacked-mnist and plain DCGAN by the benchmark of recipes
    python -m tests.benchmarks.stacked_mnist RUN ...    judges checkpoints that are there

25,600 samples of each. The judge is a classifier of single digits, trained on MNIST at the same size; it reads the
three channels one by one, as in VEEGAN (Srivastava et al. 2017, arXiv 1705.07761).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ganlib.evaluation.distances import kl_divergence
from ganlib.evaluation.extractors import extractor_for
from ganlib.sampling import load_sampler
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home
from pipelines.shipped import find_recipe
from tests.benchmarks.pictures import SHARED
from tests.benchmarks.recipes import folder_of
from tests.benchmarks.report import Target, arguments, conclude, machine, show

SAMPLES, BLOCK, MODES = 25_600, 800, 1_000
_READ = "data.read.kind=stacked-mnist"
TRAINED = (f"stacked-mnist:{_READ}", f"dcgan-64:data.size=32,{_READ}")
"""What is trained where no checkpoints are given."""
LITERATURE = {"stacked-mnist-large": (1_000, 0.029)}
"""Modes and KL that recipes for a GPU aim at: those of R3GAN (Huang et al. 2024, arXiv 2501.05441)."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("checkpoints", nargs="*", type=Path)
    parser.add_argument("--minutes", type=float, default=8.0, help="of training, for each, where none are given")
    parser.add_argument("--source", help="MNIST's IDX files", default=str(SHARED / "mnist"))
    parser.add_argument("--home", type=Path, default=Path("build/benchmarks"))
    options = parser.parse_args()
    home = Home(options.home).create()
    if not options.checkpoints:
        told = ["--source", options.source, "--minutes", str(options.minutes), "--home", str(options.home)]
        # Its own judge, of 1,000 classes, has a short look: the one here is what counts.
        command = [sys.executable, "-m", "tests.benchmarks.recipes", *TRAINED, *told, "--samples", "1000"]
        subprocess.run(command, check=True)
    data = find_recipe("mnist", ["data.size=32"]).data
    digits = DatasetRequest(data, home, options.source).prepare()
    judge, record = extractor_for(digits), digits.manifest.classifier
    assert record is not None
    rows: list[list[str]] = []
    found: dict[str, tuple[int, float]] = {}
    for folder in options.checkpoints or [folder_of(home, name) for name in TRAINED]:
        sampler, counts = load_sampler(folder), np.zeros(MODES, np.int64)
        for first in range(0, SAMPLES, BLOCK):
            channels = sampler.sample(BLOCK, seed=0, first=first).transpose(0, 3, 1, 2)
            _, probabilities = judge.features(np.ascontiguousarray(channels.reshape(-1, 32, 32, 1)))
            assert probabilities is not None
            red, green, blue = probabilities.argmax(1).reshape(BLOCK, 3).T
            counts += np.bincount(100 * red + 10 * green + blue, minlength=MODES)
        kl = kl_divergence(counts / SAMPLES, np.full(MODES, 1 / MODES))
        found[sampler.recipe.name] = int((counts > 0).sum()), kl
        rows.append([folder.name, f"{sampler.images_seen:,}", f"{(counts > 0).sum()}", f"{kl:.3f}"])
    print(machine())
    show(f"Stacked MNIST, {SAMPLES:,} samples", ["recipe", "images", f"modes of {MODES:,}", "KL"], rows)
    print(f"judge: right on {record.accuracy:.2%} of MNIST's test digits")
    conclude(targets(found), options.json)


def targets(found: Mapping[str, tuple[int, float]]) -> list[Target]:
    """Of modes and KL by the recipes' names: plain DCGAN's are to be passed by ours in its time, others' on a GPU."""
    nothing = (float("nan"),) * 2
    wanted = LITERATURE | {"stacked-mnist": found.get("dcgan-64", nothing)}
    told = {"stacked-mnist": "than plain DCGAN's", "stacked-mnist-large": "than R3GAN's"}
    return [
        target
        for name, (modes, kl) in found.items()
        if name in wanted
        for target in (
            Target(f"{name}: modes, no fewer {told[name]}", modes, wanted[name][0]),
            Target(f"{name}: KL to uniform, no more {told[name]}", kl, wanted[name][1], at_most=True),
        )
    ]


if __name__ == "__main__":
    main()
