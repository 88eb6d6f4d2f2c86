"""Choosing a source from what a person names."""

from pathlib import Path

import numpy as np
import pytest

from ganlib.data import open_source
from ganlib.errors import UserError

from .conftest import SavePicture, WriteIdx


def test_what_a_folder_holds_settles_its_kind(write_idx: WriteIdx, save_picture: SavePicture) -> None:
    idx = write_idx("train-images-idx3-ubyte.gz", np.zeros((1, 8, 8), np.uint8)).parent
    assert open_source(str(idx)).kind == "idx"
    assert open_source(idx, "mnist").kind == "idx"
    assert open_source(save_picture("a.png", 1).parent).kind == "folder"
    assert open_source("digits").kind == "digits"
    assert open_source(idx).name == "idx"


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"the source {tmp_path}/absent does not exist"):
        open_source(tmp_path / "absent")
    (tmp_path / "avatars.zip").touch()
    with pytest.raises(UserError, match=f"the source {tmp_path}/avatars.zip is a file; unpack it"):
        open_source(tmp_path / "avatars.zip")
    with pytest.raises(UserError, match=f"{tmp_path} has no train-images-idx3-ubyte"):
        open_source(tmp_path, "mnist")
    with pytest.raises(UserError, match="no source is given"):
        open_source(None, "folder")
    with pytest.raises(UserError, match="no source kind 'images'; it is one of digits, idx, mnist, folder"):
        open_source(tmp_path, "images")
    with pytest.raises(UserError, match=r"leave .* out"):
        open_source(tmp_path, "digits")


def test_mnist_without_a_network_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])  # the discard port: nobody listens
    with pytest.raises(UserError, match=f"cannot download MNIST into {tmp_path}/ganlib .*refused.*--source"):
        open_source(None, "mnist")


def test_mnist_that_was_downloaded_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    raw = tmp_path / "ganlib" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        (raw / f"{split}-images-idx3-ubyte").write_bytes(b"")
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(b"")
    assert open_source(None, "mnist").kind == "idx"
