"""Images from images and from words, through every stage as a person types it: one recipe of each kind of data."""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import ray
from PIL import Image

from ganlib.evaluation.names import plain
from pipelines.shipped import find_recipe
from pipelines.tracking import HEALTH_TAG, mlflow_client
from tests.pipelines.command import gan
from tuning.record import Study

pytestmark = pytest.mark.slow

SHORT = [
    "train.batch=4", "train.images=80", "train.tick=20", "train.sample_every=40", "train.checkpoint_every=40",
    "train.evaluate_every=40", "evaluate.samples=40", "method.generator.width=8", "method.discriminator.width=8",
]  # fmt: skip
COLOURS = {"blonde": (240, 220, 130), "brown": (120, 70, 30), "black": (20, 20, 20), "blue": (40, 60, 220),
           "pink": (250, 130, 180)}  # fmt: skip


def pairs(folder: Path) -> Path:
    """Grey squares beside their negatives."""
    dice = np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 24)):
        (folder / split).mkdir(parents=True)
        for number in range(count):
            image = dice.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(np.concatenate([image, 255 - image], 1)).save(folder / split / f"{number}.png")
    return folder


def captioned(folder: Path) -> Path:
    """Squares in a colour of hair, and words that say so."""
    dice = np.random.default_rng(0)
    folder.mkdir()
    with (folder / "captions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "caption"])
        for number in range(400):
            name, colour = list(COLOURS.items())[number % len(COLOURS)]
            image = np.clip(np.array(colour) + dice.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(folder / f"{number}.png")
            table.writerow([f"{number}.png", f"long {name} hair and red eyes"])
    return folder


def digits(folder: Path) -> Path:
    """MNIST's four files, of noise."""
    dice = np.random.default_rng(0)
    folder.mkdir()
    for part, count in (("train", 80), ("t10k", 40)):
        images = dice.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", np.arange(count, dtype=np.uint8) % 10)):
            header = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
            (folder / f"{part}-{name}-ubyte").write_bytes(header + array.tobytes())
    return folder


class Case(NamedTuple):
    source: Callable[[Path], Path]
    overrides: list[str]
    metrics: set[str]
    sampled: list[str]
    """What `gan sample` is told for three images."""
    searched: str


CASES = {
    "facades": Case(
        pairs, ["data.size=32"], {"fid_patch/random", "paired/l1", "sharpness"}, ["--input", "{source}/val/0.png"],
        "method.l1=log(1, 100)",
    ),
    "hair-domains": Case(
        captioned, ["data.size=32"], {"fid_target/random", "called/classifier", "cycle/l1", "pixel_variety/pink"},
        ["--input", "{source}/0.png", "--domain", "pink"], "method.reconstruction=log(1, 20)",
    ),
    "placed-digits": Case(
        digits, ["data.size=32", "data.read.count=200"], {"agreement/classifier", "box_iou", "fid/classifier"},
        ["--text", "a seven", "--box", "0.1,0.2,0.5,0.5"], "method.latent.dim=int(8, 64)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_from_files_to_a_study(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`gan run`, the same again, health, samples, a report, and a search of what this method alone has."""
    case = CASES[name]
    source, home = case.source(tmp_path / "source"), tmp_path / "home"
    told = ["--source", source, *case.overrides, *SHORT, "--home", home]
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # where the command before this one put its records
    monkeypatch.setattr("ganlib.evaluation.classifier.IMAGES", 2_000)
    assert gan("run", name, *told) == 0
    (run,) = (home / "runs").iterdir()
    checkpoints = {path: path.stat().st_mtime_ns for path in run.glob("checkpoint-*/*")}
    assert gan("run", name, *told) == 0
    assert {path: path.stat().st_mtime_ns for path in run.glob("checkpoint-*/*")} == checkpoints

    client = mlflow_client(f"sqlite:///{home}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name(name).experiment_id
    (training,) = client.search_runs([experiment], "tags.`gan.kind` = 'training'")
    assert case.metrics <= {plain(metric) for metric in training.data.metrics}
    assert HEALTH_TAG in training.data.tags

    assert gan("health", run, "--home", home) == 0
    words = [word.format(source=source) for word in case.sampled]
    assert gan("sample", run, "-o", tmp_path / "made", "-n", 1, *words, "--home", home) == 0
    (made,) = (tmp_path / "made").glob("*.png")
    assert Image.open(made).size == (32, 32)
    assert gan("report", run, "--home", home) == 0
    assert (run / "report" / "report.html").stat().st_size > 10_000

    try:
        counts = ["--trials", 2, "--finalists", 1, "--seeds", 1, "--search", "random"]
        assert gan("tune", name, case.searched, *counts, *told) == 0
    finally:
        ray.shutdown()
    (folder,) = (home / "studies").iterdir()
    study = Study.read(folder / "study.json")
    assert [trial.status for trial in study.trials if trial.repeats is None].count("failed") == 0
    assert study.best is not None
    path = case.searched.partition("=")[0]
    found = find_recipe(str(folder / "best.yaml")).flat()[path]
    assert found == study.trials[study.best].values[path]
    assert json.loads((folder / "study.json").read_text())["ended"]
