"""What real images that no training has seen would be given: the floor beside each metric, and what memory is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ganlib.data.dataset import Dataset
from ganlib.data.sealed import UNSEALED, read_sealed, write_sealed
from ganlib.errors import UserError
from ganlib.evaluation.comparison import compare, sharpness_metrics
from ganlib.evaluation.confidence import SPLITS
from ganlib.evaluation.extractor import Extractor
from ganlib.evaluation.findings import Findings, drawn_order, halves, kept_beside, reference_findings
from ganlib.evaluation.kernel_distance import SUBSET_SEED, SUBSET_SIZE, SUBSETS
from ganlib.evaluation.memorisation import (
    LOW,
    memorisation_distance,
    memorised_share,
    memory_radius,
    mifid,
    nearest_in_pixels,
)
from ganlib.evaluation.modes import mode_metrics
from ganlib.evaluation.neighbours import DENSITY_NEIGHBOURS, PRECISION_NEIGHBOURS, nearest

MOST_REMEMBERED = 1_000
"""Images whose nearest training image is looked for, among up to half a million."""
MOST_IN_PIXELS = 250
"""Samples whose nearest training image is looked for in pixels, which are many more numbers than features are."""
MOST_PIXEL_BYTES = 1 << 30
"""Of training images among which it is, drawn: all of 60,000 of MNIST, and 87,000 of 64x64 in colour."""


@dataclass(frozen=True)
class HeldOut:
    """What real images that no training has seen have beside the training split: the test split's, `count` of them,
    drawn. Where nothing is held out, as of two plain folders, it is what `count` of one half of the training split,
    drawn too, have beside the other half; of memory they say nothing.

    floor: what `compare`, `mode_scores` and `memory` say of them, by name; of_pixels: `sharpness`, `memorised_pixels`,
    and `samples`, how many they are. radius, mifid_threshold: their `memory_radius`, and half their
    `memorisation_distance`; pixel_radius: their `memory_radius` in pixels.
    """

    floor: dict[str, float]
    of_pixels: dict[str, float]
    radius: float | None = None
    mifid_threshold: float | None = None
    pixel_radius: float | None = None

    @classmethod
    def of(cls, dataset: Dataset, extractor: Extractor, count: int, reference: Findings) -> HeldOut | None:
        """Of up to `count` images, found once and kept with the dataset. reference: of its training split.

        None where there are less than two of them.
        """
        constants = (
            *(MOST_REMEMBERED, LOW, SPLITS, PRECISION_NEIGHBOURS, DENSITY_NEIGHBOURS),
            *(SUBSETS, SUBSET_SIZE, SUBSET_SEED, MOST_PIXEL_BYTES),
        )
        place = kept_beside(dataset, extractor, f"held-out-{count}", ".json", *constants)
        try:
            kept = json.loads(read_sealed(place))
            kept.pop("sha256", None)
            return cls(**kept)
        except (UserError, ValueError, TypeError, AttributeError):
            pass  # not there yet, or not whole
        held = len(dataset.split("test")) > 1
        if count < 2 or (not held and len(dataset.split("train")) < 4):
            return None
        if held:
            found = cls._of_test(dataset, extractor, count, reference)
        else:
            found = cls(*_floors(*halves(dataset, extractor, count), extractor))
        write_sealed(place, json.dumps(UNSEALED | asdict(found)).encode())
        return found

    @classmethod
    def _of_test(cls, dataset: Dataset, extractor: Extractor, count: int, reference: Findings) -> HeldOut:
        images, test = reference_findings(dataset, extractor, "test", count), dataset.split("test")
        floor, of_pixels = _floors(images, reference, extractor)
        few = images.features[:MOST_REMEMBERED]
        apart = nearest(few, reference.features)[0]
        radius, pixel_radius = memory_radius(apart), None
        # Its own distance is not below half of itself: there is no penalty.
        floor |= {"memorised": memorised_share(apart, radius).value, "mifid": floor["fid"]}
        if dataset.split("train").local:  # from an object store all would come over at each evaluation
            apart = _nearest_in_pixels(test.take(drawn_order(dataset, "test")[: len(few)]), dataset)
            pixel_radius = memory_radius(apart)
            of_pixels["memorised_pixels"] = memorised_share(apart, pixel_radius).value
        return cls(floor, of_pixels, radius, memorisation_distance(few, reference.features) / 2, pixel_radius)

    def memory(self, metrics: Mapping[str, float], found: Findings, reference: Findings) -> dict[str, float]:
        """Of `found`, whose `fid` and `fid_se` are in `metrics`: `memorised`, `memorised_share` of the first samples;
        `mifid`, its threshold being half of what real is at; and their standard errors, `mifid`'s with the penalty as
        it is, so the distance's alone. {} where nothing is held out.
        """
        if self.radius is None or self.mifid_threshold is None:
            return {}
        few = found.features[:MOST_REMEMBERED]
        distance = memorisation_distance(few, reference.features)
        memorised = memorised_share(nearest(few, reference.features)[0], self.radius)
        said = {
            "memorised": memorised.value,
            "memorised_se": memorised.error,
            "mifid": mifid(metrics["fid"], distance, self.mifid_threshold),
        }
        if "fid_se" in metrics:
            said["mifid_se"] = mifid(metrics["fid_se"], distance, self.mifid_threshold)
        return said

    def memory_of_pixels(self, images: NDArray[np.uint8], dataset: Dataset) -> dict[str, float]:
        """`memorised_pixels`, the `memorised_share` of samples uint8 [n, H, W, C] in pixels, by the same rule as in
        features, and `memorised_pixels_se`. {} where nothing is held out, or the training split on no disk here."""
        if self.pixel_radius is None:
            return {}
        memorised = memorised_share(_nearest_in_pixels(images, dataset), self.pixel_radius)
        return {"memorised_pixels": memorised.value, "memorised_pixels_se": memorised.error}


def _nearest_in_pixels(images: NDArray[np.uint8], dataset: Dataset) -> NDArray[np.float64]:
    """float64 [n]: how far each image is from the nearest of the training images, of `MOST_PIXEL_BYTES` of them."""
    among = drawn_order(dataset, "train")[: MOST_PIXEL_BYTES // images[0].nbytes]
    return nearest_in_pixels(images, dataset.split("train").take, np.sort(among))[0]


def _floors(images: Findings, beside: Findings, extractor: Extractor) -> tuple[dict[str, float], dict[str, float]]:
    """What real `images` have beside others: by their features, and of their pixels alone."""
    floor = compare(images, beside)
    if extractor.knows_classes:
        floor |= mode_metrics(images, beside)
    return floor, {"samples": float(images.statistics.count), **sharpness_metrics(images, beside)}
