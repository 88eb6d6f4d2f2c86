"""Batches: images/s from our dataset and from torchvision's ImageFolder with a DataLoader, on one core.

Both give shuffled float32 batches [128, 3, 64, 64] in [-1, 1] of the same pictures. ImageFolder decodes and resizes
them each time that they are wanted; we did so once, at preparation.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

from ganlib import Dataset, Preparation, open_source, prepare_dataset
from ganlib.data.batches import Batches
from tests.benchmarks.pictures import picture_folder
from tests.benchmarks.report import Target, arguments, conclude, interleaved, machine, show

BATCH, SIZE = 128, 64


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--pictures", type=int, default=4096, help="at most 12,000")
    parser.add_argument("--rounds", type=int, default=9, help="repetitions that count")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        shown = picture_folder(pictures, options.pictures)
        preparation = Preparation(size=SIZE, channels=3, test_share=0)
        dataset = prepare_dataset(open_source(pictures), preparation, Path(folder), "pictures")
        found = interleaved(
            "batches",
            {
                # A repetition of either takes a tenth of a second or a few.
                "ImageFolder and DataLoader": rate(image_folder(pictures), 4),
                "our Batches": rate(our_batches(dataset), 100),
            },
            options.rounds,
        )
    theirs, ours = found.values()
    rows = [(name, f"{value:,.0f}", f"{value / theirs:.1f}") for name, value in found.items()]
    print(machine())
    show(f"Batches of {BATCH}, {SIZE}x{SIZE}x3, {shown} of 96x96 (JPEG)", ["reader", "images/s", "ratio"], rows)
    conclude([Target("batches, ratio", ours / theirs, 30)], options.json)


def image_folder(folder: Path) -> Iterator[Tensor]:
    """Endless batches the usual way."""
    transform = Compose([Resize(SIZE), CenterCrop(SIZE), ToTensor(), Normalize([0.5] * 3, [0.5] * 3)])
    loader = DataLoader(ImageFolder(folder, transform), BATCH, shuffle=True, num_workers=0, drop_last=True)
    while True:
        for images, _ in loader:
            yield images


def our_batches(dataset: Dataset) -> Iterator[Tensor]:
    """Endless batches as training gets them."""
    batches = Batches(dataset.split("train"), BATCH, seed=0, rows=(0, BATCH))
    return (batches[index].images for index in itertools.count())


def rate(batches: Iterator[Tensor], count: int) -> Callable[[], float]:
    """Each call takes `count` batches and returns images/s."""

    def repetition() -> float:
        start = time.perf_counter()
        for images in itertools.islice(batches, count):
            assert images.shape == (BATCH, 3, SIZE, SIZE)
            assert images.dtype == torch.float32
        return count * BATCH / (time.perf_counter() - start)

    return repetition


if __name__ == "__main__":
    main()
