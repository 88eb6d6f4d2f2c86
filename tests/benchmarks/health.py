"""Training health, validated: how often each fault is found where it was provoked, and how often where there is none.

Each provocation, and each healthy recipe, is trained on `--seeds` seeds, judged at its end, and diagnosed. A hit is the
fault's own verdict, or the same symptom's by its graver name (`GRAVER`); a false alarm is any fault's verdict on a
healthy run. `--only NAME` takes the rows of that fault, or `healthy`; `--verdicts` prints what was said of each run.
One thread; some three quarters of an hour for all of it.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ganlib import Dataset, Preparation, Trainer, open_source, prepare_dataset, train_classifier
from ganlib.data.reading import Reading
from ganlib.errors import UserError
from ganlib.health import Verdict, diagnose
from ganlib.sampling import load_sampler
from pipelines.evaluate import judge
from pipelines.shipped import find_recipe
from tests.benchmarks.report import Target, arguments, conclude, machine, show

FOUND, ALARMS = 0.8, 0.1
TICKS = 30
FEW, HANDFUL = 120, 16
"""Images of a data set that is too small to learn from; and of one that is learned by heart."""

RING = ["train.batch=128", "train.images=192000", "evaluate.samples=2000"]
UNTOLD = ["method.condition={kind: none}", "data.classes=0"]
DIGITS = [
    *UNTOLD, "train.images=24000", "train.precision=fp32", "method.generator.width=16", "method.generator.widest=32",
    "method.discriminator.width=16", "method.discriminator.widest=32", "evaluate.samples=1000",
]  # fmt: skip
DIGITS_NETWORKS = [f"method.{side}={{kind: convnet, width: 16, widest: 32}}" for side in ("generator", "discriminator")]
RECONSTRUCTING = ["train.images=24000", "train.batch=64", "optim.*.lr=1e-3", "evaluate.samples=1000"]
FREE = "method.penalty={kind: none}"
PAIRS = [
    "data.size=16", "data.channels=1", "data.augment={}", "method.generator.width=16", "method.discriminator.width=16",
    "train.batch=4", "train.images=12000", "train.precision=fp32", "evaluate.samples=300",
]  # fmt: skip
DOMAINS = [
    "data.size=16", "data.channels=1", "data.domains=2", "data.read={kind: domains}", "data.augment={}",
    "method.generator.width=12", "method.discriminator.width=16", "train.images=12000", "train.precision=fp32",
    "evaluate.samples=300",
]  # fmt: skip


GRAVER = {"low-variety": "mode-collapse"}
"""A fault's graver name: one detector says which of the two it is, by how much is missing."""


@dataclass(frozen=True)
class Row:
    """A recipe that provokes `fault` (None: a healthy one) on `data`; the shipped one of that name, overridden.

    `equilibrium` is no fault, and its verdict on a healthy run no alarm; its rows ask whether it is seen where it is.
    """

    fault: str | None
    label: str
    recipe: str
    overrides: list[str] = field(default_factory=list)
    data: str = "digits"


