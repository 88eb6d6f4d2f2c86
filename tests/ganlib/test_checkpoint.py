"""Checkpoints: what is in one, and what is said of one that is damaged, foreign or of another shape."""

import json
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml

from ganlib.data import Dataset, Preparation, open_source, prepare_dataset
from ganlib.errors import UserError
from ganlib.files import file_digest
from ganlib.sampling import load_sampler
from ganlib.training.checkpoint import checkpoint_name, newest_checkpoint, read_checkpoint
from ganlib.training.trainer import Trainer

from .conftest import tiny_recipe

FILES = [
    "discriminator.safetensors",
    "generator.safetensors",
    "generator_ema.safetensors",
    "optimizers.safetensors",
    "progress.json",
    "recipe.yaml",
]


@pytest.fixture(scope="module")
def finished(digits16: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints of a tiny run at 160, 320, 480 and 640 images."""
    folder = tmp_path_factory.mktemp("finished")
    trainer = Trainer(tiny_recipe(folder), digits16)
    for tick in trainer.run():
        trainer.snapshot().write(folder / "run" / checkpoint_name(tick.images_seen))
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def checkpoint(run: Path) -> Path:
    return run / "checkpoint-000000000640"


def said(call: Callable[[], object]) -> str:
    """The one line of the UserError that `call` raises."""
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_checkpoint_is_yaml_json_and_safetensors(checkpoint: Path, digits16: Dataset) -> None:
    assert sorted(path.name for path in checkpoint.iterdir()) == FILES
    contents = json.loads((checkpoint / "progress.json").read_text())
    assert contents["dataset"] == digits16.digest
    assert contents["progress"] | {"seconds": 0} == {
        "images": 640, "rounds": 40, "discriminator_steps": 40, "seconds": 0,
        "tick_images": 0, "loading": "resident", "precision": "fp32",
    }  # fmt: skip
    others = [name for name in FILES if name != "progress.json"]
    assert contents["files"] == {
        name: [(checkpoint / name).stat().st_size, file_digest(checkpoint / name)] for name in others
    }
    assert yaml.safe_load((checkpoint / "recipe.yaml").read_text())["name"] == "tiny"


def test_no_file_of_a_checkpoint_is_a_pickle(checkpoint: Path) -> None:
    """A pickle of torch's is a zip archive or begins with an opcode; safetensors with the length of JSON."""
    for path in checkpoint.iterdir():
        head = path.read_bytes()[:9]
        assert not head.startswith((b"PK", b"\x80"))
        if path.suffix == ".safetensors":
            length = int.from_bytes(head[:8], "little")
            assert head[8:9] == b"{"
            json.loads(path.read_bytes()[8 : 8 + length])


def test_the_files_hold_what_training_holds(digits16: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(tiny_recipe(tmp_path, "train.images=160"), digits16)
    list(trainer.run())
    folder = trainer.snapshot().write(tmp_path / "checkpoint")
    assert trainer.average is not None
    for stem, module in (
        ("generator", trainer.method.generator),
        ("generator_ema", trainer.average),
        ("discriminator", trainer.method.discriminator),
    ):
        written = safetensors.torch.load_file(folder / f"{stem}.safetensors")
        assert written.keys() == module.state_dict().keys()
        assert all(torch.equal(written[name], tensor) for name, tensor in module.state_dict().items())
    # Adam keeps two moments and a count for each parameter.
    optimizers = safetensors.torch.load_file(folder / "optimizers.safetensors")
    assert {name.split("/")[0] for name in optimizers} == {"generator", "discriminator"}
    assert len(optimizers) == 3 * len(list(trainer.method.parameters()))
    assert {int(x) for name, x in optimizers.items() if name.endswith("/step")} == {10}


def test_a_checkpoint_replaces_the_one_that_stands_there(checkpoint: Path, digits16: Dataset) -> None:
    older = read_checkpoint(checkpoint.with_name("checkpoint-000000000160"))
    trainer = Trainer(older.recipe, digits16, resume=checkpoint.with_name("checkpoint-000000000160"))
    trainer.snapshot().write(checkpoint)
    assert read_checkpoint(checkpoint).progress == older.progress
    assert len(list(checkpoint.parent.iterdir())) == 4


def test_a_folder_that_cannot_be_written_is_said(checkpoint: Path, digits16: Dataset) -> None:
    trainer = Trainer(read_checkpoint(checkpoint).recipe, digits16)
    (checkpoint.parent / "file").write_text("")
    message = said(lambda: trainer.snapshot().write(checkpoint.parent / "file" / "checkpoint"))
    assert "cannot write" in message


def test_weights_that_the_disk_refuses_are_said(checkpoint: Path, digits16: Dataset, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk; the recipe keeps within it, weights do not."""
    trainer = Trainer(read_checkpoint(checkpoint).recipe, digits16)
    limit = 5_000
    assert len(trainer.recipe.dump()) < limit < (checkpoint / "discriminator.safetensors").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        message = said(lambda: trainer.snapshot().write(tmp_path / "checkpoint"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert message.startswith(f"cannot write {tmp_path / 'checkpoint'}: File too large; ")
    assert not list(tmp_path.glob("*checkpoint*"))  # nor a hidden one that was begun


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", [name for name in FILES if name != "progress.json"])
@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (truncate, "is incomplete: {name} has {less} bytes of {size}; use an earlier one"),
        (flip_a_bit, "is damaged: {name} is not what was written; use an earlier one"),
        (Path.unlink, "is incomplete: {name} is missing; use an earlier one"),
    ],
    ids=["cut short", "a bit flipped", "missing"],
)
def test_a_damaged_file_is_named(
    name: str, damage: Callable[[Path], None], expected: str, run: Path, checkpoint: Path, digits16: Dataset
) -> None:
    recipe, size = read_checkpoint(checkpoint).recipe, (checkpoint / name).stat().st_size
    damage(checkpoint / name)
    message = said(lambda: Trainer(recipe, digits16, resume=checkpoint))
    assert message == f"checkpoint {checkpoint} " + expected.format(name=name, size=size, less=size - 100)
    assert newest_checkpoint(run) == run / "checkpoint-000000000480"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", '{"schema_version": 1}', '{"schema_version": "x"}', "\x00\x01"]
)
def test_a_broken_table_of_contents_is_said(text: str, run: Path, checkpoint: Path) -> None:
    (checkpoint / "progress.json").write_text(text)
    message = said(lambda: read_checkpoint(checkpoint))
    assert message == f"checkpoint {checkpoint} is damaged: progress.json is not what was written; use an earlier one"
    assert newest_checkpoint(run) == run / "checkpoint-000000000480"


def test_a_newer_schema_is_said_whatever_its_fields(checkpoint: Path) -> None:
    contents = json.loads((checkpoint / "progress.json").read_text())
    for newer in ({"schema_version": 3}, {"schema_version": 3, "shards": []}):
        (checkpoint / "progress.json").write_text(json.dumps(contents | newer))
        message = said(lambda: read_checkpoint(checkpoint))
        assert message == f"checkpoint {checkpoint} was written by a newer version of this program; update it"


def test_a_folder_that_is_no_checkpoint_is_said(tmp_path: Path) -> None:
    assert "is not a checkpoint: progress.json cannot be read (No such file" in said(lambda: read_checkpoint(tmp_path))
    assert "is not a checkpoint" in said(lambda: load_sampler(tmp_path / "nowhere"))
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "method.latent.dim=7",
            r"generator has \[128, 6\] at 0.weight, the recipe wants \[128, 7\]; use the recipe.yaml",
        ),
        ("method.generator.width=8", "does not fit the recipe: generator has .*4.* at .*, the recipe wants .*8"),
        ("method.discriminator.kind=mlp", "discriminator has .* at .*, the recipe wants nothing"),
        ("optim.generator={kind: sgd, lr: 0.1}", "optimizers adam and adam .*, the recipe wants sgd and adam"),
    ],
)
def test_a_checkpoint_of_another_shape_is_said(
    override: str, expected: str, checkpoint: Path, digits16: Dataset, tmp_path: Path
) -> None:
    message = said(lambda: Trainer(tiny_recipe(tmp_path, override), digits16, resume=checkpoint))
    assert re.search(expected, message)


def test_an_average_that_is_not_in_the_checkpoint_is_said(digits16: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(tiny_recipe(tmp_path, "optim.ema_half_life=0"), digits16)
    next(trainer.run())
    folder = trainer.snapshot().write(tmp_path / "checkpoint")
    assert "generator_ema has nothing at" in said(lambda: Trainer(tiny_recipe(tmp_path), digits16, resume=folder))


def test_a_checkpoint_of_another_dataset_is_said(checkpoint: Path, digits16: Dataset, tmp_path: Path) -> None:
    preparation = Preparation(size=16, channels=1, test_share=0.2)
    other = prepare_dataset(open_source("digits"), preparation, tmp_path, "digits")
    message = said(lambda: Trainer(tiny_recipe(tmp_path), other, resume=checkpoint))
    assert f"was trained on dataset {digits16.digest[:12]}, not {other.digest[:12]}" in message


def test_checkpoints_sort_by_the_images_seen(run: Path) -> None:
    counts = [9, 10, 99_999, 1_000_000, 123_456_789_012]
    assert sorted(checkpoint_name(count) for count in counts) == [checkpoint_name(count) for count in counts]
    assert newest_checkpoint(run) == run / "checkpoint-000000000640"
