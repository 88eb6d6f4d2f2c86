"""Stacked MNIST: of its 1,000 modes, how many a recipe covers after equal time, and the KL of their shares to uniform.

    python -m tests.benchmarks.recipes stacked-mnist dcgan-64:data.size=32 --source stacked-mnist --minutes 8
    python -m tests.benchmarks.stacked_mnist build/benchmarks/stacked-mnist build/benchmarks/dcgan-64-data.size=32

Judges checkpoints that are there, 25,600 samples of each. The judge is a classifier of single digits, trained on MNIST
at the same size; it reads the three channels one by one, as in VEEGAN (Srivastava et al. 2017, arXiv 1705.07761).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ganlib.evaluation.distances import kl_divergence
from ganlib.evaluation.extractors import extractor_for
from ganlib.sampling import load_sampler
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home
from pipelines.shipped import find_recipe
from tests.benchmarks.pictures import SHARED
from tests.benchmarks.report import arguments, machine, show

SAMPLES, BLOCK, MODES = 25_600, 800, 1_000


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--source", help="MNIST's IDX files", default=str(SHARED / "mnist"))
    parser.add_argument("--home", type=Path, default=Path("build/benchmarks"))
    options = parser.parse_args()
    data = find_recipe("mnist", ["data.size=32"]).data
    digits = DatasetRequest(data, Home(options.home).create(), options.source).prepare()
    judge, record = extractor_for(digits), digits.manifest.classifier
    assert record is not None
    rows = []
    for folder in options.checkpoints:
        sampler, counts = load_sampler(folder), np.zeros(MODES, np.int64)
        for first in range(0, SAMPLES, BLOCK):
            channels = sampler.sample(BLOCK, seed=0, first=first).transpose(0, 3, 1, 2)
            _, probabilities = judge.features(np.ascontiguousarray(channels.reshape(-1, 32, 32, 1)))
            assert probabilities is not None
            red, green, blue = probabilities.argmax(1).reshape(BLOCK, 3).T
            counts += np.bincount(100 * red + 10 * green + blue, minlength=MODES)
        kl = kl_divergence(counts / SAMPLES, np.full(MODES, 1 / MODES))
        rows.append([folder.name, f"{sampler.images_seen:,}", f"{(counts > 0).sum()}", f"{kl:.3f}"])
    print(machine())
    show(f"Stacked MNIST, {SAMPLES:,} samples", ["recipe", "images", f"modes of {MODES:,}", "KL"], rows)
    print(f"judge: right on {record.accuracy:.2%} of MNIST's test digits")


if __name__ == "__main__":
    main()
