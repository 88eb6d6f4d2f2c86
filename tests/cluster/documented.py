"""The commands of README.md and infra/README.md as they are typed here: on little data, short, on the cluster at hand.

They are run in a folder that has what they name: ../shared/data/mnist, FOLDER, OTHER and facades.zip, of noise.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.documents import ROOT, lines, words_of

README, INFRA = ((ROOT / name).read_text() for name in ("README.md", "infra/README.md"))

ELSEWHERE = {
    "gan up --nodes 3": "how the cluster of this very test is started",
    "gan down": "test_local_cluster.test_down_ends_all",
    "gan train --from RUN --apply-advice": "wants a run that is ill: pipelines/test_health.py",
    'gan sample RUN -o blue.png --text "blue hair and red eyes" -n 8': "wants a run with captions: test_cli_told.py",
    "gan sample RUN -o sheet.png --input PHOTOS --domain all": "wants a run with domains: test_cli_sample.py",
}
"""Commands that are run in other tests."""

MEANT = {
    "RUN": "{run:mnist}", "RUN2": "{run:avatars}", "JOB": "{job}", "NAME": "facades", "avatars-48": "avatars",
    "workers=2": "workers=1", "workers=4": "workers=1", "data.size=256": "data.size=32",
    "s3://gan/avatars.zip": "FOLDER", "s3://BUCKET/images.zip": "FOLDER",
}  # fmt: skip
SHORT = [
    "train.images=64", "train.tick=32", "train.batch=16", "train.sample_every=64", "train.checkpoint_every=64",
    "train.evaluate_every=64", "evaluate.samples=32", "method.generator.width=8", "method.discriminator.width=8",
]  # fmt: skip
ALSO = {
    "run": SHORT,
    "train": SHORT,
    "tune": [*SHORT, "--trials", "1", "--finalists", "0", "--scheduler", "none"],
    "theory": ["train.images=6400"],
}
"""What stands behind a command: the last of an option counts."""


def commands(dashboard: str, mlflow: str) -> list[list[str]]:
    """Each of them once, in the order of the pages; jobs are stopped as soon as they are accepted."""
    every = [*lines(README), *lines(INFRA)]
    here = {**MEANT, "http://127.0.0.1:8265": dashboard, "http://127.0.0.1:5000": mlflow}
    found: list[list[str]] = []
    for command in every:
        words = [*(here.get(word, word) for word in words_of(command)), *_also(words_of(command))]
        if command not in ELSEWHERE and words not in found:
            found.append(words)
            if words[0] == "submit":
                found.append(["jobs", "stop", "{job}"])
    return found


def _also(words: list[str]) -> list[str]:
    inner = words[words.index("--") + 1 :] if "--" in words else words
    if "--add-epochs" in inner:
        return ["--add-epochs", "1"]
    if "--resume" in inner:
        return []  # a run keeps its recipe
    return ALSO.get(inner[0], [])


def lay_out(folder: Path) -> Path:
    """What the commands name, below `folder`; returns the folder to type them in."""
    here, mnist, dice = folder / "here", folder / "shared" / "data" / "mnist", np.random.default_rng(0)

    def noise(height: int, width: int) -> Image.Image:
        return Image.fromarray(dice.integers(0, 256, (height, width, 3), dtype=np.uint8))

    mnist.mkdir(parents=True)
    for part, count in (("train", 80), ("t10k", 40)):
        images = dice.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
            (mnist / f"{part}-{name}-ubyte").write_bytes(header + array.tobytes())
    for name in ("FOLDER", "OTHER"):
        (here / name).mkdir(parents=True)
        for number in range(40):
            noise(16, 16).save(here / name / f"{number}.png")
    with zipfile.ZipFile(here / "facades.zip", "w") as archive:
        for number in range(8):
            with archive.open(f"train/{number}.png", "w") as file:
                noise(16, 32).save(file, "PNG")
    return here
