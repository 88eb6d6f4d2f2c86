"""Everything that the features of one set of images say of it beside a reference, by bare names."""

from __future__ import annotations

from ganlib.evaluation.confidence import SPLITS, deletion_error, error_of_mean, jackknife_error
from ganlib.evaluation.distances import frechet_distance, inception_score
from ganlib.evaluation.findings import Findings
from ganlib.evaluation.kernel_distance import disjoint_distances
from ganlib.evaluation.neighbours import MOST_NEIGHBOURS, Scores, overlap
from ganlib.evaluation.statistics import FeatureStatistics


def compare(found: Findings, reference: Findings) -> dict[str, float]:
    """`fid` and, of judged images, `inception_score`; `kid`, `precision`, `recall`, `density`, `coverage` of those
    whose features were kept; and, where `found` is in splits, the standard error of each, `NAME_se`: that of a mean of
    `kid`, `jackknife_error` or `deletion_error` of the others.

    `kid` is the mean over `SPLITS` disjoint parts of either side, in which every image counts once. It and the errors
    need two images a part, neighbours need more than `MOST_NEIGHBOURS`; where these are not there, neither are they.
    """

    def distance(statistics: FeatureStatistics) -> float:
        return frechet_distance(statistics, reference.statistics)

    ours, theirs = found.compared, reference.compared
    scores = {"fid": distance}
    if found.statistics.probabilities is not None:
        scores["inception_score"] = inception_score
    metrics = {name: score(found.statistics) for name, score in scores.items()}
    in_parts = min(len(ours), len(theirs)) >= 2 * SPLITS
    with_errors = in_parts and len(found.splits) > 1
    if in_parts:
        parts = disjoint_distances(ours, theirs, SPLITS)
        metrics["kid"] = float(parts.mean())
    if with_errors:
        metrics |= {f"{name}_se": jackknife_error(found.splits, score) for name, score in scores.items()}
        metrics["kid_se"] = error_of_mean(parts)
    if min(len(ours), len(theirs)) > MOST_NEIGHBOURS:
        lain = overlap(found.manifold, reference.manifold, SPLITS if with_errors else 1)
        metrics |= lain.scores()._asdict()
        if with_errors:
            without = [lain.scores(without=split) for split in range(SPLITS)]
            errors = (deletion_error(values) for values in zip(*without, strict=True))
            metrics |= {f"{name}_se": error for name, error in zip(Scores._fields, errors, strict=True)}
    return metrics
