"""Preparation on Ray: the same bytes as in one process, and nothing left where it stops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganlib.data import Preparation, open_source, prepare_dataset
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


def test_where_too_many_are_bad_nothing_is_left(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="records cannot be used"):
        prepare_dataset(open_source(pictures), Preparation(size=512), tmp_path / "ray", "p", None, RayMapper(2))
    assert [path.name for path in (tmp_path / "ray").iterdir()] == []
