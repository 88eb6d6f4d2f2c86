"""The picture that a run draws, by what its generator is told, read back pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganlib.data import Columns, Dataset, Preparation, Split, prepare_dataset
from ganlib.data.reading import Reading
from ganlib.data.sources import open_source
from ganlib.data.sources.base import Record
from ganlib.inputs import held_out, held_out_rows
from ganlib.pictures import scatter
from ganlib.sampling import Sampler
from ganlib.sheets import MARK, sheet
from tests.ganlib.data.list_source import ListSource
from tests.painter import PainterConfig, painting

COUNT = 10


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Ten pictures, each of one grey, 16x16: in domain i mod 3, a caption of i + 1 letters, a box, two keypoints."""
    return prepared(tmp_path_factory.mktemp("sheets"), exclusive=True)


def prepared(folder: Path, exclusive: bool) -> Dataset:
    records: dict[str, Record | str] = {}
    for i in range(COUNT):
        domains = np.eye(3, dtype=int)[i % 3]
        records[f"{i:02d}"] = Record(
            Image.new("L", (16, 16), 20 + 10 * i),
            domains=tuple((domains if exclusive else 1 - domains).tolist()),
            captions=("x" * (i + 1),),
            box=(4, 8, 8, 4),
            keypoints=np.array([[4, 4, 1], [0, 0, 0]], np.float32),
        )
    columns = Columns(
        domain_names=["one", "two", "three"], captions=True, boxes=True, keypoint_names=["here", "nowhere"]
    )
    preparation = Preparation(size=16, channels=1, test_share=0)
    return prepare_dataset(ListSource(records, columns), preparation, folder, "told")


def drawn(sampler: Sampler, dataset: Dataset) -> np.ndarray:
    return np.asarray(sheet(sampler.recipe, dataset, sampler.sample))


def rows_of(dataset: Dataset, count: int) -> list[int]:
    return [int(row) for row in held_out_rows(dataset, count)]


def test_told_nothing_it_is_a_grid_of_64(dataset: Dataset) -> None:
    picture = drawn(painting(), dataset)
    assert picture.shape == ((8 * 18 + 2) * 4,) * 2
    cells = picture[::4, ::4]
    assert [cells[2 + 18 * (i // 8), 3 + 18 * (i % 8)] for i in range(64)] == list(range(64))


def test_points_are_a_cloud_before_the_data(tmp_path: Path) -> None:
    source = open_source("gaussian-ring", Reading(count=300))
    points = prepare_dataset(source, Preparation(size=8, channels=1), tmp_path, "ring")
    made = np.random.default_rng(0).normal(size=(2000, 1, 2, 1)).astype(np.float32)
    data = points.split("train")
    expected = np.asarray(scatter(made, data.take(np.arange(min(len(data), 2000)))))
    recipe = painting(points=2).recipe
    np.testing.assert_array_equal(np.asarray(sheet(recipe, points, lambda count: made[:count])), expected)


def test_inputs_stand_before_what_is_made_of_them_and_what_should_be(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = drawn(painting(("inputs",)), dataset)[::4, ::4]
    assert picture.shape == (8 * 18 + 2, 8 * 18 + 2)
    greys = [20 + 10 * row for row in rows_of(dataset, 32)]  # of ten records, more than once
    cells = [picture[12 + 18 * (i // 8), 12 + 18 * (i % 8)] for i in range(64)]
    assert cells == [grey for grey in greys for _ in range(2)]
    assert [picture[2 + 18 * (i // 4), 20 + 36 * (i % 4) + 1] for i in range(32)] == list(range(32))  # indices: made

    def truth(self: PainterConfig, split: Split, rows: np.ndarray) -> np.ndarray:
        return 255 - split.take(rows)

    monkeypatch.setattr(PainterConfig, "truth", truth)
    picture = drawn(painting(("inputs",)), dataset)[::4, ::4]
    assert picture.shape == (8 * 18 + 2, 12 * 18 + 2)
    cells = [picture[12 + 18 * (i // 12), 12 + 18 * (i % 12)] for i in range(96)]
    assert cells == [value for grey in greys for value in (grey, grey, 255 - grey)]


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_row_an_image_and_a_column_a_domain(exclusive: bool, tmp_path: Path) -> None:
    """The target is the domain alone where each record is in one; else the record's own with that one turned."""
    dataset = prepared(tmp_path, exclusive)
    picture = drawn(painting(("inputs", "domains"), domains=3), dataset)
    assert picture.shape == (12 + (8 * 18 + 2) * 4, (4 * 18 + 2) * 4, 3)
    assert (picture[:12] < 128).any()  # the domains' names
    cells = picture[12::4, ::4, 0]
    for place, row in enumerate(rows_of(dataset, 8)):
        assert (cells[2 + 18 * place : 18 + 18 * place, 2:18] == 20 + 10 * row).all()
        for column in range(3):
            target = np.eye(3, dtype=int)[column]
            if not exclusive:
                own = 1 - np.eye(3, dtype=int)[row % 3]
                target = (own + target) % 2
            found = cells[3 + 18 * place, 20 + 18 * column : 23 + 18 * column]
            assert found.tolist() == target.tolist()
            assert cells[12 + 18 * place, 30 + 18 * column] == 20 + 10 * row


def test_a_row_a_caption_and_the_same_noise_down_a_column(dataset: Dataset) -> None:
    picture = drawn(painting(("captions",)), dataset)
    assert picture.shape == ((8 * 18 + 2) * 4, 132 + (8 * 18 + 2) * 4, 3)
    cells = picture[::4, 132::4, 0]
    for place, row in enumerate(rows_of(dataset, 8)):
        written = (picture[72 * place : 72 * place + 72, :132] < 128).any((0, 2))
        assert written.any()
        # The longer the caption, the farther it reaches: from 4 pixels on, some 3 to 8 a letter.
        assert 4 + 3 * (row + 1) <= np.flatnonzero(written).max() + 2 <= 6 + 8 * (row + 1)
        for column in range(8):
            told = cells[2 + 18 * place, 2 + 18 * column : 6 + 18 * column]
            assert told.tolist() == [0, column, 0, row + 1]  # seed, index, no label, the caption's length


def test_boxes_and_parts_are_drawn_thin(dataset: Dataset) -> None:
    """16 pixels are 64: the box (4, 8, 8, 4) is from x 16 to 47, y 32 to 47, the part at (4, 4) at 16, 16."""
    picture = drawn(painting(("captions", "boxes", "keypoints"), keypoints=2), dataset)
    assert picture.shape == (8 * 66 + 2, 132 + 8 * 66 + 2, 3)
    for row, column in ((0, 0), (3, 7)):
        cell = picture[2 + 66 * row : 66 + 66 * row, 134 + 66 * column : 198 + 66 * column]
        marked = (cell == MARK).all(-1)
        outline = np.zeros((64, 64), bool)
        outline[32:48, 16:48] = True
        outline[33:47, 17:47] = False
        np.testing.assert_array_equal(marked[24:], outline[24:])
        assert np.argwhere(marked[:24]).mean(0).tolist() == [16, 16]
        assert 9 <= marked[:24].sum() <= 25
        assert cell[60, 60].tolist() == [100] * 3  # what is painted, elsewhere
    # Of boxes alone there are no words to the left.
    assert drawn(painting(("boxes",)), dataset).shape == (8 * 66 + 2, 8 * 66 + 2, 3)
    assert len(held_out(dataset)) == COUNT
