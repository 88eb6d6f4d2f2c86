"""Batches: images/s from our dataset, resident and streamed, and from torchvision's ImageFolder with a DataLoader.

All give shuffled float32 batches [128, 3, 64, 64] in [-1, 1] of the same pictures. ImageFolder decodes and resizes them
each time that they are wanted, with its DataLoader in this process or in 2 workers; we did so once, at preparation. To
2 workers is compared what 2 threads of ours make, as a training on as many cores has them; to one process one thread.
Streamed reads every shard again each epoch, from the disk's cache, two windows of the dataset being less than half of
it. What streaming takes of memory is measured at the window that is its default, on a dataset of which it holds a
third, in a process of its own: its peak, less what it was before the first batch. Opening is that of 70,000 images of
28x28, manifest read and all shards mapped and checked, likewise: the first time in the process, and the median of those
after it.
"""

from __future__ import annotations

import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

from ganlib import Dataset, Preparation, open_source, prepare_dataset
from ganlib.allocator import keep_freed_memory
from ganlib.data import Columns, Source
from ganlib.data.batches import Batches, open_batches
from ganlib.data.sources.base import Record
from ganlib.data.streamed import WINDOW_BYTES, StreamedBatches
from ganlib.files import canonical_digest
from tests.benchmarks.pictures import picture_folder
from tests.benchmarks.report import Target, arguments, conclude, interleaved, machine, show

