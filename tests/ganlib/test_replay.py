"""Recorded rounds train what rounds train that are played as they are. What a recording would hold for good by mistake,
a learning rate or what was drawn, would show; a GPU's own recordings are tested where there is one."""

import logging
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ganlib.data import Dataset
from ganlib.methods.base import Method
from ganlib.training.checkpoint import checkpoint_name
from ganlib.training.replay import Player
from ganlib.training.trainer import Tick, Trainer

from .conftest import BATCH_NORM, DROPOUT, assert_equal, tiny_recipe
from .tape import Tape
from .test_resume import RESUMED

EXACT = "optim.*.lr=0.0009765625"
"""2^-10: a recorded round has its rate as a float32."""

FALLING = {
    "rates": ["optim.*.decay={kind: cosine, floor: 0.01}", "optim.*.lr=0.01"],
    "penalty": ["method.penalty={kind: r1, gamma: 20, fall_from: 0, fall_to: 0}"],
    "noise": ["method.instance_noise={sigma: 2, until: 0.7}"],
}
PLAIN = {
    name: overrides
    for name, overrides in RESUMED.items()
    if name not in {"bf16 with dropout and decay", "sgd and rmsprop", "instance noise", "DRAGAN that falls"}
}


def trained(trainer: Trainer) -> list[Tick]:
    return list(trainer.run())


@pytest.mark.parametrize("overrides", PLAIN.values(), ids=PLAIN.keys())
def test_replayed_rounds_train_the_same_bit_for_bit(overrides: list[str], digits16: Dataset, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, "train={batch: 48, images: 2400, tick: 480, seed: 5}", EXACT, *overrides)
    tape = Tape()
    plain, recorded = Trainer(recipe, digits16, "cpu"), Trainer(recipe, digits16, "cpu", recorder=tape)
    ticks, again = trained(plain), trained(recorded)
    assert_equal(recorded.snapshot(), plain.snapshot())
    assert [tick.metrics for tick in again] == [tick.metrics for tick in ticks]
    kinds, rounds = len(tape.replayed), plain.progress.rounds
    assert kinds
    # The first two of each kind are played as they are; of no kind here are fewer than three.
    assert sum(tape.replayed) == rounds - 2 * kinds


@pytest.mark.parametrize("overrides", FALLING.values(), ids=FALLING.keys())
def test_what_falls_over_the_run_falls_in_recorded_rounds(
    overrides: list[str], digits16: Dataset, tmp_path: Path
) -> None:
    """By a float32, so not to the last bit; what is trained without the fall is farther off by orders."""
    base = "train={batch: 48, images: 1440, tick: 480, seed: 5}", EXACT
    recipe = tiny_recipe(tmp_path, *base, *overrides)
    tape = Tape()
    plain, recorded = Trainer(recipe, digits16, "cpu"), Trainer(recipe, digits16, "cpu", recorder=tape)
    trained(plain)
    trained(recorded)
    assert sum(tape.replayed) > 20

    def weights(trainer: Trainer) -> Tensor:
        return torch.cat([weight.detach().flatten() for weight in trainer.method.discriminator.parameters()])

    held = {"rates": ["optim.*.lr=0.01"], "penalty": ["method.penalty={kind: r1, gamma: 20}"],
            "noise": ["method.instance_noise={sigma: 2, until: 1}"]}  # fmt: skip
    name = next(name for name, words in FALLING.items() if words is overrides)
    other = Trainer(tiny_recipe(tmp_path, *base, *held[name]), digits16, "cpu")
    trained(other)
    apart = (weights(recorded) - weights(plain)).norm()
    assert apart < 1e-3 * (weights(other) - weights(plain)).norm()


def test_a_rate_that_falls_is_recorded_for_adam_alone(digits16: Dataset, tmp_path: Path) -> None:
    tape = Tape()
    for decay, recorded in (("constant", True), ("linear", False)):
        side = f"optim.generator={{kind: sgd, lr: 0.01, decay: {{kind: {decay}}}}}"
        trained(Trainer(tiny_recipe(tmp_path, side, "train.images=160"), digits16, "cpu", recorder=tape))
        assert bool(tape.replayed) == recorded
        tape.replayed.clear()


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.graphs=false"],
        ["train.steps={generator: 2, noise: shared, adaptive: until-risen}"],
        ["train.steps.adaptive=leave-out"],
    ],
    ids=["off", "until-risen", "leave-out"],
)
def test_what_waits_for_the_device_is_played_as_it_is(overrides: list[str], digits16: Dataset, tmp_path: Path) -> None:
    tape = Tape()
    trained(Trainer(tiny_recipe(tmp_path, *overrides, "train.images=160"), digits16, "cpu", recorder=tape))
    assert not tape.replayed


