"""Each symptom in a history made by hand: said where it is there, by its numbers; and not said of a healthy run."""

import math

import pytest

from ganlib.health import CERTAIN, diagnose, fatal, summary, worst
from ganlib.health.history import FEWEST_TICKS, History
from ganlib.health.verdict import succession
from pipelines.shipped import find_recipe

from .made import EVERY, TICKS, diagnosed, recipe

RECENT = (21_000, 30_000)
"""The last third of thirty ticks, a thousand images each."""
WIN = {"d_real": 0.97, "d_fake": 0.01, "d_heldout": 0.97}


def test_a_healthy_run_has_nothing_wrong() -> None:
    assert diagnosed() == {}
    assert summary([]) == "nothing wrong"


def test_a_run_that_is_too_young_is_not_judged_by_its_ticks() -> None:
    young = {name: [0.99] * (FEWEST_TICKS - 1) for name in ("d_real", "variety", "shift")}
    assert diagnosed(d_fake=[0.01] * (FEWEST_TICKS - 1), **young) == {}


def test_a_discriminator_that_is_right_about_98_percent_wins() -> None:
    found = diagnosed(**WIN)
    assert found.keys() == {"discriminator-winning"}
    verdict = found["discriminator-winning"]
    assert verdict.evidence["certainty"] == pytest.approx(0.98)  # (0.97 + 1 - 0.01) / 2
    assert (verdict.severity, verdict.images) == ("mild", RECENT)
    assert verdict.confidence == pytest.approx(11 / 12)  # ten ticks of ten
    assert diagnosed(d_real=1.0, d_fake=0.001, d_heldout=1.0)["discriminator-winning"].severity == "severe"


