"""Our study of `mnist` against Ray's `pbt_dcgan_mnist` example with the same total compute.

The example as its authors describe it, in plain code: eight DCGANs (32 features at half the size, latents of 100,
batches of 64, 32x32), both learning rates drawn from uniform(1e-5, 1e-2), five steps between two readings, a reading
being the inception score of one batch by an MNIST classifier; every five readings a trial among the worst quarter takes
over the weights of one among the best quarter, its rates drawn anew (one in four) or multiplied by 0.8 or 1.2.

Ours runs first, eight trials by TPE under ASHA, one at a time; the example then trains for as many seconds of its core
as ours took by the clock, which is no less. All eight of its generators are judged, each in the better of its two
batch-norm modes, and the best counts; of ours the one that its study chose. The judge is the network that tells images
apart without labels (`instances`): neither search saw it.
"""

from __future__ import annotations

import argparse
import copy
import math
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ganlib import Dataset, evaluate
from ganlib.data.batches import normalise
from ganlib.evaluation.classes import InProportion
from ganlib.evaluation.distances import inception_score
from ganlib.evaluation.extractors import Extractor, extractor_for
from ganlib.evaluation.names import metric_value
from ganlib.evaluation.samples import Samples
from ganlib.evaluation.statistics import FeatureStatistics
from ganlib.sampling import load_sampler
from ganlib.training.checkpoint import newest_checkpoint
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home
from pipelines.shipped import find_recipe
from tests.benchmarks.mnist_quality import BATCH, SEED, SIDE, DCGANSamples, resize
from tests.benchmarks.pictures import SHARED
from tests.benchmarks.plain_dcgan import PlainDCGAN, shuffled
from tests.benchmarks.recipes import speed
from tests.benchmarks.report import Target, show
from tuning.member import trial_folder

POPULATION, STEPS, INTERVAL, QUANTILE, RESAMPLED = 8, 5, 5, 0.25, 0.25
HIGHEST, LOWEST = 1e-2, 1e-5
WHOLE = 3.0
"""Eight trials under ASHA come to about as many whole ones."""


def against_pbt(options: argparse.Namespace) -> list[Target]:
    """The best FID of the example over that of our study."""
    torch.set_num_threads(1)
    source = options.source or (str(SHARED / "mnist") if (SHARED / "mnist").is_dir() else None)
    home = Home(options.home).create()
    dataset = DatasetRequest(find_recipe("mnist").data, home, source).prepare()
    found = ours(dataset, options.minutes, options.samples)
    theirs = example(dataset, found.seconds, options.samples)
    rows = [side.cells for side in (theirs, found)]
    columns = ["", "seconds of training", "images", "judged", "best FID (fid/instances)"]
    show(f"MNIST, {options.samples:,} samples", columns, rows)
    return [Target("FID of Ray's PBT example over ours, same compute", theirs.fid / found.fid, 5)]


@dataclass(frozen=True)
class Side:
    """What one of the two came to: seconds of training and images seen by all its trials, generators judged, FID."""

    name: str
    seconds: float
    images: int
    judged: int
    fid: float

    @property
    def cells(self) -> list[str]:
        """As a row of the table."""
        return [self.name, f"{self.seconds:.0f}", f"{self.images:,}", f"{self.judged}", f"{self.fid:.2f}"]


def fid_of(samples: Samples, dataset: Dataset, count: int) -> float:
    """By the judge that took no part in a search."""
    metrics = evaluate(samples, dataset, count, SEED, extractor_for(dataset, "instances"))
    return metric_value(metrics, "fid/instances")


