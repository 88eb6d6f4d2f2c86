"""Everything that the features of one set of images say of it beside a reference, by bare names."""

from __future__ import annotations

from ganlib.evaluation.confidence import SPLITS, error_of_mean, jackknife_error
from ganlib.evaluation.distances import frechet_distance, inception_score
from ganlib.evaluation.findings import Findings
from ganlib.evaluation.kernel_distance import disjoint_distances
from ganlib.evaluation.neighbours import MOST_NEIGHBOURS, density_coverage, improved_precision_recall
from ganlib.evaluation.statistics import FeatureStatistics


def compare(found: Findings, reference: Findings) -> dict[str, float]:
    """`fid` and, of judged images, `inception_score`; `kid`, `precision`, `recall`, `density`, `coverage` of those
    whose features were kept; and, where `found` is in splits, the standard errors `fid_se`, `inception_score_se`
    (`jackknife_error`) and `kid_se`.

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
    if in_parts:
        parts = disjoint_distances(ours, theirs, SPLITS)
        metrics["kid"] = float(parts.mean())
    if in_parts and len(found.splits) > 1:
        metrics |= {f"{name}_se": jackknife_error(found.splits, score) for name, score in scores.items()}
        metrics["kid_se"] = error_of_mean(parts)
    if min(len(ours), len(theirs)) > MOST_NEIGHBOURS:
        metrics |= improved_precision_recall(found.manifold, reference.manifold)._asdict()
        metrics |= density_coverage(ours, reference.manifold)._asdict()
    return metrics
