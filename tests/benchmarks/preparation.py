"""Preparation: images/s on Ray against a bare pool of two processes, and memory for 12 GB of pixels.

The bare pool decodes and resizes the same JPEG files with Pillow and keeps nothing; ours reads them from the zip,
hashes and writes them. Ray is started before the clock. Memory is the proportional set size (Linux: shared pages are
counted once) of this process, all below it, and Ray's own processes with their object store, seen every half second.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
import zipfile
from contextlib import suppress
from pathlib import Path

from PIL import Image

from ganlib import Preparation, open_source, prepare_dataset
from ganlib.data.reading import Reading
from pipelines.cluster import connect
from pipelines.ray_mapper import RayMapper
from tests.benchmarks.pictures import SHARED
from tests.benchmarks.report import Target, arguments, conclude, interleaved, machine, show

SIZE, WORKERS = 64, 2
LARGE, LARGE_SIZE = 60_000, 256


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="repetitions that count")
    parser.add_argument("--large", type=int, default=LARGE, help="images of 256x256 for the memory; 0 leaves it out")
    options = parser.parse_args()
    archive = SHARED / "avatars.zip"
    if not archive.is_file():
        sys.exit(f"{archive} is not there; this benchmark prepares it")
    connect(WORKERS, object_store_bytes=200 << 20)
    with tempfile.TemporaryDirectory() as folder:
        into, mapper = Path(folder), RayMapper(WORKERS)
        preparation = Preparation(size=SIZE, channels=3)
        source = open_source(archive, Reading(kind="captions"))
        images = len(source.names)

        def ours() -> float:
            start = time.perf_counter()
            dataset = prepare_dataset(source, preparation, into, "avatars", mapper=mapper)
            rate = images / (time.perf_counter() - start)
            shutil.rmtree(into)
            into.mkdir()
            assert len(dataset.manifest.shards) > WORKERS
            return rate

        with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
            found = interleaved(
                "preparation",
                {"bare pool, Pillow": lambda: bare(pool, archive), "ours, on Ray": ours},
                options.rounds,
            )
        theirs, mine = found.values()
        rows = [(name, f"{value:,.0f}", f"{value / theirs:.2f}") for name, value in found.items()]
        print(machine())
        show(f"{images:,} avatars, 96x96 JPEG to {SIZE}x{SIZE}", ["preparation", "images/s", "ratio"], rows)
        targets = [Target("preparation, ratio", mine / theirs, 0.8)]
        if options.large:
            targets.append(
                Target("memory for 12 GB of pixels, GB", large(options.large, into, mapper), 4, at_most=True)
            )
    conclude(targets, options.json)


def bare(pool: multiprocessing.pool.Pool, archive: Path) -> float:
    """Decodes and resizes every JPEG of the archive, in chunks, in two processes; returns images/s."""
    with zipfile.ZipFile(archive) as opened:
        files = [opened.read(name) for name in opened.namelist() if name.endswith(".jpg")]
    start = time.perf_counter()
    done = sum(pool.map(_resize, files, chunksize=250))
    return done / (time.perf_counter() - start)


def _resize(data: bytes) -> int:
    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS).tobytes()
    return 1


def large(count: int, into: Path, mapper: RayMapper) -> float:
    """Prepares `count` images of 256x256 that are made on the spot; returns the peak memory in GB."""
    source = open_source("random-fields", Reading(count=count))
    with Peak() as peak:
        start = time.perf_counter()
        dataset = prepare_dataset(source, Preparation(size=LARGE_SIZE, channels=3), into, "large", mapper=mapper)
        seconds = time.perf_counter() - start
    pixels = sum(shard.bytes for shard in dataset.manifest.shards) / 1e9
    what = f"{count:,} images of {LARGE_SIZE}x{LARGE_SIZE}, {pixels:.1f} GB"
    print(f"{what}, in {seconds:.0f} s; peak {peak.gigabytes:.2f} GB")
    return peak.gigabytes


class Peak:
    """The most memory that this process and all below it held while the block ran, in 10^9 bytes."""

    gigabytes = 0.0

    def __enter__(self) -> Peak:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self.gigabytes = max(self.gigabytes, held_by_all() / 1e9)


def held_by_all() -> int:
    """Bytes of proportional set size of this process, its descendants, and Ray's processes on this machine."""
    parents: dict[int, int] = {}
    family = {os.getpid()}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # The command in parentheses may hold spaces; the parent is the second word after it.
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if b"ray" in (folder / "cmdline").read_bytes():  # its daemons leave the family tree
                family.add(int(folder.name))
    for process in parents:
        line = [process]
        while line[-1] in parents:
            line.append(parents[line[-1]])
        if os.getpid() in line:
            family.add(process)
    total = 0
    for process in family:
        with suppress(OSError):
            fields = Path(f"/proc/{process}/smaps_rollup").read_text().split()
            total += int(fields[fields.index("Pss:") + 1]) * 1024
    return total


if __name__ == "__main__":
    main()
