"""Preparation on Ray: the same bytes as in one process, and nothing left where it stops."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganlib.data import Preparation, open_source, prepare_dataset
from ganlib.data.plan import ShardTask
from ganlib.data.shard_writer import ShardOutcome, ShardWriter
from ganlib.data.storage import Location
from ganlib.errors import UserError
from pipelines.cluster import connect
from pipelines.ray_mapper import RayMapper

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    import ray

    connect(2, object_store_bytes=200 << 20)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures of 40x32, of which four cannot be read."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index in range(40):
        path = folder / f"{index:02d}.png"
        Image.fromarray(rng.integers(0, 256, (32, 40, 3), dtype=np.uint8)).save(path)
        if index % 10 == 3:
            path.write_bytes(path.read_bytes()[:100])
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_two_processes_write_the_bytes_of_one(pictures: Path, tmp_path: Path) -> None:
    # Large pictures make many shards of few.
    preparation = Preparation(size=512, channels=3, max_bad=0.2)
    alone = prepare_dataset(open_source(pictures), preparation, tmp_path / "alone", "p")
    said: list[tuple[int, int]] = []
    together = prepare_dataset(
        open_source(pictures), preparation, tmp_path / "ray", "p", lambda *done: said.append(done), RayMapper(2)
    )
    # 16 MiB hold 21 pictures of 768 KiB.
    assert len(alone.manifest.shards) >= 2
    assert alone.manifest.skipped_count == 4
    assert files(alone.path) == files(together.path)
    assert said[-1] == (40, 40)


@dataclass(frozen=True)
class Elsewhere(ShardWriter):
    """Writes to another folder, as a node does whose home is a disk of its own."""

    disk: str = ""

    def __call__(self, task: ShardTask) -> ShardOutcome:
        return ShardWriter(self.source, self.preparation, self.layout, Location.of(self.disk))(task)


def test_nodes_that_share_no_home_are_said(pictures: Path, tmp_path: Path) -> None:
    def on_other_disks(writer: ShardWriter, tasks: Sequence[ShardTask]) -> Iterator[ShardOutcome]:
        fields = (writer.source, writer.preparation, writer.layout, writer.staging)
        return RayMapper(2)(Elsewhere(*fields, disk=str(tmp_path / "other")), tasks)

    home, preparation = tmp_path / "home", Preparation(size=64, max_bad=0.2)
    line = f"a node of the cluster wrote a shard that is not in {home} here: .* all nodes share .*--home.*--store"
    with pytest.raises(UserError, match=line) as caught:
        prepare_dataset(open_source(pictures), preparation, home, "p", None, on_other_disks)
    assert "\n" not in str(caught.value)


def test_nodes_that_have_no_such_source_are_said(pictures: Path, tmp_path: Path) -> None:
    """And it is no matter of bad records, in whichever share."""
    shutil.copytree(pictures, tmp_path / "pictures")
    source = open_source(tmp_path / "pictures")
    (tmp_path / "pictures").rename(tmp_path / "moved")  # as from another machine it is not there
    line = f"a node of the cluster .* has no {tmp_path}/pictures: keep the source in a folder that all nodes share"
    with pytest.raises(UserError, match=line):
        prepare_dataset(source, Preparation(size=64, max_bad=0.99), tmp_path / "home", "p", None, RayMapper(2))


def test_where_too_many_are_bad_nothing_is_left(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="records cannot be used"):
        prepare_dataset(open_source(pictures), Preparation(size=512), tmp_path / "ray", "p", None, RayMapper(2))
    assert [path.name for path in (tmp_path / "ray").iterdir()] == []
