"""The contact sheet, by its pixels: images of known colours, marks and words where a record has them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ganlib import Preparation, prepare_dataset
from ganlib.contact_sheet import CELL, GAP, LINE, MARK, contact_sheet
from ganlib.data import Columns, plan
from ganlib.data.shards import LoadedShard, ShardReader
from ganlib.data.sources.base import Record
from ganlib.errors import UserError
from tests.s3 import s3_folder  # noqa: F401

from .data.list_source import ListSource, noise

WHITE, GREEN, BLUE = (255, 255, 255), (0, 200, 0), (0, 0, 200)


def plain(colour: tuple[int, int, int], side: int = 16) -> Image.Image:
    return Image.new("RGB", (side, side), colour)


def sheet(
    folder: Path, records: Mapping[str, Record], columns: Columns, size: int = 16, count: int = 1
) -> NDArray[np.uint8]:
    """The pixels of the sheet of these records, all of them training's."""
    source = ListSource(records, columns, {"train": range(len(records)), "test": range(0)})
    dataset = prepare_dataset(source, Preparation(size=size, channels=3), folder, "sheet")
    return np.asarray(Image.open(io.BytesIO(contact_sheet(dataset, "train", count))).convert("RGB"))


def test_an_image_is_enlarged_by_a_whole_factor_and_framed(tmp_path: Path) -> None:
    found = sheet(tmp_path, {"a": Record(plain(GREEN))}, Columns())
    side = 16 * 7  # 112 pixels
    assert found.shape == (side + 2 * GAP, side + 2 * GAP, 3)
    assert (found[GAP:-GAP, GAP:-GAP] == GREEN).all()
    assert (found[:GAP] == WHITE).all()
    assert (found[:, -GAP:] == WHITE).all()


def test_a_large_image_is_averaged_down(tmp_path: Path) -> None:
    stripes = np.zeros((224, 224, 3), np.uint8)
    stripes[::2] = 200
    found = sheet(tmp_path, {"a": Record(Image.fromarray(stripes))}, Columns(), size=224)
    assert found.shape == (CELL + 2 * GAP, CELL + 2 * GAP, 3)
    assert (found[GAP:-GAP, GAP:-GAP] == 100).all()


def test_a_partner_stands_to_the_right(tmp_path: Path) -> None:
    record = Record(plain(GREEN), partner=plain(BLUE))
    found = sheet(tmp_path, {"a": record}, Columns(partner=True))
    assert (found[GAP:-GAP, GAP : GAP + 112] == GREEN).all()
    assert (found[GAP:-GAP, GAP + 112 : -GAP] == BLUE).all()


def test_boxes_and_seen_keypoints_are_drawn(tmp_path: Path) -> None:
    points = np.array([[0.25, 0.75, 1], [0, 0, 0]], np.float32)
    # In the picture's pixels: from (4, 2), 8 wide and 4 high, of 16.
    record = Record(plain(GREEN), box=(4, 2, 8, 4), keypoints=np.array([[4, 12, 1], [0, 0, 0]], np.float32))
    found = sheet(tmp_path, {"a": record}, Columns(boxes=True, keypoint_names=["eye", "ear"]))[GAP:-GAP, GAP:-GAP]
    left, top, right, bottom = 28, 14, 84, 42
    for line in (found[top, left:right], found[bottom, left:right], found[top:bottom, left], found[top:bottom, right]):
        assert (line == MARK).all()
    assert (found[top + 1 : bottom, left + 1 : right] == GREEN).all()
    across, down = points[0, :2] * 112
    assert tuple(found[int(down), int(across)]) == MARK
    assert (found[:10, :10] == GREEN).all()  # the keypoint that is not seen


def test_words_stand_below_and_make_room(tmp_path: Path) -> None:
    columns = Columns(class_names=["cat", "dog"], domain_names=["wet", "old"], captions=True)
    record = Record(plain(GREEN), label=1, domains=(1, 0), captions=("a wet dog",))
    found = sheet(tmp_path, {"a": record}, columns)
    assert found.shape[0] == 112 + 2 * GAP + 3 * LINE
    for line in range(3):
        rows = found[GAP + 112 + line * LINE : GAP + 112 + (line + 1) * LINE]
        assert (rows != WHITE).any()


def test_a_split_without_images_is_said(tmp_path: Path) -> None:
    source = ListSource({"a": Record(plain(GREEN))}, Columns(), {"train": range(1), "test": range(0)})
    dataset = prepare_dataset(source, Preparation(size=16, channels=3), tmp_path, "sheet")
    with pytest.raises(UserError, match="dataset sheet has no test images to show"):
        contact_sheet(dataset, "test", 4)


def test_of_a_store_each_shard_is_fetched_once_and_shows_what_a_disk_s_does(
    tmp_path: Path,
    s3_folder: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan, "SHARD_BYTES", 4 * 3 * 8 * 8 * 2)  # four pairs
    columns = Columns(
        class_names=["cat", "dog"],
        domain_names=["wet", "old"],
        captions=True,
        boxes=True,
        keypoint_names=["eye"],
        partner=True,
    )
    records = {
        f"{row:02d}": Record(
            noise(row),
            partner=noise(100 + row),
            label=row % 2,
            domains=(row % 3 // 2, row % 2),
            captions=(f"number {row}",),
            box=(1, 1, 2 + row % 4, 3),
            keypoints=np.array([[row % 8, 2, 1]], np.float32),
        )
        for row in range(40)
    }
    source = ListSource(records, columns, {"train": range(40), "test": range(0)})
    here, there = (prepare_dataset(source, Preparation(size=8), into, "sheet") for into in (tmp_path, s3_folder))
    assert len(there.manifest.shards) == 10
    fetched, load = [], ShardReader.load

    def counted(self: ShardReader) -> LoadedShard:
        fetched.append(self.start)
        return load(self)

    monkeypatch.setattr(ShardReader, "load", counted)
    sheet = contact_sheet(there, "train", 24)
    assert fetched == list(range(0, 40, 4))
    assert sheet == contact_sheet(here, "train", 24)