BATCH, SIZE = 128, 64
IMAGE_BYTES = SIZE * SIZE * 3
SETTLE_SECONDS = 1.0


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--pictures", type=int, default=8192, help="at most 12,000")
    parser.add_argument("--rounds", type=int, default=9, help="repetitions that count")
    options = parser.parse_args()
    keep_freed_memory()  # as the trainer does, here for all of them
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder)
        pictures = into / "pictures"
        shown = picture_folder(pictures, options.pictures)
        preparation = Preparation(size=SIZE, channels=3, test_share=0)
        dataset = prepare_dataset(open_source(pictures), preparation, into, "pictures")
        split = dataset.split("train")
        window = max(len(split) * IMAGE_BYTES // 5, 1)
        contestants = {
            # A repetition of each takes a tenth of a second or a few.
            "ImageFolder and DataLoader": rate(image_folder(pictures, workers=0), 4),
            "ImageFolder and DataLoader, 2 workers": rate(image_folder(pictures, workers=2), 16, ahead=2 * 2),
        }
        for threads in (1, 2):
            streamed = StreamedBatches(split, BATCH, 0, (0, BATCH), window_bytes=window)
            resident = open_batches(split, BATCH, 0, (0, BATCH), loading="resident")
            for loading, batches in {"streamed": streamed, "resident": resident}.items():
                contestants[f"ours, {loading}, {threads} thread{'s' * (threads > 1)}"] = rate(
                    endless(batches), 100, threads=threads
                )
        found = interleaved("batches", contestants, options.rounds)
        taken = streaming_memory(into)
        opened_first, opened = opening(into, options.rounds)
    alone, workers, streamed_alone, resident_alone, streamed_by_two, resident_by_two = found.values()
    rows = [(name, f"{value:,.0f}", f"{value / alone:.1f}", f"{value / workers:.1f}") for name, value in found.items()]
    print(machine())
    columns = ["reader", "images/s", "over one process", "over 2 workers"]
    show(f"Batches of {BATCH}, {SIZE}x{SIZE}x3, {shown} of 96x96 (JPEG)", columns, rows)
    targets = [
        Target("batches, streamed, one thread to 2 workers", streamed_alone / workers, 15),
        Target("batches, resident, one thread to 2 workers", resident_alone / workers, 30),
        Target("batches, streamed, 2 threads to 2 workers", streamed_by_two / workers, 15),
        Target("batches, resident, 2 threads to 2 workers", resident_by_two / workers, 30),
        Target("batches, resident, one thread to one process", resident_alone / alone, 30),
        Target("batches, streamed, MB of memory", taken / 1e6, 300, at_most=True),
        Target("opening 70,000 images, first in a process, ms", opened_first * 1e3, 50, at_most=True),
        Target("opening 70,000 images, again, ms", opened * 1e3, 50, at_most=True),
    ]
    conclude(targets, options.json)


def image_folder(folder: Path, workers: int) -> Iterator[Tensor]:
    """Endless batches the usual way."""
    transform = Compose([Resize(SIZE), CenterCrop(SIZE), ToTensor(), Normalize([0.5] * 3, [0.5] * 3)])
    loader = DataLoader(
        ImageFolder(folder, transform),
        BATCH,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        persistent_workers=workers > 0,
    )
    while True:
        for images, _ in loader:
            yield images


def endless(batches: Batches) -> Iterator[Tensor]:
    """Endless batches as training gets them."""
    return (batches[index].images for index in itertools.count())


def rate(batches: Iterator[Tensor], count: int, ahead: int = 0, threads: int = 1) -> Callable[[], float]:
    """Each call takes `count` batches, by so many of torch's threads, and returns images/s.

    ahead: batches that workers make while nobody asks. They are taken before the clock starts, and are there again
    before anyone else is measured, who would share the cores with those workers otherwise.
    """

    def repetition() -> float:
        torch.set_num_threads(threads)
        deque(itertools.islice(batches, ahead), maxlen=0)
        start = time.perf_counter()
        for images in itertools.islice(batches, count):
            assert images.shape == (BATCH, 3, SIZE, SIZE)
            assert images.dtype == torch.float32
        seconds = time.perf_counter() - start
        time.sleep(SETTLE_SECONDS if ahead else 0)
        return count * BATCH / seconds

    return repetition


class Noise(Source):
    """`count` images of noise, given a block at a time."""

    kind = name = "noise"

    def __init__(self, count: int) -> None:
        self._names = [f"{number:06d}" for number in range(count)]

    @property
    def columns(self) -> Columns:
        return Columns()

    @property
    def names(self) -> Sequence[str]:
        return self._names

    def fingerprint(self) -> str:
        return canonical_digest(len(self._names))

    def read(self, index: int) -> Record:
        return Record(Image.fromarray(self.block(range(index, index + 1), (SIZE, SIZE, 3))[0]))

    def block(self, rows: range, image_shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        return np.random.default_rng(rows.start).integers(0, 256, (len(rows), *image_shape), dtype=np.uint8)


def streaming_memory(into: Path) -> int:
    """Bytes that an epoch of streaming takes at its peak, from a dataset of six of its windows."""
    source = Noise(6 * WINDOW_BYTES // IMAGE_BYTES)
    dataset = prepare_dataset(source, Preparation(size=SIZE, channels=3, test_share=0), into, "noise")
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(_peak_of_an_epoch, (dataset.path,))


def _peak_of_an_epoch(path: Path) -> int:
    torch.set_num_threads(1)
    split = Dataset.open(path).split("train")
    torch.zeros(BATCH, 3, SIZE, SIZE).mul_(2).sub_(1)  # what torch sets up once
    before = _memory("VmRSS")
    batches = open_batches(split, BATCH, 0, (0, BATCH), loading="streamed")
    for index in range(batches.per_epoch):
        batches[index]
    return _memory("VmHWM") - before


def opening(into: Path, rounds: int) -> tuple[float, float]:
    """Seconds that opening 70,000 images of 28x28 takes: the first time in a process, and the median of the others."""
    preparation = Preparation(size=28, channels=1, test_share=0)
    dataset = prepare_dataset(Noise(70_000), preparation, into, "opened")
    with multiprocessing.get_context("spawn").Pool(1) as process:
        first, *others = process.apply(_openings, (dataset.path, rounds + 1))
    return first, statistics.median(others)


def _openings(path: Path, count: int) -> list[float]:
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        split = Dataset.open(path).split("train")
        seconds.append(time.perf_counter() - start)
        assert len(split) == 70_000
    return seconds


def _memory(field: str) -> int:
    """Bytes, of /proc/self/status: resident now (VmRSS), or at most so far (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


if __name__ == "__main__":
    main()
