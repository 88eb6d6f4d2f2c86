"""Which way a metric is better: decided for everything that evaluation measures, whoever's features it is of."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganlib.errors import UserError
from ganlib.evaluation.classifier import train_classifier
from ganlib.evaluation.directions import BESIDE, LESS, MORE, NEITHER, direction, family, is_known
from ganlib.recipe import Recipe
from ganlib.sampling import load_sampler
from ganlib.training.trainer import Trainer
from pipelines.evaluate import judge

from .test_every_recipe import SHIPPED, dataset_of, smaller


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        ("fid/classifier-1a2b3c4d", "min"),
        ("fid_class/classifier-1a2b3c4d/7", "min"),
        ("kid/inception-1a2b3c4d", "min"),
        ("paired/l1", "min"),
        ("paired/psnr", "max"),
        ("paired_lpips/vgg-1a2b3c4d", "min"),
        ("box_iou", "max"),
        ("agreement/classifier-1a2b3c4d", "max"),
        ("called/blond", "max"),
        ("called/classifier-1a2b3c4d/blond", "max"),
        ("modes/covered", "max"),
        ("modes/covered/classifier-1a2b3c4d", "max"),
        ("modes_covered/classifier-1a2b3c4d", "max"),
        ("modes/kl", "min"),
        ("modes_kl/classifier-1a2b3c4d", "min"),
        ("cycle/l1", "min"),
    ],
)
def test_less_or_more_is_better(metric: str, better: str) -> None:
    assert direction(metric) == better


@pytest.mark.parametrize(
    "metric",
    [
        "sharpness", "fid_se/random-1a2b3c4d", "fid_floor/random-1a2b3c4d", "modes/kl_se", "modes/covered_floor",
        "paired_of_mean/l1", "called_before/blond", "agreement_real/classifier-1a2b3c4d", "mode_share/3",
        "judge_accuracy", "judge_accuracy/classifier-1a2b3c4d", "paired/images",
    ],
)  # fmt: skip
def test_what_has_no_better_is_refused_in_a_line(metric: str) -> None:
    with pytest.raises(UserError, match="neither more nor less of") as raised:
        direction(metric)
    assert "\n" not in str(raised.value)


def test_every_family_is_of_one_kind() -> None:
    kinds = [LESS, MORE, NEITHER]
    assert len(frozenset.union(*kinds)) == sum(map(len, kinds))
    assert not any(name.endswith(BESIDE) for name in frozenset.union(*kinds))
    assert not is_known("of_our_own")
    with pytest.raises(UserError, match=r"there is no metric 'of_our_own'; there are agreement, box_iou, .*recall"):
        direction("of_our_own")
    with pytest.raises(UserError, match=r"there is no metric 'recal/random'; did you mean recall\?"):
        direction("recal/random-1a2b3c4d")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("mnist", {"fid", "kid", "inception_score", "recall", "mifid", "path_length", "fid_class", "modes_kl"}),
        ("ring", {"fid", "modes_covered", "modes_high_quality"}),
        ("mnist-encoder", {"fid", "reconstruction_l1"}),
        ("hair-domains", {"fid_target", "cycle_l1"}),
        ("hair-unpaired", {"fid_target", "cycle_l1", "called"}),
        ("placed-digits", {"fid", "box_iou", "agreement"}),
    ],
)
def test_everything_that_is_measured_is_decided(
    name: str, measured: set[str], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an untrained generator, which has all the metrics that a trained one has; those of pairs: test_paired."""
    monkeypatch.setattr("ganlib.evaluation.classifier.IMAGES", 200)
    recipe = smaller(Recipe.load(SHIPPED[name])).with_overrides("evaluate.samples=64")
    dataset = dataset_of(recipe, tmp_path_factory.getbasetemp())
    if dataset.judged_names:
        dataset = train_classifier(dataset)
    checkpoint = Trainer(recipe, dataset).snapshot().write(Path(tmp_path_factory.mktemp(name)) / "checkpoint-0")
    metrics = judge(load_sampler(checkpoint), dataset)
    assert [metric for metric in metrics if not is_known(metric)] == []
    assert measured <= {family(metric) for metric in metrics}
