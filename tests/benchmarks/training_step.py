"""Training step: images/s of DCGAN at 64x64x3 (SYSTEMS.md A4) by our trainer and by the loop as its authors wrote it.

Both find their images in memory, each in a process of its own. Ours is the whole trainer, so its repetition ends as a
tick does, with a second look at the last fakes and the metrics read; a tick is 8 steps here and 25 in the recipe, so
that costs more than in a run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from ganlib import Dataset, Preparation, Trainer, open_source, prepare_dataset
from ganlib.data.batches import normalise
from ganlib.precision import computes_bf16
from pipelines.shipped import find_recipe
from tests.benchmarks.pictures import picture_folder
from tests.benchmarks.plain_dcgan import PlainDCGAN, shuffled
from tests.benchmarks.report import Target, apart, arguments, conclude, interleaved, machine, show

BATCH = 128
ENOUGH = 10**9
"""Images, more than any number of rounds trains on."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=8, help="steps in one repetition")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions that count")
    parser.add_argument("overrides", nargs="*", help="fields of our recipe, as in train.compile=true")
    options = parser.parse_args()
    # Where a CPU has no instructions for bfloat16 it is emulated, at a few images a second: nobody would train with it.
    precisions = ["fp32", "bf16"] if computes_bf16("cpu") else ["fp32"]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as processes:
        shown = picture_folder(Path(folder) / "pictures", 1024)
        source = open_source(Path(folder) / "pictures")
        dataset = prepare_dataset(source, Preparation(size=64, channels=3), Path(folder), "pictures").path
        told = {"as its authors wrote it, fp32": (authors_loop, dataset, options.steps)}
        for precision in precisions:
            overrides = [f"train.precision={precision}", *options.overrides]
            told[f"our trainer, {precision}"] = (our_trainer, dataset, options.steps, overrides)
        loops = {name: processes.enter_context(apart(*words)) for name, words in told.items()}
        found = interleaved("training step", loops, options.rounds)
    authors, ours = next(iter(found.values())), found[f"our trainer, {precisions[-1]}"]
    rows = [(name, f"{rate:.1f}", f"{rate / authors:.2f}") for name, rate in found.items()]
    print(machine())
    show(f"DCGAN 64x64x3, f = 64, batch {BATCH}, {shown}", ["loop", "images/s", "ratio"], rows)
    wanted = 2.0 if precisions[-1] == "bf16" else 1.3
    conclude([Target(f"training step, {precisions[-1]}, ratio", ours / authors, wanted)], options.json)


def authors_loop(dataset: Path, steps: int) -> Callable[[], float]:
    """Each call trains `steps` steps and returns images/s."""
    split = Dataset.open(dataset).split("train")
    pixels = torch.from_numpy(split.take(np.arange(len(split))))
    batches = shuffled(normalise(pixels).contiguous(), BATCH)
    gan = PlainDCGAN(size=64, channels=3, width=64)

    def repetition() -> float:
        start = time.perf_counter()
        for _ in range(steps):
            gan.step(next(batches))
        return steps * BATCH / (time.perf_counter() - start)

    return repetition


def our_trainer(dataset: Path, steps: int, overrides: list[str]) -> Callable[[], float]:
    """Each call trains a tick of `steps` steps and returns images/s."""
    lengths = [f"train.batch={BATCH}", f"train.tick={steps * BATCH}", f"train.images={ENOUGH}"]
    ticks = Trainer(find_recipe("dcgan-64", [*lengths, *overrides]), Dataset.open(dataset), device="cpu").run()
    return lambda: next(ticks).images_per_second


if __name__ == "__main__":
    main()
