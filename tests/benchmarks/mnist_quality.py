"""Quality for time on MNIST: our `mnist` recipe and the DCGAN of Ray's PBT example, judged at equal training times.

The judge is the dataset's own classifier, trained on the labels before either of them; it sees 10,000 samples. Time is
training alone, one after the other on the same machine; judging stops the clock.

The DCGAN is given what helps it: its images are in memory; of its two ways of sampling (batch norm by the statistics of
the batch, as its authors do, or by the running ones) the better counts; and it is resized, 28x28 to 32x32 before and
back after, by the filter that blurs least (its authors' is bilinear, and blur alone makes a distance). The test images
resized to 32x32 and back show how little of its distance comes from that.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganlib import Dataset, Recipe, Trainer, evaluate
from ganlib.data.batches import normalise, quantise
from ganlib.data.dataset import Split
from ganlib.draws import stream_generator
from ganlib.evaluation.evaluate import Samples
from ganlib.evaluation.names import metric_value
from ganlib.files import write_atomically
from ganlib.methods.base import SampleRequest
from ganlib.pictures import grid, png
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home
from pipelines.shipped import find_recipe
from tests.benchmarks.pictures import SHARED
from tests.benchmarks.plain_dcgan import PlainDCGAN, shuffled
from tests.benchmarks.report import Target, arguments, conclude, machine, show

FULL_MINUTES = 8.0
"""What the recipe's length is meant for on two cores; `--minutes` scales the length with the time."""
MARKS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
"""When it is judged, in shares of the time."""
PASSING = (1 / 10, 0.14)
"""When ours is judged too: about where it passes the DCGAN."""
BATCH, SIDE = 64, 32  # the DCGAN's
SEED = 1_000


class Stretch(NamedTuple):
    """How far a training has come: training time in seconds since its start, images seen; `final` at its end."""

    seconds: float
    images: int
    final: bool


class Judgement(NamedTuple):
    """What the judge said at `stretch`."""

    stretch: Stretch
    fid: float
    inception_score: float
    smallest_share: float

    @property
    def cells(self) -> tuple[str, ...]:
        """As a row of the table."""
        seconds, images, _ = self.stretch
        rate = f"{images / seconds:,.0f}"
        share = f"{100 * self.smallest_share:.1f}%"
        return f"{seconds / 60:.2f}", f"{images:,}", rate, f"{self.fid:.1f}", f"{self.inception_score:.2f}", share


Judge = Callable[[Samples], dict[str, float]]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=FULL_MINUTES, help="of training, for each of the two")
    parser.add_argument("--samples", type=int, default=10_000, help="at most 10,000")
    parser.add_argument("--source", type=Path, help="the folder of MNIST's IDX files; a download where there is none")
    parser.add_argument("--home", type=Path, default=Path("build/benchmarks"), help="for the dataset and the samples")
    parser.add_argument("overrides", nargs="*", help="fields of our recipe, as in train.precision=fp32")
    options = parser.parse_args()
    recipe = our_recipe(options)
    source = options.source or (SHARED / "mnist" if (SHARED / "mnist").is_dir() else None)
    home = Home(options.home).create()
    dataset = DatasetRequest(recipe.data, home, None if source is None else str(source)).prepare()

    def judge(samples: Samples) -> dict[str, float]:
        return evaluate(samples, dataset, options.samples, SEED)

    resized = judge(ResizedImages(dataset.split("test")))
    theirs = train_dcgan(dataset, options, judge)
    ours = train_ours(recipe, dataset, options, judge)

    classifier = dataset.manifest.classifier
    assert classifier is not None
    columns = ["", "minutes", "images", "images/s", "FID", "inception score", "smallest mode"]
    rows = [("Ray's DCGAN", *judgement.cells) for judgement in theirs] + [
        ("ours", *judgement.cells) for judgement in ours
    ]
    print(machine())
    show(f"MNIST, {options.samples:,} samples judged by fid/classifier", columns, rows)
    floor, through = (metric_value(resized, f"{name}/classifier") for name in ("fid_floor", "fid"))
    print(f"noise floor: FID {floor:.2f} of the test images, {through:.2f} of them resized to {SIDE}x{SIDE} and back")
    print(f"judge: right on {classifier.accuracy:.2%} of the test images")
    print(f"samples: {options.home / 'mnist-dcgan.png'} and {options.home / 'mnist-ours.png'}\n")
    last, best = theirs[-1], ours[-1]
    passed = (judgement.stretch.seconds / 60 for judgement in ours if judgement.fid <= last.fid)
    share = min(passed, default=np.inf) / options.minutes
    conclude(
        [
            Target(f"FID of the DCGAN over ours, {options.minutes:g} minutes", last.fid / best.fid, 18),
            Target("our smallest mode, percent", 100 * best.smallest_share, 7),
            Target("share of the time until ours has passed it", share, 1 / 7, at_most=True),
        ],
        options.json,
    )


def our_recipe(options: argparse.Namespace) -> Recipe:
    """The shipped recipe, its length scaled with the time, in ticks short enough (a second) to stop it on time."""
    share = options.minutes / FULL_MINUTES
    images = find_recipe("mnist", options.overrides).train.length(60_000)
    lengths = [f"train.images={round(images * share)}", f"train.tick={max(round(2_000 * share), BATCH)}"]
    return find_recipe("mnist", [*options.overrides, *lengths])