ROWS = [
    Row("discriminator-winning", "rates: D 40 times G's, no penalty", "digits",
        [*DIGITS, FREE, "optim.discriminator.lr=4e-3", "optim.generator.lr=1e-5"]),
    Row("discriminator-winning", "a narrow G against a wide D, five steps", "digits",
        [*DIGITS, FREE, "method.generator.width=4", "method.generator.widest=4", "method.discriminator.width=32",
         "method.discriminator.widest=64", "train.steps.discriminator=5", "optim.generator.lr=1e-4"]),
    Row("vanishing-gradients", "the saturating form, D far ahead", "digits",
        [*DIGITS, FREE, "method.objective=minimax", "optim.discriminator.lr=4e-3", "optim.generator.lr=1e-5"]),
    Row("vanishing-gradients", "the saturating form on points", "ring",
        [*RING, FREE, "method.objective=minimax", "optim.discriminator.lr=1e-2", "optim.generator.lr=1e-5"], "ring"),
    Row("diverged", "a critic without a bound", "ring",
        [*RING, FREE, "method.objective=wasserstein", "optim.*.lr=0.1"], "ring"),
    Row("diverged", "Adam at a hundred times its rate", "ring", [*RING, FREE, "optim.*.lr=0.3"], "ring"),
    Row("oscillation", "least squares, no penalty, momentum, high rates", "ring",
        [*RING, FREE, "method.objective=least-squares", "optim.*.lr=5e-3", "optim.*.betas=[0.9, 0.999]",
         "optim.*.decay={kind: constant}"], "ring"),
    Row("mode-collapse", "ring-collapse", "ring-collapse", ["train.images=400000", "evaluate.samples=2000"], "ring"),
    Row("mode-collapse", "a slow D, no penalty", "ring",
        [*RING, FREE, "optim.discriminator.lr=1e-4", "optim.*.betas=[0.5, 0.999]"], "ring"),
    Row("mode-collapse", "a code of one number", "digits", [*DIGITS, "method.latent.dim=1"]),
    Row("low-variety", "a code of five numbers", "digits", [*DIGITS, "method.latent.dim=5"]),
    Row("low-variety", "a grid by way of a code of one number, no penalty", "ring",
        [*RING, FREE, "method.latent.dim=1"], "grid"),
    Row("overfitted-discriminator", "120 digits, no penalty", "digits", [*DIGITS, FREE, "train.batch=16"], "few"),
    Row("blur", "L2 rules, by way of a code of two numbers, cut short", "mnist-encoder",
        ["data.size=16", "data.source=digits", *DIGITS_NETWORKS, "method.code=2", *RECONSTRUCTING,
         "method.reconstruction={kind: l2, weight: 1000}", "train.images=8000"]),
    Row("memorisation", "16 digits, a strong bound on D's slope", "digits",
        [*DIGITS, "train.batch=16", "train.images=60000", "method.penalty.gamma=5"], "handful"),
    Row("blur", "pairs that have nothing to do with each other, L1 alone", "facades", [*PAIRS, "method.adversarial=0"],
        "strangers"),
    Row("mode-collapse", "the same", "facades", [*PAIRS, "method.adversarial=0"], "strangers"),
    Row("memorisation", "16 pairs", "facades", PAIRS, "partners-few"),
    Row("equilibrium", "a strong bound on D's slope", "ring", [*RING, "method.penalty.gamma=10"], "ring"),
    Row("equilibrium", "digits, a strong bound on D's slope", "digits", [*DIGITS, "method.penalty.gamma=10"]),
    Row(None, "ring", "ring", RING, "ring"),
    Row(None, "digits", "digits", DIGITS),
    # After 24,000 images their recall is still a quarter of real ones', and low variety is said with right.
    Row(None, "digits, told the class", "digits", [*DIGITS[len(UNTOLD):], "train.images=60000"]),
    Row(None, "digits, hinge", "digits", [*DIGITS, "method.objective=hinge"]),
    Row(None, "digits, relativistic pairs", "digits", [*DIGITS, "method.objective=relativistic"]),
    Row(None, "digits from their contours, a slow D", "edges-avatars",
        [*PAIRS, "train.images=24000", "optim.discriminator.lr=1e-4"], "contours"),
    Row(None, "digits of one class from each other", "facades", PAIRS, "partners"),
    Row(None, "dark digits on light ground, and back", "facades-unpaired", DOMAINS, "domains"),
    Row(None, "the same, by one generator", "hair-domains", [*DOMAINS, "method.discriminator.layers=3"], "domains"),
    # After 24,000, a third of which G has had a step for, their recall is 0.02 to 0.04, KL 0.2: the same.
    Row(None, "digits, Wasserstein", "digits",
        [*DIGITS, "train.images=60000", "method.objective=wasserstein", "method.penalty={kind: gradient-penalty}",
         "optim.*.lr=5e-4", "optim.*.betas=[0.0, 0.9]", "train.steps.discriminator=3"]),
]  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", help="a fault's rows, or those of `healthy`")
    parser.add_argument("--verdicts", action="store_true", help="print what is said of each run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for row in ROWS if options.only in (None, row.fault or "healthy")]
    if not rows:
        parser.error(f"there are no rows of {options.only}")
    print(machine())
    hits: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    table: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        datasets = dict(prepared({row.data for row in rows}, Path(folder)))
        for row in rows:
            start, found = time.perf_counter(), 0
            said: Counter[str] = Counter()
            for seed in range(options.seeds):
                verdicts = run(row, seed, datasets[row.data], Path(folder) / "checkpoint")
                faults = [one.name for one in verdicts if one.severity != "good"]
                meant = {row.fault, GRAVER.get(row.fault or "")}
                found += any(one.name in meant for one in verdicts) if row.fault else bool(faults)
                said.update(one.name for one in verdicts)
                if options.verdicts:
                    print(f"{row.label}, seed {seed}:", *(f"  {v.name} {v.confidence:.2f}: {v.says}" for v in verdicts),
                          sep="\n", flush=True)  # fmt: skip
            kind = row.fault or "healthy"
            hits[kind] += found
            runs[kind] += options.seeds
            also = ", ".join(f"{name} {count}" for name, count in said.most_common() if name != row.fault)
            seconds = f"{(time.perf_counter() - start) / options.seeds:.0f}"
            table.append([f"{kind}: {row.label}", f"{found}/{options.seeds}", also, seconds])
    show("Found where provoked; alarms where healthy", ["run", "found", "also said", "s a run"], table)
    targets = [
        Target(f"{kind}: {'false alarms' if kind == 'healthy' else 'found'}", hits[kind] / runs[kind],
               ALARMS if kind == "healthy" else FOUND, at_most=kind == "healthy")
        for kind in runs
    ]  # fmt: skip
    conclude(targets, options.json)


def prepared(names: set[str], folder: Path) -> Iterator[tuple[str, Dataset]]:
    """The data sets that the rows are about, by name."""
    points, digits = Preparation(size=8, channels=1), Preparation(size=16, channels=1)
    if "ring" in names:
        yield "ring", prepare_dataset(open_source("gaussian-ring", Reading(count=20_000)), points, folder, "ring")
    if "grid" in names:
        yield "grid", prepare_dataset(open_source("gaussian-grid", Reading(count=20_000)), points, folder, "grid")
    if names - {"ring", "grid"}:
        whole = train_classifier(prepare_dataset(open_source("digits"), digits, folder, "digits"))
        yield "digits", whole
        for name, count in (("few", FEW), ("handful", HANDFUL)):
            if name in names:
                yield name, few_of(whole, count, folder / f"{name}-images", digits, folder)
        if "contours" in names:
            contours = digits.model_copy(update={"pairs": "edges"})
            yield "contours", prepare_dataset(open_source("digits"), contours, folder, "contours")
        all_of_them = len(whole.split("train"))
        for name, count in (("partners", all_of_them), ("partners-few", HANDFUL), ("strangers", all_of_them)):
            if name in names:
                images = partners_of(whole, count, folder / name, of_a_class=name != "strangers")
                source = open_source(str(images), Reading(kind="pairs"))
                yield name, prepare_dataset(source, digits, folder, name)
        if "domains" in names:
            source = open_source(str(turned_of(whole, folder / "light-and-dark")), Reading(kind="domains"))
            yield "domains", train_classifier(prepare_dataset(source, digits, folder, "domains"))


def partners_of(whole: Dataset, count: int, images: Path, of_a_class: bool) -> Path:
    """The first `count` training images of `whole`, and FEW held-out ones, each beside another, of its class or any."""
    for name, split, size in (("train", whole.split("train"), count), ("val", whole.split("test"), FEW)):
        (images / name).mkdir(parents=True)
        labels = np.asarray(split.labels)
        for row in range(size):
            same = np.flatnonzero(labels == labels[row]) if of_a_class else np.arange(len(labels))
            other = same[(np.searchsorted(same, row) + len(same) // 2) % len(same)]
            both = np.concatenate([*split.take(np.array([row, other]))[..., 0]], 1)
            Image.fromarray(both).save(images / name / f"{row}.png")
    return images


def turned_of(whole: Dataset, images: Path) -> Path:
    """The images of `whole` by turns as they are (A) and as their negatives (B), splits as they are there."""
    for name, split in (("train", whole.split("train")), ("test", whole.split("test"))):
        for row in range(len(split)):
            image, place = split.take(np.array([row]))[0, ..., 0], images / f"{name}{'AB'[row % 2]}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(255 - image if row % 2 else image).save(place / f"{row}.png")
    return images


def few_of(whole: Dataset, count: int, images: Path, preparation: Preparation, folder: Path) -> Dataset:
    """The first `count` training images of `whole`, and FEW held-out ones, a folder a class."""
    for name, split, size in (("train", whole.split("train"), count), ("val", whole.split("test"), FEW)):
        labels = np.asarray(split.labels)
        for row in range(size):
            place = images / name / str(labels[row])
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(split.take(np.array([row]))[0, ..., 0]).save(place / f"{row}.png")
    return train_classifier(prepare_dataset(open_source(str(images)), preparation, folder, f"of-{count}"))


def run(row: Row, seed: int, dataset: Dataset, checkpoint: Path) -> list[Verdict]:
    """The verdicts on one training: its ticks, and an evaluation of its end."""
    recipe = find_recipe(row.recipe, [*row.overrides, f"train.seed={seed}"])
    recipe = recipe.with_overrides(f"train.tick={recipe.train.length(len(dataset.split('train'))) // TICKS}")
    trainer = Trainer(recipe, dataset, device="cpu")
    metrics: dict[str, list[tuple[int, float]]] = {}
    try:
        for tick in trainer.run():
            for name, value in tick.metrics.items():
                metrics.setdefault(name, []).append((tick.images_seen, value))
    except UserError:  # it diverged, and the last tick says so
        return diagnose(metrics, recipe)
    trainer.snapshot().write(checkpoint)
    for name, value in judge(load_sampler(checkpoint), dataset).items():
        metrics[name] = [(trainer.progress.images, value)]
    return diagnose(metrics, recipe)


if __name__ == "__main__":
    main()
