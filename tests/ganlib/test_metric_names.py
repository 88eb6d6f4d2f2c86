"""Names that say by whose features a metric is, and what a person means who leaves the digest out."""

import pytest

from ganlib.errors import UserError
from ganlib.evaluation.names import judge_of, label_of, meant, metric_value, plain

DIGEST = "1a2b3c4d" + "0" * 56


def test_a_label_is_the_name_and_the_first_eight_digits() -> None:
    assert label_of("classifier", DIGEST) == "classifier-1a2b3c4d"


@pytest.mark.parametrize(
    ("metric", "written", "judge"),
    [
        ("fid/classifier-1a2b3c4d", "fid/classifier", "1a2b3c4d"),
        ("fid/inception-clean-1a2b3c4d", "fid/inception-clean", "1a2b3c4d"),
        ("fid_class/classifier-1a2b3c4d/brown-hair", "fid_class/classifier/brown-hair", "1a2b3c4d"),
        ("fid/classifier-1a2b3c4", "fid/classifier-1a2b3c4", ""),  # seven digits
        ("fid/classifier-1A2B3C4D", "fid/classifier-1A2B3C4D", ""),
        ("fid/points", "fid/points", ""),
        ("paired/l1", "paired/l1", ""),
        ("d_real", "d_real", ""),
    ],
)
def test_a_person_writes_a_name_without_the_digest(metric: str, written: str, judge: str) -> None:
    assert plain(metric) == written
    assert judge_of(metric) == judge


def test_what_is_meant_is_the_one_that_there_is_or_all_that_there_are() -> None:
    known = ["fid/random-00000000", "fid/classifier-22222222", "fid/classifier-11111111", "fid_class/random-00000000/3"]
    assert meant("fid/random", known) == ["fid/random-00000000"]
    assert meant("fid/classifier", known) == ["fid/classifier-11111111", "fid/classifier-22222222"]
    assert meant("fid/classifier-22222222", known) == ["fid/classifier-22222222"]
    assert meant("fid_class/random/3", known) == ["fid_class/random-00000000/3"]
    assert meant("fid", known) == []


def test_a_value_has_to_be_the_only_one_of_its_name() -> None:
    metrics = {"fid/random-00000000": 1.5, "fid/classifier-22222222": 2.5, "fid/classifier-11111111": 3.5}
    assert metric_value(metrics, "fid/random") == 1.5
    assert metric_value(metrics, "fid/classifier-11111111") == 3.5
    with pytest.raises(UserError, match="fid/classifier may be fid/classifier-11111111 or fid/classifier-22222222"):
        metric_value(metrics, "fid/classifier")
    with pytest.raises(UserError, match="there is no metric kid/random; there are: fid/classifier-11111111"):
        metric_value(metrics, "kid/random")