def train_ours(recipe: Recipe, dataset: Dataset, options: argparse.Namespace, judge: Judge) -> list[Judgement]:
    """Trains by ganlib's Trainer for the time given, or to the recipe's end if that comes first."""
    trainer = Trainer(recipe, dataset, device="cpu")
    stretches = (Stretch(tick.seconds, tick.images_seen, tick.final) for tick in trainer.run())
    marks = [options.minutes * share for share in sorted((*MARKS, *PASSING))]
    judgements = judge_at_marks("ours", stretches, marks, lambda: [TrainerSamples(trainer)], judge)
    save_grid(options.home / "mnist-ours.png", TrainerSamples(trainer))
    return judgements


def train_dcgan(dataset: Dataset, options: argparse.Namespace, judge: Judge) -> list[Judgement]:
    """Trains the example's DCGAN by the plain loop for the time given."""
    split = dataset.split("train")
    images = resize(normalise(torch.from_numpy(split.take(np.arange(len(split))))), SIDE).contiguous()
    gan = PlainDCGAN(size=SIDE, channels=1, width=32)

    def ways() -> list[Samples]:
        return [DCGANSamples(gan.sampler(training), gan.latent_dim) for training in (True, False)]

    marks = [options.minutes * share for share in MARKS]
    judgements = judge_at_marks("DCGAN", plain_stretches(gan, images), marks, ways, judge)
    save_grid(options.home / "mnist-dcgan.png", ways()[0])
    return judgements


def plain_stretches(gan: PlainDCGAN, images: Tensor, steps: int = 10) -> Iterator[Stretch]:
    """Trains without end, telling the time every `steps` steps."""
    batches, seconds, seen = shuffled(images, BATCH), 0.0, 0
    while True:
        start = time.perf_counter()
        for _ in range(steps):
            gan.step(next(batches))
        seconds, seen = seconds + time.perf_counter() - start, seen + steps * BATCH
        yield Stretch(seconds, seen, final=False)


def judge_at_marks(
    name: str, stretches: Iterator[Stretch], minutes: list[float], ways: Callable[[], list[Samples]], judge: Judge
) -> list[Judgement]:
    """Trains on until the last of `minutes`, judging at each; of several `ways` to sample, the lowest FID counts.

    One judgement a mark: a training that ends earlier is judged at its end, and stays as it is for the marks after it.
    """
    marks = [60 * minute for minute in minutes]
    judgements: list[Judgement] = []
    for stretch in stretches:
        over = len(marks) if stretch.final else sum(mark <= stretch.seconds for mark in marks)
        if over > len(judgements):
            found = min(map(judge, ways()), key=lambda metrics: metric_value(metrics, "fid/classifier"))
            fid, score = (metric_value(found, f"{name}/classifier") for name in ("fid", "inception_score"))
            judgement = Judgement(stretch, fid, score, metric_value(found, "mode_share_min"))
            judgements += [judgement] * (over - len(judgements))
            print(f"{name}: FID {judgement.fid:.1f} after {stretch.seconds / 60:.2f} minutes", flush=True)
        if len(judgements) == len(marks):
            break
    return judgements


class TrainerSamples:
    """What a trainer's generator (its moving average) makes, by number."""

    def __init__(self, trainer: Trainer):
        self.method, self.generator = trainer.method, trainer.average or trainer.method.generator

    def sample(self, count: int, seed: int = 0, first: int = 0) -> np.ndarray:
        """uint8 [count, 28, 28, 1]."""
        return self.method.sample(self.generator, SampleRequest(count, seed, first)).numpy()


class DCGANSamples:
    """What the DCGAN's generator makes, a training batch at a time, resized to 28x28."""

    def __init__(self, generator: nn.Module, latent_dim: int):
        self.generator, self.latent_dim = generator, latent_dim

    @torch.no_grad()
    def sample(self, count: int, seed: int = 0, first: int = 0) -> np.ndarray:
        """uint8 [count, 28, 28, 1]."""
        latents = torch.randn(count, self.latent_dim, 1, 1, generator=stream_generator("cpu", seed, "dcgan", first))
        images = torch.cat([resize(self.generator(part), 28) for part in torch.split(latents, BATCH)])
        return quantise(images).numpy()


class ResizedImages:
    """Real images, resized to the DCGAN's size and back."""

    def __init__(self, split: Split):
        self.split = split

    def sample(self, count: int, seed: int = 0, first: int = 0) -> np.ndarray:
        """uint8 [count, 28, 28, 1]."""
        pixels = torch.from_numpy(self.split.take(np.arange(first, first + count)))
        return quantise(resize(resize(normalise(pixels), SIDE), 28)).numpy()


def resize(images: Tensor, side: int) -> Tensor:
    """float [n, C, H, W] in [-1, 1] -> [n, C, side, side] in [-1, 1], bicubic, the sharpest: without antialiasing."""
    return F.interpolate(images, (side, side), mode="bicubic", align_corners=False).clamp_(-1, 1)


def save_grid(path: Path, samples: Samples) -> None:
    """Writes 64 samples as a PNG."""
    write_atomically(path, png(grid(samples.sample(64, SEED))))


if __name__ == "__main__":
    main()
