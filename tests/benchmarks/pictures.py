"""The photographs that benchmarks are fed: real avatars where they are at hand, else pictures made of noise."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
"""Real data, beside the repository (README there); absent from a fresh clone."""


def picture_folder(folder: Path, count: int) -> str:
    """Fills `folder/images` with `count` JPEGs of 96x96 (at most 12,000) and says what they show."""
    (folder / "images").mkdir(parents=True)
    archive = SHARED / "avatars.zip"
    if archive.is_file():
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder, [name for name in opened.namelist() if name.endswith(".jpg")][:count])
        return f"{count:,} avatars"
    random = np.random.default_rng(0)
    for number in range(count):
        # As blurred as makes a file of the avatars' size (5 to 6 kB), which takes about as long to decode.
        small = Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        small.resize((96, 96), Image.Resampling.BICUBIC).save(folder / "images" / f"{number}.jpg", quality=85)
    return f"{count:,} pictures of noise"
