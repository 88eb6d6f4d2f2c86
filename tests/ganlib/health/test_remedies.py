"""Advice changes a recipe, validates, and says what it changed: for every shipped recipe and every verdict."""

import pytest

from ganlib.health import Verdict, amended
from ganlib.health.remedies import applicable
from ganlib.recipe import Recipe
from pipelines.shipped import find_recipe, shipped_recipes

from .made import diagnosed, recipe

SICK = {
    "discriminator-winning": {"d_real": 0.99, "d_fake": 0.01, "d_heldout": 0.99},
    "diverged": {"shift": 9.0},
    "mode-collapse": {"variety": 0.1},
    "overfitted-discriminator": {"d_real": 0.8, "d_fake": 0.2, "d_heldout": 0.2},
}


def verdict(name: str, *remedy: str) -> Verdict:
    return Verdict(name, "severe", "", {}, (0, 1), 0.9, remedy)


@pytest.mark.parametrize("name", SICK)
def test_every_remedy_is_one_that_validates_and_changes_the_recipe(name: str) -> None:
    said = diagnosed(**SICK[name])[name]
    assert said.remedy
    before = recipe()
    assert applicable(before, said.remedy)[1] == said.remedy
    after, changes = amended(before, [said])
    assert after != before
    assert {change.path for change in changes}
    for change in changes:
        assert before.flat().get(change.path) == change.before
        assert after.flat().get(change.path) == change.after


@pytest.mark.parametrize("name", shipped_recipes())
def test_advice_can_be_applied_to_every_shipped_recipe(name: str) -> None:
    """Each symptom's remedy, on each recipe: what does not fit it is left out, and something is left."""
    from ganlib.health import diagnose

    shipped = find_recipe(name)
    for symptom, values in {**SICK, "diverged": {"shift": 9.0}}.items():
        ticks = {"d_real": 0.7, "d_fake": 0.3, "variety": 1.0, "shift": 0.0, **values}
        metrics = {key: [(i, value) for i in range(1, 13)] for key, value in ticks.items()}
        found = {one.name: one for one in diagnose(metrics, shipped)}
        if symptom not in found:  # a critic, or a margin, has another scale
            assert shipped.method.objective in ("wasserstein", "hinge", "relativistic")
            continue
        changed, changes = amended(shipped, [found[symptom]])
        assert isinstance(changed, Recipe)
        assert changes, (name, symptom)


def test_of_two_remedies_for_one_field_the_first_counts() -> None:
    changed, changes = amended(
        recipe(),
        [verdict("a", "optim.generator.lr=1e-4"), verdict("b", "optim.generator.lr=1e-2", "train.batch=32")],
    )
    assert (changed.optim.generator.lr, changed.train.batch) == (1e-4, 32)
    assert [(c.path, c.before, c.after, c.verdict) for c in changes] == [
        ("optim.generator.lr", 1e-3, 1e-4, "a"),
        ("train.batch", 16, 32, "b"),
    ]


def test_overrides_that_do_not_fit_are_left_out() -> None:
    kept = applicable(recipe(), ["method.generator.no_such=1", "train.batch=16", "optim.*.lr=-1", "train.batch=8"])[1]
    assert kept == ("train.batch=8",)


def test_a_discriminator_that_wins_is_slowed_and_bounded() -> None:
    said = diagnosed("optim.discriminator.lr=4e-3", **SICK["discriminator-winning"])["discriminator-winning"]
    changed = amended(recipe("optim.discriminator.lr=4e-3"), [said])[0]
    assert changed.optim.discriminator.lr == 1e-3  # no faster than the generator
    assert changed.method.penalty.kind == "r1"


def test_rates_that_are_far_apart_meet_in_the_middle() -> None:
    apart = ["optim.discriminator.lr=1e-1", "optim.generator.lr=1e-5"]
    said = diagnosed(*apart, **SICK["discriminator-winning"])["discriminator-winning"]
    changed = amended(recipe(*apart), [said])[0]
    assert changed.optim.discriminator.lr == changed.optim.generator.lr == 1e-3  # whose square is 1e-6


def test_a_collapse_of_unequal_rates_is_mended_by_equal_ones() -> None:
    said = diagnosed("optim.discriminator.lr=1e-4", **SICK["mode-collapse"])["mode-collapse"]
    changed = amended(recipe("optim.discriminator.lr=1e-4"), [said])[0]
    assert changed.optim.discriminator.lr == changed.optim.generator.lr == 1e-3
    assert changed.method.generator.width == 16  # twice as wide


def test_points_are_not_advised_to_be_augmented() -> None:
    points = ["data.points=2", "data.size=8", "method.generator={kind: mlp}", "method.discriminator={kind: mlp}"]
    said = diagnosed(*points, **SICK["overfitted-discriminator"])["overfitted-discriminator"]
    assert not any("augment" in override for override in said.remedy)


@pytest.mark.parametrize(("objective", "kind"), [("least-squares", "adaptive"), ("relativistic", "fixed")])
def test_augmentation_is_steered_where_logits_tell_how_far_d_overfits(objective: str, kind: str) -> None:
    playing = f"method.objective={objective}"
    said = diagnosed(playing, **SICK["overfitted-discriminator"])["overfitted-discriminator"]
    assert amended(recipe(playing), [said])[0].method.augment.kind == kind


def test_augmentation_that_a_person_chose_is_left_as_it_is() -> None:
    chosen = ["method.augment={kind: fixed, colour: false, probability: 0.5}"]
    said = diagnosed(*chosen, **SICK["overfitted-discriminator"])["overfitted-discriminator"]
    changed = amended(recipe(*chosen), [said])[0]
    assert changed.method.augment == recipe(*chosen).method.augment
    assert changed.method.penalty.kind == "r1"  # another remedy


def test_a_rate_that_the_schedule_sets_is_advised_from_there_and_not_set_again() -> None:
    """Ticks of 1,000 to 30,000 images: by the end D's rate is 4e-3 and G's 2e-3, whatever they began with."""
    fields = ["{images: 5000, fields: {optim.discriminator.lr: 0.004, train.steps.generator: 2}}",
              "{images: 6000, fields: {optim.*.lr: 0.002}}", "{images: 7000, fields: {optim.discriminator.lr: 0.004}}",
              "{images: 90000, fields: {optim.discriminator.lr: 1}}"]  # fmt: skip
    scheduled = f"train.schedule=[{', '.join(fields)}]"
    said = diagnosed(scheduled, **SICK["discriminator-winning"])["discriminator-winning"]
    changed, changes = amended(recipe(scheduled), [said])
    for images in (0, 5_000, 8_000, 95_000):
        assert changed.at(images).optim.discriminator.lr == 2e-3  # half of it, which is G's
    assert [change.fields for change in changed.train.schedule] == [
        {"train.steps.generator": 2}, {"optim.generator.lr": 2e-3},
    ]  # fmt: skip
    assert {"optim.discriminator.lr", "train.schedule"} <= {change.path for change in changes}
