"""What real images that no training has seen would be given: the floor beside each metric, and what memory is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ganlib.data.dataset import Dataset
from ganlib.data.sealed import UNSEALED, read_sealed, write_sealed
from ganlib.errors import UserError
from ganlib.evaluation.comparison import compare
from ganlib.evaluation.confidence import SPLITS
from ganlib.evaluation.distances import mode_shares
from ganlib.evaluation.extractor import Extractor
from ganlib.evaluation.findings import Findings, kept_beside, reference_findings
from ganlib.evaluation.kernel_distance import SUBSET_SEED, SUBSET_SIZE, SUBSETS
from ganlib.evaluation.memorisation import LOW, memorisation_distance, memorised_share, memory_radius, mifid
from ganlib.evaluation.neighbours import DENSITY_NEIGHBOURS, PRECISION_NEIGHBOURS, nearest

MOST_REMEMBERED = 1_000
"""Images whose nearest training image is looked for, among up to half a million."""


@dataclass(frozen=True)
class HeldOut:
    """Of images drawn from a test split: what `compare` says of them and what `memory` would, by name; their mean
    `laplacian_variance`, None of images too small; their shares of the classes, None where nobody knows them; and what
    they say of memory: `memory_radius` and half their `memorisation_distance`.
    """

    floor: dict[str, float]
    sharpness: float | None
    shares: list[float] | None
    radius: float
    mifid_threshold: float

    @classmethod
    def of(cls, dataset: Dataset, extractor: Extractor, count: int, reference: Findings) -> HeldOut:
        """Of up to `count` images, found once and kept with the dataset. reference: of its training split."""
        constants = (
            *(MOST_REMEMBERED, LOW, SPLITS, PRECISION_NEIGHBOURS, DENSITY_NEIGHBOURS),
            *(SUBSETS, SUBSET_SIZE, SUBSET_SEED),
        )
        place = kept_beside(dataset, extractor, f"held-out-{count}", ".json", *constants)
        try:
            kept = json.loads(read_sealed(place))
            kept.pop("sha256", None)
            return cls(**kept)
        except (UserError, ValueError, TypeError, AttributeError):
            pass  # not there yet, or not whole
        images = reference_findings(dataset, extractor, "test", count)
        few = images.features[:MOST_REMEMBERED]
        apart = nearest(few, reference.features)[0]
        radius, floor = memory_radius(apart), compare(images, reference)
        # Its own distance is not below half of itself: there is no penalty.
        floor |= {"memorised": memorised_share(apart, radius).value, "mifid": floor["fid"]}
        found = cls(
            floor,
            None if images.sharpness is None else images.sharpness.value,
            None if images.statistics.classes is None else mode_shares(images.statistics).tolist(),
            radius,
            memorisation_distance(few, reference.features) / 2,
        )
        write_sealed(place, json.dumps(UNSEALED | asdict(found)).encode())
        return found

    def memory(self, metrics: Mapping[str, float], found: Findings, reference: Findings) -> dict[str, float]:
        """Of `found`, whose `fid` and `fid_se` are in `metrics`: `memorised`, `memorised_share` of the first samples;
        `mifid`, its threshold being half of what real is at; and their standard errors, `mifid`'s with the penalty as
        it is, so the distance's alone.
        """
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