def ours(dataset: Dataset, minutes: float, samples: int) -> Side:
    """A study of the shipped recipe and its own space, of about so many minutes of training."""
    from pipelines.tune import Asked, Settings, create_study, tune

    recipe = find_recipe("mnist", [f"evaluate.samples={min(2_000, samples)}", "evaluate.extractor=classifier"])
    images = max(round(speed(recipe, dataset) * 60 * minutes / WHOLE), 27 * 4 * recipe.train.batch)
    recipe = recipe.with_overrides(f"train.images={images}", f"train.tick={min(images, recipe.train.tick)}")
    with tempfile.TemporaryDirectory() as folder:
        home, uri = Home(Path(folder)).create(), f"sqlite:///{folder}/mlflow.db"
        settings = Settings(dataset_path=str(dataset.location), finalists=0, seeds=0, at_once=1)
        at = create_study(Asked(recipe, {}, POPULATION, "tpe", "asha"), dataset, home, "pbt", settings, uri)
        study = tune(at, uri, print).study
        if study.best is None:
            raise SystemExit("no trial of our study was good")
        newest = newest_checkpoint(trial_folder(at, study.best))
        assert newest is not None
        fid = fid_of(InProportion(load_sampler(newest), dataset), dataset, samples)
    last = [trial.readings[-1] for trial in study.trials if trial.readings]
    return Side("our study", sum(one.seconds for one in last), sum(one.images for one in last), 1, fid)


class Member:
    """A trial of the example: a DCGAN, its rates, its last reading."""

    def __init__(self, number: int, images: Tensor, chance: random.Random):
        self.gan = PlainDCGAN(SIDE, 1, width=32, seed=number)
        self.batches = shuffled(images, BATCH, seed=number)
        self.score = 0.0
        self.rates = [chance.uniform(LOWEST, HIGHEST), chance.uniform(LOWEST, HIGHEST)]
        self.set_rates()

    def set_rates(self) -> None:
        """Of generator and discriminator."""
        for optimizer, rate in zip((self.gan.optimizer_g, self.gan.optimizer_d), self.rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate

    def take_over(self, other: Member, chance: random.Random) -> None:
        """The other's weights and optimizers, and rates near its, or fresh ones."""
        for mine, its in (
            (self.gan.generator, other.gan.generator),
            (self.gan.discriminator, other.gan.discriminator),
            (self.gan.optimizer_g, other.gan.optimizer_g),
            (self.gan.optimizer_d, other.gan.optimizer_d),
        ):
            mine.load_state_dict(copy.deepcopy(its.state_dict()))
        self.rates = [
            chance.uniform(LOWEST, HIGHEST) if chance.random() < RESAMPLED else rate * chance.choice((0.8, 1.2))
            for rate in other.rates
        ]
        self.set_rates()

    @torch.no_grad()
    def read(self, scoring: Extractor) -> None:
        """The inception score of one batch, by the classifier."""
        samples = DCGANSamples(self.gan.sampler(training=True), self.gan.latent_dim).sample(BATCH, seed=0)
        self.score = inception_score(FeatureStatistics.of(*scoring.features(samples)))


def example(dataset: Dataset, seconds: float, samples: int) -> Side:
    """Trains the population for so many seconds of the core, readings not counted, and judges all of it."""
    split, chance = dataset.split("train"), random.Random(0)
    images = resize(normalise(torch.from_numpy(split.take(np.arange(len(split))))), SIDE).contiguous()
    scoring = extractor_for(dataset, "classifier")
    population = [Member(number, images, chance) for number in range(POPULATION)]
    spent, rounds, few = 0.0, 0, max(int(QUANTILE * POPULATION), 1)
    while spent < seconds:
        for member in population:
            start = time.process_time()
            for _ in range(STEPS):
                member.gan.step(next(member.batches))
            spent += time.process_time() - start
            member.read(scoring)
        rounds += 1
        if rounds % INTERVAL == 0:
            ranked = sorted(population, key=lambda member: member.score)
            for worst in ranked[:few]:
                worst.take_over(chance.choice(ranked[-few:]), chance)
    ways = [
        DCGANSamples(member.gan.sampler(way), member.gan.latent_dim) for member in population for way in (True, False)
    ]
    fids = [fid for way in ways if math.isfinite(fid := fid_of(way, dataset, samples))]
    seen = rounds * STEPS * BATCH * POPULATION
    return Side("Ray's example", spent, seen, POPULATION, min(fids))
