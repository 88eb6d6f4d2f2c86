"""bfloat16 where the hardware computes it, and not where it would be emulated."""

from pathlib import Path

import pytest

from ganlib.data import Dataset
from ganlib.precision import computes_bf16
from ganlib.training import trainer as training
from ganlib.training.checkpoint import Snapshot
from ganlib.training.trainer import Trainer

from .conftest import assert_equal, tiny_recipe


def ended(trainer: Trainer) -> Snapshot:
    """What the trainer has at its end."""
    for _ in trainer.run():
        pass
    return trainer.snapshot()


@pytest.mark.parametrize(("able", "precision"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_what_the_hardware_computes(
    able: bool, precision: str, digits16: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are those of a run that was told so, bit for bit."""
    monkeypatch.setattr(training, "computes_bf16", lambda device: able)
    recipes = [tiny_recipe(tmp_path, "train.images=64", f"train.precision={word}") for word in ("auto", precision)]
    found, told = (ended(Trainer(recipe, digits16)) for recipe in recipes)
    assert_equal(found, told)


def test_a_run_keeps_its_precision_where_it_is_resumed(
    digits16: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun on a machine with bfloat16, it goes on in it on one without."""
    recipe = tiny_recipe(tmp_path, "train.images=64", "train.precision=auto")
    monkeypatch.setattr(training, "computes_bf16", lambda device: True)
    begun = Trainer(recipe, digits16)
    begun.snapshot().write(tmp_path / "checkpoint")
    monkeypatch.setattr(training, "computes_bf16", lambda device: False)
    resumed = Trainer(recipe, digits16, resume=tmp_path / "checkpoint")
    assert resumed.progress.precision == "bf16"
    assert_equal(ended(begun), ended(resumed))


def test_a_cpu_computes_bf16_where_the_kernel_lists_the_instructions() -> None:
    """/proc/cpuinfo names them by itself."""
    info = Path("/proc/cpuinfo")
    flags = next((line.split() for line in info.read_text().splitlines() if line.startswith("flags")), None)
    if flags is None:
        pytest.skip("this kernel lists no instructions")
    assert computes_bf16("cpu") == bool({"avx512_bf16", "amx_bf16"} & set(flags))
