"""What real images that no training has seen would be given: the floor beside each metric, and what memory is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass

from ganlib.data.dataset import Dataset
from ganlib.errors import UserError
from ganlib.evaluation.comparison import compare, sharpness_metrics
from ganlib.evaluation.confidence import SPLITS
from ganlib.evaluation.extractor import Extractor
from ganlib.evaluation.findings import Findings, halves, kept_beside, reference_findings
from ganlib.evaluation.kernel_distance import SUBSET_SEED, SUBSET_SIZE, SUBSETS
from ganlib.evaluation.memorisation import LOW, memorisation_distance, memorised_share, memory_radius, mifid
from ganlib.evaluation.modes import mode_metrics
from ganlib.evaluation.neighbours import DENSITY_NEIGHBOURS, PRECISION_NEIGHBOURS, nearest

MOST_REMEMBERED = 1_000
"""Images whose nearest training image is looked for, among up to half a million."""


@dataclass(frozen=True)
class HeldOut:
    """What real images that no training has seen have beside the training split: the test split's, `count` of them,
    drawn. Where nothing is held out, as of two plain folders, it is what `count` of one half of the training split,
    drawn too, have beside the other half; of memory they say nothing.

    floor: what `compare`, `mode_scores` and `memory` say of them, by name; of_pixels: `sharpness`, and `samples`, how
    many they are. radius, mifid_threshold: their `memory_radius`, and half their `memorisation_distance`.
    """

    floor: dict[str, float]
    of_pixels: dict[str, float]
    radius: float | None = None
    mifid_threshold: float | None = None

    @classmethod
    def of(cls, dataset: Dataset, extractor: Extractor, count: int, reference: Findings) -> HeldOut | None:
        """Of up to `count` images, found once and kept with the dataset. reference: of its training split.

        None where there are less than two of them.
        """
        constants = (
            *(MOST_REMEMBERED, LOW, SPLITS, PRECISION_NEIGHBOURS, DENSITY_NEIGHBOURS),
            *(SUBSETS, SUBSET_SIZE, SUBSET_SEED),
        )
        place = kept_beside(dataset, extractor, f"held-out-{count}", ".json", *constants)
        with suppress(UserError, ValueError, TypeError):  # not there yet, or not whole
            return cls(**json.loads(place.read()))
        held = len(dataset.split("test")) > 1
        if count < 2 or (not held and len(dataset.split("train")) < 4):
            return None
        if not held:
            found = cls(*_floors(*halves(dataset, extractor, count), extractor))
        else:
            images = reference_findings(dataset, extractor, "test", count)
            few = images.features[:MOST_REMEMBERED]
            apart = nearest(few, reference.features)[0]
            radius, (floor, of_pixels) = memory_radius(apart), _floors(images, reference, extractor)
            # Its own distance is not below half of itself: there is no penalty.
            floor |= {"memorised": memorised_share(apart, radius).value, "mifid": floor["fid"]}
            found = cls(floor, of_pixels, radius, memorisation_distance(few, reference.features) / 2)
        place.write(json.dumps(asdict(found)).encode())
        return found

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


def _floors(images: Findings, beside: Findings, extractor: Extractor) -> tuple[dict[str, float], dict[str, float]]:
    """What real `images` have beside others: by their features, and of their pixels alone."""
    floor = compare(images, beside)
    if extractor.knows_classes:
        floor |= mode_metrics(images, beside)
    return floor, {"samples": float(images.statistics.count), **sharpness_metrics(images, beside)}
