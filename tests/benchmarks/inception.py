"""Inception features: images/s of ours and of torch-fidelity's at the same random weights, and whether FID is the same.

Both begin at uint8 images in memory and end at features and logits. Torch-fidelity has its images in batches of 64, as
its command does.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from ganlib import Preparation, open_source, prepare_dataset
from ganlib.evaluation.distances import frechet_distance
from ganlib.evaluation.inception import WEIGHTS, InceptionExtractor
from ganlib.evaluation.statistics import FeatureStatistics
from tests.benchmarks.pictures import picture_folder
from tests.benchmarks.report import Target, arguments, conclude, interleaved, machine, show
from tests.random_inception import random_inception

BATCH = 64


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=64, help="images in one repetition")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions that count")
    options = parser.parse_args()
    theirs = random_inception()
    with tempfile.TemporaryDirectory() as folder:
        shown = picture_folder(Path(folder) / "pictures", 2 * options.images)
        preparation = Preparation(size=64, channels=3, test_share=0)
        dataset = prepare_dataset(open_source(Path(folder) / "pictures"), preparation, Path(folder), "pictures")
        images = dataset.split("train").take(np.arange(2 * options.images))
        torch.save(theirs.state_dict(), Path(folder) / "inception.pth")
        os.environ[WEIGHTS.variable] = str(Path(folder) / "inception.pth")
        ours = InceptionExtractor()

    def by_theirs(of: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            batches = torch.from_numpy(of).permute(0, 3, 1, 2).contiguous().split(BATCH)
            return torch.cat([theirs(batch)[0] for batch in batches])

    def timed(extract: Callable[[np.ndarray], object]) -> Callable[[], float]:
        def repetition() -> float:
            start = time.perf_counter()
            extract(images[: options.images])
            return options.images / (time.perf_counter() - start)

        return repetition

    found = interleaved("inception", {"torch-fidelity": timed(by_theirs), "ours": timed(ours.features)}, options.rounds)
    halves = images[: options.images], images[options.images :]
    fid = frechet_distance(*(FeatureStatistics.of(*ours.features(half)) for half in halves))
    expected = fid_statistics_to_metric(
        *(fid_features_to_statistics(by_theirs(half).double()) for half in halves), verbose=False
    )[KEY_METRIC_FID]
    print(machine())
    rows = [(name, f"{rate:.2f}", f"{rate / found['torch-fidelity']:.2f}") for name, rate in found.items()]
    show(f"Inception-v3, {shown}", ["network", "images/s", "ratio"], rows)
    conclude(
        [
            Target("Inception features over torch-fidelity's, images/s", found["ours"] / found["torch-fidelity"], 1.5),
            Target("... FID apart, relative", abs(fid - expected) / expected, 1e-3, at_most=True),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
