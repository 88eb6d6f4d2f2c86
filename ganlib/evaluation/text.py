"""Judging a generator that is told what to draw, and where: whether that is what it drew, and there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganlib.data.dataset import Dataset
from ganlib.evaluation.classifier import judged_truth, load_classifier, read_by
from ganlib.evaluation.confidence import Estimate
from ganlib.evaluation.names import label_of
from ganlib.evaluation.samples import BLOCK
from ganlib.inputs import held_out, held_out_rows
from ganlib.sampling import Sampler

INK = 32
"""What is brighter is ink, as the source of placed digits counts it (data/sources/mnist_scenes.py)."""


class Described:
    """Samples for what the records of a dataset's held-out split say (captions, boxes, keypoints), in a seed's order.

    Past the last of the records they come again, with other noise: samples for `evaluate`.
    """

    def __init__(self, sampler: Sampler, dataset: Dataset):
        self.sampler, self.dataset, self._split = sampler, dataset, held_out(dataset)

    def told(self, count: int, seed: int = 0, first: int = 0) -> tuple[dict[str, Any], NDArray[np.int64]]:
        """What is told of samples `first ...`, and the rows of the records that say so."""
        rows = held_out_rows(self.dataset, count, seed, first)
        return self.sampler.recipe.method.told(self._split, rows), rows

    def sample(self, count: int, seed: int = 0, first: int = 0) -> NDArray[np.uint8]:
        """uint8 [count, H, W, C]."""
        return self.sampler.sample(count, seed, first, **self.told(count, seed, first)[0])

    def metrics(self, count: int, seed: int) -> dict[str, float]:
        """What can be told of `count` samples.

        Where the dataset has a classifier (trained apart, on real images), of label E: `agreement/E`, the share whose
        class (of attributes: the share of these that), as it reads them, is their record's; `agreement_real/E`, the
        same of the records' own images, the most that it could be; `judge_accuracy/E`, its accuracy on all held-out
        images. Where records have boxes, all that is outside them is blackened before it reads.
        Where records have boxes: `box_iou`, the mean intersection over union of the asked-for box with the one about
        what is drawn; and `box_iou_real`. `agreement_se/E`, `box_iou_se`: standard errors.
        """
        record = self.dataset.manifest.classifier
        judge = load_classifier(self.dataset) if record is not None else None
        label = label_of("classifier", record.sha256) if record is not None else ""
        boxes, classes = self._split.column("box"), _classes(self.dataset)
        values: dict[str, list[NDArray[np.float64]]] = {}
        for first in range(0, count, BLOCK):
            size = min(BLOCK, count - first)
            told, rows = self.told(size, seed, first)
            made = self.sampler.sample(size, seed, first, **told)
            for suffix, images in (("", made), ("_real", self._split.take(rows))):
                if boxes is not None:
                    overlap = intersection_over_union(ink_boxes(images), boxes[rows])
                    values.setdefault(f"box_iou{suffix}", []).append(overlap)
                    images = inside_boxes(images, boxes[rows])
                if judge is not None and classes is not None:
                    right = (read_by(judge, self.dataset, images) == classes[rows]).reshape(size, -1).mean(1)
                    values.setdefault(f"agreement{suffix}/{label}", []).append(right)
        found: dict[str, float] = {}
        for name, each in values.items():
            estimate, (family, slash, rest) = Estimate.of(np.concatenate(each)), name.partition("/")
            found[name] = estimate.value
            if not family.endswith("_real") and count > 1:
                found[f"{family}_se{slash}{rest}"] = estimate.error
        if record is not None:
            found[f"judge_accuracy/{label}"] = record.accuracy
        return found


def ink_boxes(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [n, H, W, C] -> float32 [n, 4], the least box about what is brighter than INK in any channel.

    x, y, width, height as shares of the sides; all 0 where there is no ink.
    """
    ink: NDArray[np.bool_] = np.any(images > INK, axis=3)
    found = np.zeros((len(images), 4), np.float32)
    for axis, side in ((0, images.shape[2]), (1, images.shape[1])):
        there: NDArray[np.bool_] = np.any(ink, axis=1 + axis)  # along x: the columns with ink; along y: the rows
        first, last = there.argmax(1), side - there[:, ::-1].argmax(1)
        some = np.any(there, axis=1)
        found[:, axis] = np.where(some, first / side, 0)
        found[:, axis + 2] = np.where(some, (last - first) / side, 0)
    return found


def intersection_over_union(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of boxes [n, 4] (x, y, width, height), row by row: float64 [n] in [0, 1]; 0 where both are of no size."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    first, last = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    common = (last - first).clip(min=0).prod(1)
    union = a[:, 2:].prod(1) + b[:, 2:].prod(1) - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def inside_boxes(images: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A copy, black wherever the middle of a pixel is outside its image's box."""
    height, width = images.shape[1:3]
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    across = (x >= boxes[:, :1]) & (x < boxes[:, :1] + boxes[:, 2:3])
    down = (y >= boxes[:, 1:2]) & (y < boxes[:, 1:2] + boxes[:, 3:])
    return images * (down[:, :, None] & across[:, None, :])[..., None]


def _classes(dataset: Dataset) -> NDArray[np.int64] | None:
    """Of the held-out records what their classifier should say (`judged_truth`); None where there is nothing to say."""
    there = dataset.judged_names or dataset.attribute_names
    return judged_truth(dataset, held_out(dataset)) if there else None
