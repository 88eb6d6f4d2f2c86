"""Names that say by whose features a metric is, and what a person means who leaves the digest out."""

import pytest

from ganlib.errors import UserError
from ganlib.evaluation.names import (
    bare,
    beside,
    judge_of,
    judged_by,
    label_of,
    meant,
    metric_value,
    plain,
    recordable,
)

DIGEST = "1a2b3c4d" + "0" * 56


def test_a_label_is_the_name_and_the_first_eight_digits() -> None:
    assert label_of("classifier", DIGEST) == "classifier-1a2b3c4d"


@pytest.mark.parametrize(
    ("metric", "written", "judge"),
    [
        ("fid/classifier-1a2b3c4d", "fid/classifier", "1a2b3c4d"),
        ("fid/inception-clean-1a2b3c4d", "fid/inception-clean", "1a2b3c4d"),
        ("fid_class/classifier-1a2b3c4d/brown-hair", "fid_class/classifier/brown-hair", "1a2b3c4d"),
        ("modes/covered/classifier-1a2b3c4d", "modes/covered/classifier", "1a2b3c4d"),
        ("mode_share/classifier-1a2b3c4d/x-00000000", "mode_share/classifier/x-00000000", "1a2b3c4d"),
        ("fid/points-1a2b3c4d", "fid/points", "1a2b3c4d"),
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
    assert meant("fid_class", known) == []


def test_where_one_judge_says_such_a_thing_it_need_not_be_named() -> None:
    known = ["modes/covered/classifier-11111111", "modes/covered_se/classifier-11111111", "fid/classifier-11111111",
             "mode_share/classifier-11111111/3", "mode_share_min/classifier-11111111", "cycle/l1"]  # fmt: skip
    assert meant("modes/covered", known) == meant("modes/covered/classifier", known) == known[:1]
    assert meant("mode_share/3", known) == known[3:4]
    assert meant("mode_share_min", known) == known[4:5]
    assert meant("modes", known) == meant("cycle", known) == []
    # By two judges it is each run's own in a table, and no one value.
    known.append("modes/covered/classifier-22222222")
    assert meant("modes/covered", known) == [known[0], known[-1]]
    with pytest.raises(UserError, match="modes/covered may be modes/covered/classifier-11111111 or modes/covered/cl"):
        metric_value(dict.fromkeys(known, 1.0), "modes/covered")


@pytest.mark.parametrize(
    ("metric", "measured", "error"),
    [
        ("fid/classifier-1a2b3c4d", "fid", "fid_se/classifier-1a2b3c4d"),
        ("modes/kl/classifier-1a2b3c4d", "modes/kl", "modes/kl_se/classifier-1a2b3c4d"),
        ("fid_class/classifier-1a2b3c4d/7", "fid_class/7", "fid_class_se/classifier-1a2b3c4d/7"),
        ("paired/l1", "paired/l1", "paired_se/l1"),
        ("sharpness", "sharpness", "sharpness_se"),
    ],
)
def test_what_is_measured_and_its_error_have_their_names(metric: str, measured: str, error: str) -> None:
    assert bare(metric) == measured
    assert beside(metric, "se") == error
    assert judged_by([metric], "classifier") == ("classifier" in metric)
    assert not judged_by([metric], "fid")


def test_a_value_has_to_be_the_only_one_of_its_name() -> None:
    metrics = {"fid/random-00000000": 1.5, "fid/classifier-22222222": 2.5, "fid/classifier-11111111": 3.5}
    assert metric_value(metrics, "fid/random") == 1.5
    assert metric_value(metrics, "fid/classifier-11111111") == 3.5
    with pytest.raises(UserError, match="fid/classifier may be fid/classifier-11111111 or fid/classifier-22222222"):
        metric_value(metrics, "fid/classifier")
    with pytest.raises(UserError, match="there is no metric kid/random; there are: fid/classifier-11111111"):
        metric_value(metrics, "kid/random")


def test_what_mlflow_takes_in_no_name_becomes_a_dash_and_no_two_become_one() -> None:
    from mlflow.utils.validation import _validate_metric_name

    names = ["C++", "C--", "C##", "hot dog (plain)", "jack-o'-lantern", "été", "7"]
    found = recordable({f"fid_class/classifier-1a2b3c4d/{name}": float(i) for i, name in enumerate(names)})
    assert [name.rpartition("/")[2] for name in found] == [
        "C__", "C--", "C___2", "hot dog _plain_", "jack-o_-lantern", "été", "7",
    ]  # fmt: skip
    assert [*found.values()] == [*range(7)]
    for name in found:
        _validate_metric_name(name)
