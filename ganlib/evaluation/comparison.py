"""Everything that a pass over images says of them beside a reference, by bare names."""

from __future__ import annotations

from ganlib.evaluation.confidence import SPLITS, deletion_error, jackknife_error
from ganlib.evaluation.distances import frechet_distance, inception_score
from ganlib.evaluation.findings import Findings
from ganlib.evaluation.kernel_distance import SUBSET_SIZE, kernel_distance
from ganlib.evaluation.neighbours import MOST_NEIGHBOURS, Scores, overlap
from ganlib.evaluation.statistics import FeatureStatistics


def compare(found: Findings, reference: Findings) -> dict[str, float]:
    """`fid` and, of judged images, `inception_score`; `kid`, `precision`, `recall`, `density`, `coverage` of those
    whose features were kept; and, where `found` is in splits, the standard error of each, `NAME_se`: `jackknife_error`
    or `deletion_error`, of `kid` as `kernel_distance` has it.

    `kid` and `kid_spread` are its mean and spread, over subsets of a thousand as torch-fidelity's, or of half of the
    smaller side where that has less than a thousand. They and the errors need two images in each of `SPLITS` parts,
    neighbours need more than `MOST_NEIGHBOURS`; where these are not there, neither are they.
    """

    def distance(statistics: FeatureStatistics) -> float:
        return frechet_distance(statistics, reference.statistics)

    ours, theirs = found.compared, reference.compared
    scores = {"fid": distance}
    if found.statistics.probabilities is not None:
        scores["inception_score"] = inception_score
    metrics = {name: score(found.statistics) for name, score in scores.items()}
    smaller = min(len(ours), len(theirs))
    in_parts = smaller >= 2 * SPLITS
    with_errors = in_parts and len(found.splits) > 1
    if in_parts:
        kernel = kernel_distance(ours, theirs, size=SUBSET_SIZE if smaller >= SUBSET_SIZE else smaller // 2)
        metrics |= {"kid": kernel.mean, "kid_spread": kernel.spread}
    if with_errors:
        metrics |= {f"{name}_se": jackknife_error(found.splits, score) for name, score in scores.items()}
        metrics["kid_se"] = kernel.error
    if smaller > MOST_NEIGHBOURS:
        lain = overlap(found.manifold, reference.manifold, SPLITS if with_errors else 1)
        metrics |= lain.scores()._asdict()
        if with_errors:
            without = [lain.scores(without=split) for split in range(SPLITS)]
            errors = (deletion_error(values) for values in zip(*without, strict=True))
            metrics |= {f"{name}_se": error for name, error in zip(Scores._fields, errors, strict=True)}
    return metrics


def sharpness_metrics(found: Findings, reference: Findings) -> dict[str, float]:
    """`sharpness`, the mean `laplacian_variance` over the reference's, and, where `found` is in splits, `sharpness_se`.

    {} of images that are too small, or all flat.
    """
    if found.sharpness is None or reference.sharpness is None or not reference.sharpness.value:
        return {}
    unit = reference.sharpness.value
    error = {"sharpness_se": found.sharpness.error / unit} if len(found.splits) > 1 else {}
    return {"sharpness": found.sharpness.value / unit, **error}
