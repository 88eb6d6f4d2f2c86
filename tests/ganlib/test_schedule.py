"""A recipe whose values change on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ganlib.data import Dataset
from ganlib.errors import UserError
from ganlib.recipe import Recipe
from ganlib.training.checkpoint import checkpoint_name
from ganlib.training.trainer import Trainer

from .conftest import assert_equal, tiny_recipe

BASE = ["train={batch: 48, images: 1440, tick: 480, seed: 5}", "method.penalty={kind: r1, gamma: 1, every: 3}"]
CHANGES = ["optim.*.lr=3e-3", "optim.generator.betas=[0.2, 0.8]", "method.penalty.gamma=0.3",
           "train.steps.discriminator=2", "train.steps.generator=3"]  # fmt: skip
SCHEDULE = (
    "train.schedule=[{images: 480, fields: {optim.generator.lr: 3.0e-3, optim.discriminator.lr: 3.0e-3, "
    "optim.generator.betas: [0.2, 0.8], method.penalty.gamma: 0.3, train.steps.discriminator: 2, "
    "train.steps.generator: 3}}]"
)


def end_of(recipe: Recipe, dataset: Dataset, resume: Path | None = None, until: int = 10**9) -> Trainer:
    trainer = Trainer(recipe, dataset, resume=resume)
    for tick in trainer.run():
        if tick.images_seen >= until:
            break
    return trainer


def test_a_schedule_is_a_run_that_goes_on_with_another_recipe(digits16: Dataset, tmp_path: Path) -> None:
    """Bit for bit: 480 images of the one recipe, a checkpoint, the rest of the other. So what population-based
    training did to weights, a recipe does again."""
    first = end_of(tiny_recipe(tmp_path, *BASE), digits16, until=480)
    folder = first.snapshot().write(tmp_path / checkpoint_name(480))
    by_hand = end_of(tiny_recipe(tmp_path, *BASE, *CHANGES), digits16, resume=folder)
    scheduled = end_of(tiny_recipe(tmp_path, *BASE, SCHEDULE), digits16)
    assert_equal(scheduled.snapshot(), by_hand.snapshot())
    # What changed did change something, the momenta's decay among it.
    unchanged = end_of(tiny_recipe(tmp_path, *BASE), digits16)
    ours, theirs = (trainer.snapshot().tensors["generator"] for trainer in (scheduled, unchanged))
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_scheduled_run_resumes_exactly(digits16: Dataset, tmp_path: Path) -> None:
    """From before the change and from after it."""
    recipe = tiny_recipe(tmp_path, *BASE, SCHEDULE)
    whole = end_of(recipe, digits16)
    for images in (480, 960):
        stopped = end_of(recipe, digits16, until=images)
        folder = stopped.snapshot().write(tmp_path / f"at-{images}")
        assert_equal(end_of(recipe, digits16, resume=folder).snapshot(), whole.snapshot())


def test_the_recipe_at_any_time(tmp_path: Path) -> None:
    changes = [
        f"{{images: {images}, fields: {{optim.generator.lr: {lr}}}}}" for images, lr in ((100, 0.5), (300, 0.25))
    ]
    recipe = tiny_recipe(tmp_path, f"train.schedule=[{', '.join(changes)}]")
    assert [recipe.at(images).optim.generator.lr for images in (0, 99, 100, 299, 300, 10**6)] == [
        recipe.optim.generator.lr, recipe.optim.generator.lr, 0.5, 0.5, 0.25, 0.25,
    ]  # fmt: skip
    assert recipe.at(300).at(300) == recipe.at(300)
    (tmp_path / "again.yaml").write_text(recipe.dump())
    assert Recipe.load(tmp_path / "again.yaml") == recipe


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("[{images: 100, fields: {method.generator.width: 4}}]", "method.generator.width cannot change"),
        ("[{images: 100, fields: {optim.generator.kind: sgd}}]", "optim.generator.kind cannot change"),
        ("[{images: 100, fields: {method.penalty.kind: none}}]", "method.penalty.kind cannot change"),
        ("[{images: 100, fields: {optim.generator.lr: -1}}]", "at 100 images"),
        ("[{images: 100, fields: {optim.generator.lrr: 1}}]", "cannot change"),
        ("[{images: 2, fields: {optim.*.lr: 1}}, {images: 2, fields: {optim.*.lr: 2}}]", "in the order"),
        ("[{images: 2, fields: {}}]", "at least 1"),
    ],
)
def test_what_cannot_change_is_said(schedule: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        tiny_recipe(tmp_path, f"train.schedule={schedule}")