def test_a_method_that_says_nothing_of_its_steps_is_played_as_it_is(
    digits16: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = Tape()
    trainer = Trainer(tiny_recipe(tmp_path, "train.images=160"), digits16, "cpu", recorder=tape)
    monkeypatch.setattr(trainer.method, "occasion", partial(Method.occasion, trainer.method))
    trained(trainer)
    assert not tape.replayed


class Asking(nn.Module):
    """Asks the device for a number in each forward."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) * (1.0 if x.sum().item() > -1e9 else 0.0)


@pytest.mark.parametrize("overrides", [[], ["method.instance_noise.sigma=0.5"]], ids=["plain", "instance noise"])
def test_a_network_that_asks_the_device_trains_all_the_same(
    overrides: list[str], digits16: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = tiny_recipe(tmp_path, EXACT, "train.images=320", *overrides)
    tape = Tape()
    plain, asking = Trainer(recipe, digits16, "cpu"), Trainer(recipe, digits16, "cpu", recorder=tape)
    asking.method.discriminator.forward = Asking(asking.method.discriminator.forward).forward  # type: ignore[method-assign]
    trained(plain)
    with caplog.at_level(logging.WARNING):
        trained(asking)
    assert not tape.replayed
    assert "not permitted when stream is capturing" in caplog.text
    assert caplog.text.count("rounds are not recorded") == 1
    assert_equal(asking.snapshot(), plain.snapshot())


@pytest.mark.parametrize("overrides", [[DROPOUT], RESUMED["adaptive augmentation"]], ids=["dropout", "adaptive"])
def test_a_recorded_run_is_resumed_as_it_went_on(overrides: list[str], digits16: Dataset, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, "train={batch: 48, images: 2400, tick: 480, seed: 5}", EXACT, *overrides)
    whole = Trainer(recipe, digits16, "cpu", recorder=Tape())
    run = whole.run()
    next(run), next(run)
    folder = whole.snapshot().write(tmp_path / checkpoint_name(whole.progress.images))
    rest = list(run)
    resumed = Trainer(recipe, digits16, resume=folder, device="cpu", recorder=Tape())
    again = trained(resumed)
    assert_equal(resumed.snapshot(), whole.snapshot())
    assert [tick.metrics for tick in again] == [tick.metrics for tick in rest]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("overrides", RESUMED.values(), ids=RESUMED.keys())
def test_a_gpu_s_graphs_train_what_its_rounds_train(overrides: list[str], digits16: Dataset, tmp_path: Path) -> None:
    """To rounding, over a few rounds: which sums a GPU makes in which order is not always the same."""
    recipe = tiny_recipe(tmp_path, "train={batch: 48, images: 1152, tick: 384, seed: 5}", *overrides)
    plain = Trainer(recipe.model_copy(update={"train": recipe.train.model_copy(update={"graphs": False})}), digits16)
    recorded = Trainer(recipe, digits16)
    assert isinstance(recorded._player, Player) == (recipe.optim.generator.kind != "sgd")
    ticks, again = trained(plain), trained(recorded)
    for tick, other in zip(ticks, again, strict=True):
        assert other.metrics == pytest.approx(tick.metrics, rel=0.05, abs=0.02)


@pytest.mark.parametrize("overrides", [[BATCH_NORM], [DROPOUT]], ids=["batch norm", "dropout"])
def test_a_schedule_changes_recorded_rounds_on_the_way(overrides: list[str], digits16: Dataset, tmp_path: Path) -> None:
    change = "train.schedule=[{images: 320, fields: {optim.generator.lr: 0.0078125, train.steps.generator: 2}}]"
    recipe = tiny_recipe(tmp_path, EXACT, change, *overrides)
    tape = Tape()
    plain, recorded = Trainer(recipe, digits16, "cpu"), Trainer(recipe, digits16, "cpu", recorder=tape)
    trained(plain)
    trained(recorded)
    assert len(tape.replayed) == 2
    assert_equal(recorded.snapshot(), plain.snapshot())
