"""`train.compile`: the same training by torch's compiler, up to rounding."""

import shutil
from pathlib import Path

import pytest
import torch

from ganlib.data import Dataset
from ganlib.training.trainer import Trainer

from .conftest import tiny_recipe


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None and shutil.which("g++") is None, reason="torch compiles by C++")
def test_a_compiled_training_is_the_plain_one(digits16: Dataset, tmp_path: Path) -> None:
    curves = []
    for compiled in ("false", "true"):
        recipe = tiny_recipe(
            tmp_path, "train.precision=fp32", "train.images=320", "train.tick=16", f"train.compile={compiled}"
        )
        trainer = Trainer(recipe, digits16)
        curves.append(
            torch.tensor(
                [[tick.metrics[name] for name in ("loss/discriminator", "loss/generator")] for tick in trainer.run()]
            )
        )
        forward = trainer.method.generator._compiled_call_impl
        assert (forward is not None) == (compiled == "true")
    plain, compiled_curve = curves
    assert plain.shape == (20, 2)
    assert (plain[0] - plain[-1]).abs().max() > 0.01
    assert torch.allclose(compiled_curve, plain, atol=1e-3)