def test_a_discriminator_that_wins_is_not_the_end_of_pairs_and_nothing_without_its_loss() -> None:
    points = {"d_real": 1.0, "d_fake": 0.001}
    metrics = {name: [(i * EVERY, value) for i in range(1, TICKS + 1)] for name, value in points.items()}
    (verdict,) = diagnose(metrics, find_recipe("facades"))
    assert (verdict.name, verdict.severity) == ("discriminator-winning", "mild")
    (verdict,) = diagnose(metrics, find_recipe("facades", ["method.l1=0"]))
    assert verdict.severity == "severe"
    # Under L1 alone nobody minds what D says: neither that it wins, nor that it overfits or swings.
    heard = {"d_real": 0.9, "d_fake": 0.1, "d_heldout": 0.1}
    metrics = {name: [(i * EVERY, value) for i in range(1, TICKS + 1)] for name, value in heard.items()}
    assert [one.name for one in diagnose(metrics, find_recipe("facades"))] == ["overfitted-discriminator"]
    metrics["d_real"] = [(images, 0.5 + 0.45 * (-1) ** (images // EVERY)) for images, _ in metrics["d_real"]]
    assert diagnose(metrics, find_recipe("facades", ["method.adversarial=0"])) == []


def test_what_was_so_at_the_start_and_is_no_more_is_not_said() -> None:
    assert diagnosed(d_real=[0.999] * 15 + [0.7] * 15, d_fake=[0.001] * 15 + [0.3] * 15, d_heldout=0.7) == {}


@pytest.mark.parametrize(
    ("objective", "real", "fake", "certainty"),
    [
        ("non-saturating", 0.8, 0.4, 0.7),
        ("least-squares", 1.0, 0.5, 0.75),
        ("hinge", 3.0, -5.0, 1.0),  # both past their margins
        ("hinge", 0.5, 0.5, 0.5),
        ("hinge", 0.0, -1.0, 0.75),
        ("relativistic", 1.0, 1.0 - math.log(3), 0.75),  # sigmoid(log 3)
    ],
)
def test_certainty_means_the_same_of_every_objective(
    objective: str, real: float, fake: float, certainty: float
) -> None:
    metrics = {"d_real": [(1, real)], "d_fake": [(1, fake)]}
    found = History(metrics, recipe(f"method.objective={objective}")).certainty
    assert found is not None
    assert found.tolist() == pytest.approx([certainty])


def test_a_critic_has_no_certainty() -> None:
    metrics = {"d_real": [(1, 5.0)], "d_fake": [(1, 1.0)]}
    history = History(metrics, recipe("method.objective=wasserstein"))
    assert history.certainty is None
    assert history.gap.tolist() == [4.0]


def test_gradients_vanish_only_where_the_discriminator_is_ahead() -> None:
    falling = [0.5] * 10 + [0.001] * 20
    found = diagnosed(gradient__generator=falling, **WIN)
    assert found["vanishing-gradients"].evidence == {
        "gradient/generator": 0.001,
        "gradient/generator at the start": 0.5,
    }
    assert found["vanishing-gradients"].severity == "severe"
    # At a draw there is nothing to learn, and gradients are small.
    assert "vanishing-gradients" not in diagnosed(gradient__generator=falling, d_real=0.52, d_fake=0.48, d_heldout=0.52)


def test_gradients_of_a_critic_s_generator_vanish_while_the_gap_stands() -> None:
    falling = [0.5] * 10 + [0.001] * 20
    critic = {"d_real": 8.0, "d_heldout": 8.0, "gradient__generator": falling}
    stands, closed = [3.0] * 30, [3.0] * 10 + [7.9] * 20
    wasserstein = "method.objective=wasserstein"
    assert "vanishing-gradients" in diagnosed(wasserstein, d_fake=stands, **critic)
    assert "vanishing-gradients" not in diagnosed(wasserstein, d_fake=closed, **critic)


@pytest.mark.parametrize("name", ["loss/generator", "gradient/discriminator"])
def test_a_number_that_is_none_is_divergence(name: str) -> None:
    values = [1.0] * 20 + [math.nan]
    found = diagnosed(**{name.replace("/", "__"): values})
    assert found.keys() == {"diverged"}
    assert found["diverged"].severity == "severe"
    assert found["diverged"].images == (21_000, 21_000)
    assert found["diverged"].says == f"{name} is not a number from 21,000 images on"
    assert found["diverged"].confidence == pytest.approx(2 / 3)


def test_growth_a_hundredfold_is_divergence_whatever_the_unit() -> None:
    for unit in (1e-3, 1.0, 1e3):
        grown = [unit * (1.0 if i < 15 else 150.0) for i in range(TICKS)]
        found = diagnosed(gradient__generator=grown)
        assert found["diverged"].says == "gradient/generator is 150 times what it was at the start"
        assert diagnosed(gradient__generator=[unit * (1.0 if i < 15 else 50.0) for i in range(TICKS)]) == {}


@pytest.mark.parametrize(
    ("objective", "nothing"),
    [
        ("non-saturating", 2 * math.log(2)),  # -log 1/2 of real and of fake
        ("least-squares", 1 / 4),  # halves of (1/2 - 1)^2 and of (1/2)^2
        ("hinge", 2.0),  # 1 - 0, and 1 + 0
        ("relativistic", math.log(2)),
    ],
)
def test_a_discriminator_far_worse_than_one_that_says_the_same_of_all_is_divergence(objective, nothing) -> None:
    """From the start on, so that nothing has grown since."""
    said = diagnosed(f"method.objective={objective}", loss__discriminator=11 * nothing)
    assert said["diverged"].severity == "severe"
    assert said["diverged"].evidence["of one that says the same of all"] == pytest.approx(nothing)
    assert said["diverged"].says.startswith("the discriminator's loss is 11 times")
    assert "diverged" not in diagnosed(f"method.objective={objective}", loss__discriminator=9 * nothing)
    assert "diverged" not in diagnosed("method.objective=wasserstein", loss__discriminator=11 * nothing)


def test_a_falling_rate_that_calms_a_discriminator_thrown_away_hides_no_divergence() -> None:
    """Its loss at the end is 4, of one that says the same of all 1.39, ten times which is 13.9."""
    calmed = [1e7] * 2 + [200.0] * 16 + [4.0] * (TICKS - 18)
    said = diagnosed(loss__discriminator=calmed, loss__generator=50.0)
    assert said["diverged"].says == (
        "the discriminator's loss was for most of the run 144 times that of one which says the same of all"
    )
    assert "diverged" not in diagnosed(loss__discriminator=calmed, loss__generator=13.0)  # the game came back
    soon = [1e7] * 2 + [200.0] * 10 + [4.0] * (TICKS - 12)
    assert "diverged" not in diagnosed(loss__discriminator=soon, loss__generator=50.0)  # D wins since, and has long


def test_fakes_that_have_left_the_data_are_divergence() -> None:
    found = diagnosed(shift=4.0)
    assert found["diverged"].says == "the fakes' mean is 4.0 spreads of the data away from the data's"


def test_a_swing_of_the_certainty_is_oscillation_and_a_trend_is_none() -> None:
    wave = [0.1 * math.sin(2 * math.pi * i / 5) for i in range(TICKS)]
    found = diagnosed(d_real=[0.7 + w for w in wave], d_fake=[0.3 - w for w in wave], d_heldout=[0.7 + w for w in wave])
    assert found.keys() == {"oscillation"}
    # Ten ticks are two waves: of a^2 / 2, the variance of a sine, its trend over k waves takes 3 a^2 / (pi k)^2.
    expected = 0.1 * math.sqrt(1 / 2 - 3 / (2 * math.pi) ** 2)
    assert found["oscillation"].evidence["swing"] == pytest.approx(expected, rel=0.05)
    assert found["oscillation"].severity == "mild"
    slope = [0.9 - 0.01 * i for i in range(TICKS)]
    assert diagnosed(d_real=slope, d_fake=[1 - s for s in slope], d_heldout=slope).keys() <= {"equilibrium"}


def test_fakes_that_roam_are_oscillation_whatever_the_discriminator_thinks() -> None:
    """Here and there in turn, 0.2 and 1.2 spreads away: a deviation of half a spread, and a collapse at each end."""
    found = diagnosed("train.batch=64", shift=[0.2, 1.2] * 15)
    assert found["oscillation"].evidence == {"swing": pytest.approx(0.5, rel=0.05), "lowest": 0.2, "highest": 1.2}
    assert "oscillation" not in diagnosed("train.batch=64", shift=[0.2, 0.4] * 15)
    # In a batch of 16 chance alone makes a third of a spread.
    assert "oscillation" not in diagnosed("train.batch=16", shift=[0.2, 1.2] * 15)


def test_modes_left_for_others_are_oscillation() -> None:
    """Half the samples go from one mode to another: a total variation of 1/2."""
    there = {f"mode_share/{mode}": [0.25] * 5 for mode in range(2)}
    moving = {"mode_share/2": [0.5, 0.0, 0.5, 0.0, 0.5], "mode_share/3": [0.0, 0.5, 0.0, 0.5, 0.0]}
    found = diagnosed(evaluations={**there, **moving})
    assert found["oscillation"].evidence == {"mode shares moved": 0.5}
    assert found["oscillation"].images == (12_000, 30_000)
    assert found["oscillation"].confidence == pytest.approx(5 / 6)  # four changes of four
    still = {**there, "mode_share/2": [0.5, 0.0, 0.5, 0.3, 0.3], "mode_share/3": [0.0, 0.5, 0.0, 0.2, 0.2]}
    assert "oscillation" not in diagnosed(evaluations=still)


def test_a_generator_of_two_neighbours_of_a_ring_has_collapsed() -> None:
    found = diagnosed(variety=0.38, shift=0.92)
    assert found.keys() == {"mode-collapse"}
    assert found["mode-collapse"].severity == "severe"
    assert found["mode-collapse"].evidence == {"variety": 0.38, "shift": 0.92}
    # Four have the spread but not the place.
    assert diagnosed(variety=0.76, shift=0.65).keys() == {"mode-collapse"}


def test_less_variety_is_low_and_no_collapse() -> None:
    found = diagnosed(variety=0.7)
    assert found.keys() == {"low-variety"}
    assert found["low-variety"].severity == "mild"


def test_evaluations_tell_of_modes_that_are_missing() -> None:
    shares = {f"mode_share/{mode}": [0.25] for mode in range(4)}
    three, two = (diagnosed(evaluations={**shares, "modes/covered": [covered]}) for covered in (3.0, 2.0))
    assert three["low-variety"].says == "3 of 4 modes are covered"
    assert two["mode-collapse"].says == "2 of 4 modes are covered"
    assert two["mode-collapse"].confidence == pytest.approx(2 / 3)
    assert diagnosed(evaluations={**shares, "modes/covered": [4.0]}) == {}
    # Of 1,000 modes no share is a metric; the divergence of all is.
    assert "mode-collapse" in diagnosed(evaluations={"modes/kl": [0.05, 0.7], "modes/covered": [990.0, 400.0]})
    assert "low-variety" in diagnosed(evaluations={"modes/kl": [0.7, 0.2]})


def test_modes_that_samples_miss_by_their_scatter_are_not_left_out() -> None:
    shares = {f"mode_share/points-1a2b3c4d/{mode}": [0.25] for mode in range(4)}
    judged = {**shares, "modes/covered/points-1a2b3c4d": [1.0], "modes/kl/points-1a2b3c4d": [0.05]}
    assert diagnosed(evaluations={**judged, "modes/high_quality/points-1a2b3c4d": [0.1]}) == {}
    assert "mode-collapse" in diagnosed(evaluations={**judged, "modes/high_quality/points-1a2b3c4d": [0.9]})
    judged["modes/kl/points-1a2b3c4d"] = [0.2]
    assert "low-variety" in diagnosed(evaluations={**judged, "modes/high_quality/points-1a2b3c4d": [0.1]})


def test_modes_are_counted_by_the_judge_who_covers_them() -> None:
    """A classifier trained anew has another label, and what it counts is beside what the old one counted."""
    old, new = "classifier-11111111", "classifier-22222222"
    shares = {f"mode_share/{judge}/{mode}": [0.25] for judge in (old, new) for mode in range(4)}
    covered = {f"modes/covered/{judge}": [4.0] for judge in (old, new)}
    assert diagnosed(evaluations={**shares, **covered}) == {}
    found = diagnosed(evaluations={**shares, **covered, f"modes/covered/{new}": [2.0]})
    assert found["mode-collapse"].says == "2 of 4 modes are covered"
    assert "low-variety" in diagnosed(evaluations={f"modes/kl/{new}": [0.2], f"modes/kl_floor/{new}": [0.7]})
    # Half of the samples go to and fro by the one who looked last; the other looked at other moments.
    moving = {f"mode_share/{new}/0": [0.5, 0.0, 0.5, 0.0, 0.5], f"mode_share/{new}/1": [0.0, 0.5, 0.0, 0.5, 0.0]}
    before = {f"mode_share/{old}/{mode}": [0.5] * 7 for mode in range(2)}
    assert diagnosed(evaluations={**before, **moving})["oscillation"].evidence == {"mode shares moved": 0.5}


def test_recall_tells_of_data_that_no_sample_is_near() -> None:
    assert "mode-collapse" in diagnosed(evaluations={"recall/random": [0.5, 0.02]})
    assert "low-variety" in diagnosed(evaluations={"recall/random": [0.2]})
    assert diagnosed(evaluations={"recall/random": [0.6], "recall_floor/random": [0.01]}) == {}


def test_samples_less_sharp_than_the_data_are_blurred() -> None:
    assert diagnosed(evaluations={"sharpness": [0.9, 0.5]})["blur"].severity == "mild"
    assert diagnosed(evaluations={"sharpness/laplacian": [0.2]})["blur"].severity == "severe"
    assert diagnosed(evaluations={"sharpness": [0.5, 0.9]}) == {}


def test_of_domains_the_one_that_is_worst_off_is_named() -> None:
    found = diagnosed(evaluations={"sharpness": [0.7], "sharpness/blue": [0.9], "sharpness/red": [0.5]})
    assert found["blur"].evidence == {"sharpness/red": 0.5}
    assert "samples of red are 0.50 times as sharp" in found["blur"].says


def test_outputs_that_are_all_alike_are_a_collapse() -> None:
    assert diagnosed(evaluations={"pixel_variety": [0.9, 0.3]}).keys() == {"mode-collapse"}
    assert diagnosed(evaluations={"pixel_variety": [0.9], "pixel_variety/red": [0.7]}).keys() == {"low-variety"}
    assert diagnosed(evaluations={"pixel_variety": [0.9], "pixel_variety_se": [0.01]}) == {}


def test_blur_of_pairs_is_mended_by_their_adversarial_loss() -> None:
    alone = find_recipe("facades", ["method.adversarial=0"])
    (verdict,) = diagnose({"sharpness": [(1_000, 0.14)]}, alone)
    assert verdict.remedy[0] == "method.adversarial=1"
    assert verdict.severity == "mild"  # it may be what a person wants: the least L1
    (verdict,) = diagnose({"sharpness": [(1_000, 0.4)]}, find_recipe("facades"))
    assert verdict.remedy[0] == "method.l1=50"


def test_pairs_that_are_known_by_heart_are_memorised() -> None:
    found = diagnosed(evaluations={"paired/l1": [0.2, 0.2], "paired_of_training/l1": [0.15, 0.08]})
    assert found.keys() == {"memorisation"}
    assert found["memorisation"].severity == "mild"  # 2.5 times
    assert found["memorisation"].images == (30_000, 30_000)  # not the first of the two
    assert (
        diagnosed(evaluations={"paired/l1": [0.2], "paired_of_training/l1": [0.04]})["memorisation"].severity
        == "severe"
    )
    assert diagnosed(evaluations={"paired/l1": [0.2], "paired_of_training/l1": [0.15]}) == {}
    # Less than a grey level apart from the truth, on either side.
    assert diagnosed(evaluations={"paired/l1": [0.0009], "paired_of_training/l1": [0.0002]}) == {}


def test_the_validation_ratio_tells_of_an_overfitted_discriminator() -> None:
    """D(x) 0.8, D(G(z)) 0.2: held-out images at 0.5 are halfway, r_v = 0.5 (Karras et al. 2020, eq. 1)."""
    found = diagnosed(d_real=0.8, d_fake=0.2, d_heldout=0.5)
    assert found.keys() == {"overfitted-discriminator"}
    assert found["overfitted-discriminator"].evidence["r_v"] == pytest.approx(0.5)
    assert found["overfitted-discriminator"].severity == "mild"
    assert diagnosed(d_real=0.8, d_fake=0.2, d_heldout=0.3)["overfitted-discriminator"].severity == "severe"
    # The same in a critic's own units.
    critic = diagnosed("method.objective=wasserstein", d_real=80.0, d_fake=20.0, d_heldout=50.0)
    assert critic["overfitted-discriminator"].evidence["r_v"] == pytest.approx(0.5)
    # Where D tells nothing apart, the ratio is chance over chance.
    assert "overfitted-discriminator" not in diagnosed(d_real=0.52, d_fake=0.48, d_heldout=0.48)


def test_samples_that_are_training_images_are_memorised() -> None:
    assert diagnosed(evaluations={"memorised/classifier": [0.01, 0.2]})["memorisation"].severity == "mild"
    assert diagnosed(evaluations={"memorised/classifier": [0.6]})["memorisation"].severity == "severe"
    assert diagnosed(evaluations={"memorised/classifier": [0.02]}) == {}
    # By whichever extractor they are; the worst is what is said.
    both = {"memorised/classifier": [0.01], "memorised/random": [0.6], "memorised/instances": [0.2]}
    assert diagnosed(evaluations=both)["memorisation"].evidence == {"memorised/random": 0.6}
    # Below the nearest of 12 held-out images chance alone has 0.2 of what is new (1 - 0.01^(1/12) = 0.32), not 0.35.
    few = {"samples_floor": [12.0]}
    assert diagnosed(evaluations=few | {"memorised/classifier": [0.2]}) == {}
    assert diagnosed(evaluations=few | {"memorised/classifier": [0.35]})["memorisation"].severity == "mild"


def test_equilibrium_is_a_draw_of_fakes_that_lie_as_the_data_does() -> None:
    draw = {"d_real": 0.53, "d_fake": 0.47, "d_heldout": 0.53}
    found = diagnosed(**draw)
    assert found.keys() == {"equilibrium"}
    assert found["equilibrium"].severity == "good"
    assert not found["equilibrium"].remedy
    # A discriminator that has learned nothing draws too.
    assert "equilibrium" not in diagnosed(**draw, shift=0.4)
    assert "equilibrium" not in diagnosed(**draw, variety=1.6)
    # Nor is it said where nothing tells how fakes lie, batches being too small.
    blind = {name: [(i * EVERY, value) for i in range(1, TICKS + 1)] for name, value in draw.items()}
    assert diagnose(blind, recipe()) == []
    # And of a run with a fault it is not said.
    assert "equilibrium" not in diagnosed(**draw, evaluations={"memorised/random": [0.6]})


def test_severe_verdicts_come_first_and_the_worst_is_the_most_certain() -> None:
    metrics = {
        name: [(i * EVERY, value) for i in range(1, 11)]
        for name, value in {"d_real": 0.97, "d_fake": 0.01, "variety": 0.2, "shift": 0.1}.items()
    }
    verdicts = diagnose(metrics, recipe())
    assert [verdict.name for verdict in verdicts] == ["mode-collapse", "discriminator-winning"]
    assert summary(verdicts) == "mode-collapse!, discriminator-winning"
    assert worst(verdicts) is verdicts[0]
    assert worst(verdicts[1:]) is None


def test_confidence_is_laplace_s_rule_of_succession() -> None:
    assert succession(1, 1) == pytest.approx(2 / 3)
    assert succession(10, 10) == pytest.approx(11 / 12)
    assert succession(5, 10) == 0.5


def test_what_ends_a_run_is_severe_and_borne_out_three_times_of_three() -> None:
    """A trial of a study is pruned by the same rule, on what it has reported so far."""
    collapsed = {"variety": 0.2, "shift": 0.1, "d_real": 0.7, "d_fake": 0.3}

    def verdict_after(ticks: int, **others: float) -> str | None:
        metrics = {name: [(i, value) for i in range(ticks)] for name, value in {**collapsed, **others}.items()}
        found = fatal(diagnose(metrics, recipe()))
        return found and found.name

    assert succession(3, 3) == CERTAIN
    assert verdict_after(FEWEST_TICKS - 1) is None  # too young
    assert verdict_after(FEWEST_TICKS) == "mode-collapse"
    assert verdict_after(20, variety=0.7) is None  # low variety is mild
    assert verdict_after(20, variety=1.0) is None
    # One evaluation is no certainty, however grave: (1 + 1) / (1 + 2); three are.
    for said, ends in (([0.6], None), ([0.6] * 2, None), ([0.6] * 3, "memorisation")):
        metrics = {"memorised/random": [(i, share) for i, share in enumerate(said)]}
        found = fatal(diagnose(metrics, recipe()))
        assert (found and found.name) == ends
