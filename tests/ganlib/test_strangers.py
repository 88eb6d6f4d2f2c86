"""Files from strangers, crafted to run code when they are read: none does."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ganlib.data import Dataset
from ganlib.errors import UserError
from ganlib.evaluation.inception import InceptionExtractor
from ganlib.evaluation.lpips import find_lpips
from ganlib.evaluation.pretrained import ClipExtractor
from ganlib.files import file_digest
from ganlib.sampling import load_sampler
from ganlib.training.checkpoint import checkpoint_name, read_checkpoint, read_contents
from ganlib.training.trainer import Trainer

from .conftest import tiny_recipe


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture(scope="module")
def finished(digits16: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    trainer = Trainer(tiny_recipe(folder), digits16)
    tick = next(iter(trainer.run()))
    trainer.snapshot().write(folder / checkpoint_name(tick.images_seen))
    return folder / checkpoint_name(tick.images_seen)


def replaced(checkpoint: Path, name: str, content: Path) -> None:
    """`content` in place of the checkpoint's file, whose size and digest its record then has."""
    contents = read_contents(checkpoint)
    shutil.copyfile(content, checkpoint / name)
    contents.files[name] = ((checkpoint / name).stat().st_size, file_digest(checkpoint / name))
    (checkpoint / "progress.json").write_text(contents.model_dump_json())


def write_bomb(bomb: Path, mark: Path, form: str) -> None:
    if form == "pickle":
        bomb.write_bytes(pickle.dumps(Bomb(mark)))
    else:
        torch.save({"weight": Bomb(mark)}, bomb)


def set_off(bomb: Path, form: str) -> None:
    """What reads pickles runs it."""
    if form == "pickle":
        pickle.loads(bomb.read_bytes())
    else:
        torch.load(bomb, weights_only=False)


@pytest.mark.parametrize("form", ["pickle", "torch"])
@pytest.mark.parametrize("name", ["generator_ema.safetensors", "optimizers.safetensors"])
def test_a_pickle_named_safetensors_is_refused_unread(finished: Path, tmp_path: Path, form: str, name: str) -> None:
    mark, bomb = tmp_path / "mark", tmp_path / "bomb"
    write_bomb(bomb, mark, form)
    checkpoint = Path(shutil.copytree(finished, tmp_path / "checkpoint"))
    replaced(checkpoint, name, bomb)
    for read in (load_sampler, read_checkpoint) if name.startswith("generator") else (read_checkpoint,):
        with pytest.raises(UserError, match="is damaged: Error while deserializing header"):
            read(checkpoint)
    assert not mark.exists()
    set_off(bomb, form)
    assert mark.exists()


@pytest.mark.parametrize("form", ["pickle", "torch"])
@pytest.mark.parametrize(
    ("variables", "read"),
    [
        (["INCEPTION"], InceptionExtractor),
        (["VGG16", "LPIPS"], find_lpips),
        (["CLIP"], ClipExtractor),
    ],
)
def test_a_pickle_given_as_weights_is_refused_unread(
    variables: list[str], read: Callable[[], object], form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, bomb = tmp_path / "mark", tmp_path / "weights.pth"
    write_bomb(bomb, mark, form)
    for variable in variables:
        monkeypatch.setenv(f"GAN_WEIGHTS_{variable}", str(bomb))
    with pytest.raises(UserError, match=rf"hold(s)? no weights of .*GAN_WEIGHTS_{variables[0]}"):
        read()
    assert not mark.exists()
    set_off(bomb, form)
    assert mark.exists()


def test_a_recipe_with_a_tag_that_runs_code_is_refused(finished: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    checkpoint = Path(shutil.copytree(finished, tmp_path / "checkpoint"))
    bomb = tmp_path / "recipe.yaml"
    bomb.write_text(f"name: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{mark}]]\n")
    replaced(checkpoint, "recipe.yaml", bomb)
    with pytest.raises(UserError):
        load_sampler(checkpoint)
    assert not mark.exists()
