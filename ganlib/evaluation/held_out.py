"""What real images that no training has seen would be given: the floor beside each metric, and what memory is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ganlib.data.dataset import Dataset
from ganlib.errors import UserError
from ganlib.evaluation.comparison import compare
from ganlib.evaluation.extractor import Extractor
from ganlib.evaluation.findings import Findings, kept_beside, reference_findings
from ganlib.evaluation.memorisation import memorisation_distance, memorised_share, memory_radius, mifid
from ganlib.evaluation.neighbours import nearest

MOST_REMEMBERED = 1_000
"""Images whose nearest training image is looked for, among up to half a million."""


@dataclass(frozen=True)
class HeldOut:
    """Of a test split's first images: what `compare` says of them, their mean `laplacian_variance`, and what they say
    of memory: `memory_radius` and half their `memorisation_distance`.
    """

    floor: dict[str, float]
    sharpness: float | None
    radius: float
    mifid_threshold: float

    @classmethod
    def of(cls, dataset: Dataset, extractor: Extractor, count: int, reference: Findings) -> HeldOut:
        """Of up to `count` images, found once and kept with the dataset. reference: of its training split."""
        place = kept_beside(dataset, extractor, f"held-out-{count}.json")
        try:
            return cls(**json.loads(place.read()))
        except (UserError, ValueError, TypeError):
            pass  # not there yet, or not whole
        images = reference_findings(dataset, extractor, "test", count)
        few = images.features[:MOST_REMEMBERED]
        found = cls(
            compare(images, reference),
            images.sharpness,
            memory_radius(nearest(few, reference.features)[0]),
            memorisation_distance(few, reference.features) / 2,
        )
        place.write(json.dumps(asdict(found)).encode())
        return found

    def memory(self, fid: float, found: Findings, reference: Findings) -> dict[str, float]:
        """`memorised`: `memorised_share` of the first samples; `mifid`, its threshold being half of what real is at."""
        few = found.features[:MOST_REMEMBERED]
        distance = memorisation_distance(few, reference.features)
        return {
            "memorised": memorised_share(nearest(few, reference.features)[0], self.radius),
            "mifid": mifid(fid, distance, self.mifid_threshold),
        }
