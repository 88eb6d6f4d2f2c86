"""Parts of a recipe that do not go together are refused when it is read, with the reason."""

from __future__ import annotations

import pytest
import yaml

from ganlib.errors import UserError
from ganlib.recipe import Recipe

from .conftest import TINY

CLASSES = "data.classes=10"
EMBEDDING = "method.condition={kind: embedding, dim: 8}"
BATCH_NORM = "method.condition={kind: batch-norm}"
SMALL_MLP = "method.generator={kind: mlp, widths: [16], output: linear}"
ENCODER = "method={kind: encoder, generator: {kind: convnet}, discriminator: {kind: convnet}, %s}"
ADAPTIVE = "method.augment={kind: adaptive}"
POINTS = ("data.points=2", SMALL_MLP, "method.discriminator={kind: mlp, widths: [16], pieces: 1}")


def parse(*overrides: str) -> Recipe:
    return Recipe.parse(yaml.safe_load(TINY), overrides)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        # A size, or a number of channels, that a network cannot make or judge.
        (["data.size=20", "method.generator.kind=mnist-large"], "makes 28x28 images of 1 or 3 channels, not 20x20x1"),
        (["data.size=28", "method.discriminator.kind=avatars"], "'avatars' makes 48x48 images"),
        (
            ["data.size=24", "method.generator.kind=dcgan"],
            "'dcgan' makes 16x16, 28x28, 32x32, 48x48, 64x64, 128x128, 256x256",
        ),
        (["data.size=17"], "the size has to be 4, 5, 6 or 7 times a power of two"),
        (
            ["data.size=44", "method.discriminator={kind: resnet}"],
            "the size has to be 4, 5, 6 or 7 times a power of two",
        ),
        (["data.size=100", "method.generator={kind: r3gan}"], "the size has to be 4, 5, 6 or 7 times a power of two"),
        (["data.points=2"], "network 'convnet' makes square images, not 1x2"),
        (
            ["method.generator={kind: r3gan, width: 5, widest: 40, group_size: 4}"],
            "10 features (expansion 2) do not divide into groups of 4",
        ),
        (["method.generator={kind: resnet, width: 64, widest: 32}"], "width (64) is more than widest (32)"),
        # Clipping bounds the slope of a Wasserstein critic, and is no use to anything else.
        (["method.penalty={kind: clip}"], "penalty 'clip' does not go with objective 'non-saturating'"),
        (
            ["method.penalty={kind: clip}", "method.objective=hinge"],
            "penalty 'clip' does not go with objective 'hinge'",
        ),
        (
            ["method.penalty={kind: clip}", "method.objective=relativistic"],
            "'clip' does not go with objective 'relativistic'",
        ),
        # It is no term of a loss, to be taken seldom at a larger weight.
        (["method.objective=wasserstein", "method.penalty={kind: clip, every: 4}"], "method.penalty.every"),
        # Labels to smooth, or to condition on, that are not there.
        (["method.smoothing=0.1", "method.objective=hinge"], "objective 'hinge' has no labels to smooth"),
        (["method.smoothing=0.1", "method.objective=wasserstein"], "objective 'wasserstein' has no labels to smooth"),
        ([EMBEDDING], "conditioning on the class needs labels: give the number of classes as data.classes"),
        ([BATCH_NORM], "conditioning on the class needs labels"),
        (
            [BATCH_NORM, CLASSES, "method.generator={kind: mlp}"],
            "network 'mlp' has no batch norm to be told the class through",
        ),
        ([BATCH_NORM, CLASSES, "method.generator={kind: r3gan, width: 16}"], "network 'r3gan' has no batch norm"),
        # Points are no images.
        ([*POINTS, "method.augment={kind: fixed, translation: true}"], "points cannot be augmented as images are"),
        ([*POINTS, ADAPTIVE], "points cannot be augmented as images are"),
        # A logit that may be moved by any constant has no sign to steer by.
        ([ADAPTIVE, "method.objective=wasserstein"], "kind=adaptive does not go with objective 'wasserstein', under"),
        ([ADAPTIVE, "method.objective=relativistic"], "kind=adaptive does not go with objective 'relativistic', under"),
        # The encoder, which is told no classes and has a game of the same sort.
        ([ENCODER % "penalty: {kind: clip}"], "'clip' does not go with"),
        ([ENCODER % "condition: {kind: embedding}"], "there is no field 'method.condition'"),
        (
            ["method={kind: encoder, generator: {kind: avatars}, discriminator: {kind: convnet}}"],
            "'avatars' makes 48x48 images",
        ),
        (
            ["data.points=2", "method={kind: encoder, generator: {kind: mlp}, discriminator: {kind: mlp}}"],
            "leave nothing of 1x2 images",
        ),
    ],
)
def test_an_impossible_combination_is_refused(overrides: list[str], reason: str) -> None:
    with pytest.raises(UserError) as error:
        parse(*overrides)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["method.penalty={kind: clip}", "method.objective=wasserstein"],
        ["method.smoothing=0.1", "method.objective=least-squares"],
        [EMBEDDING, CLASSES],
        [BATCH_NORM, CLASSES],
        [EMBEDDING, CLASSES, "method.generator={kind: mlp}"],
        [*POINTS],
        [ADAPTIVE, "method.objective=hinge"],
        ["method.augment={kind: fixed}", "method.objective=relativistic"],
        ["data.size=44", "data.size=48", "method.generator={kind: r3gan, width: 16}"],
    ],
    ids=" ".join,
)
def test_what_goes_together_is_read(overrides: list[str]) -> None:
    recipe = parse(*overrides)
    assert Recipe.parse(recipe.model_dump(mode="json")) == recipe


def test_a_method_is_named_by_its_kind() -> None:
    assert parse().method.kind == "noise-to-image"
    with pytest.raises(UserError, match="there is no method of kind 'encode'; did you mean 'encoder'"):
        parse("method={kind: encode}")
    with pytest.raises(UserError, match=r"no field 'method\.latnt'; did you mean 'method\.latent'"):
        parse("method.latnt.dim=3")
