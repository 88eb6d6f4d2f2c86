"""What judges drawings of texts: ink, boxes, and a reader, against loops and drawings that are right."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ganlib.data import Dataset
from ganlib.evaluation.classifier import train_classifier
from ganlib.evaluation.names import metric_value
from ganlib.evaluation.text import Described, ink_boxes, inside_boxes, intersection_over_union
from ganlib.inputs import held_out
from ganlib.methods.base import MethodConfig

from .captioned import bars


class Wants(MethodConfig):
    @property
    def wants(self) -> frozenset[str]:
        return frozenset({"captions", "boxes"})


class Copyist:
    """Draws the held-out records themselves, as their boxes say, moved to the right by so many pixels."""

    def __init__(self, dataset: Dataset, shift: int):
        split = held_out(dataset)
        self.recipe = SimpleNamespace(method=Wants())
        boxes = split.column("box")
        assert boxes is not None
        self.known = {box.tobytes(): image for box, image in zip(boxes, split.images, strict=True)}
        self.shift = shift

    def sample(self, count: int, seed: int, first: int, captions: tuple[str, ...], boxes: np.ndarray) -> np.ndarray:
        assert len(captions) == len(boxes) == count
        return np.roll(np.stack([self.known[box.tobytes()] for box in boxes]), self.shift, 2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return bars(tmp_path_factory.mktemp("judged"))


def described(dataset: Dataset, shift: int) -> Described:
    copyist: Any = Copyist(dataset, shift)
    return Described(copyist, dataset)


def test_the_box_of_the_ink_is_the_loops() -> None:
    rng = np.random.default_rng(0)
    images = (rng.random((20, 6, 10, 3)) < 0.02).astype(np.uint8) * 33
    images[0] = 32  # not ink
    found = ink_boxes(images)
    for image, box in zip(images, found, strict=True):
        ink = [(x, y) for y in range(6) for x in range(10) if image[y, x].max() > 32]
        if not ink:
            assert not box.any()
            continue
        xs, ys = [x for x, _ in ink], [y for _, y in ink]
        expected = (min(xs) / 10, min(ys) / 6, (max(xs) + 1 - min(xs)) / 10, (max(ys) + 1 - min(ys)) / 6)
        np.testing.assert_allclose(box, expected, rtol=1e-6)
    assert not found[0].any()


def test_intersection_over_union() -> None:
    a = np.array([[0, 0, 0.5, 0.5]] * 4, np.float32)
    b = np.array([[0, 0, 0.5, 0.5], [0.25, 0, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [0.25, 0.25, 0.25, 0.25]], np.float32)
    np.testing.assert_allclose(intersection_over_union(a, b), [1, 1 / 3, 0, 1 / 4])
    assert intersection_over_union(0 * a, 0 * b).tolist() == [0] * 4


def test_outside_of_the_box_is_black() -> None:
    images = np.full((1, 8, 8, 1), 9, np.uint8)
    found = inside_boxes(images, np.array([[0.25, 0.5, 0.5, 0.25]], np.float32))
    expected = np.zeros((8, 8))
    expected[4:6, 2:6] = 9
    np.testing.assert_array_equal(found[0, ..., 0], expected)
    assert (images == 9).all()


def test_drawings_in_their_boxes_and_beside_them(dataset: Dataset, tmp_path: Path) -> None:
    right = described(dataset, 0).metrics(25, 1)
    assert right == {"box_iou": pytest.approx(1), "box_iou_se": pytest.approx(0), "box_iou_real": pytest.approx(1)}
    split = held_out(dataset)
    boxes = split.column("box")
    assert boxes is not None
    # Two pixels to the right of 16: of a bar w wide w - 2 are in both, w + 2 in either. Each record comes once of ten.
    widths = np.round(boxes[:, 2] * 16)
    moved = described(dataset, 2).metrics(10, 1)
    assert moved["box_iou"] == pytest.approx(np.mean((widths - 2) / (widths + 2)))
    assert moved["box_iou_real"] == pytest.approx(1)


def test_a_reader_says_whose_caption_was_drawn(dataset: Dataset) -> None:
    judged = train_classifier(dataset)
    assert judged.manifest.classifier is not None
    right = described(judged, 0).metrics(10, 1)
    assert metric_value(right, "judge_accuracy/classifier") == judged.manifest.classifier.accuracy
    assert metric_value(right, "agreement/classifier") == metric_value(right, "agreement_real/classifier") > 0.6
    # Drawn 8 pixels aside there is nothing in the box to read, and one class at most is right by chance.
    assert metric_value(described(judged, 8).metrics(10, 1), "agreement/classifier") <= 0.4
