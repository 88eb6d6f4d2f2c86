"""LPIPS against torch-fidelity's at the same random weights, and what is done without any."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch_fidelity import sample_similarity_lpips
from torch_fidelity.sample_similarity_lpips import SampleSimilarityLPIPS
from torchvision.models import vgg

from ganlib.errors import UserError
from ganlib.evaluation.lpips import find_lpips

CHANNELS = (64, 128, 256, 512, 512)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, SampleSimilarityLPIPS]:
    """VGG-16 and its linear layers at random, named to us; and torch-fidelity's LPIPS of them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = vgg.make_layers(vgg.cfgs["D"])
        linear = {f"lin{layer}.model.1.weight": torch.rand(1, width, 1, 1) for layer, width in enumerate(CHANNELS)}
    monkeypatch.setattr(sample_similarity_lpips, "load_state_dict_from_url", lambda *_, **__: linear)
    monkeypatch.setattr(
        sample_similarity_lpips, "torchvision_load_pretrained_vgg16", lambda: SimpleNamespace(features=features)
    )
    vgg16, layers = tmp_path / "vgg16.pth", tmp_path / "lpips.pth"
    torch.save({f"features.{name}": tensor for name, tensor in features.state_dict().items()}, vgg16)
    torch.save(linear, layers)
    monkeypatch.setenv("GAN_WEIGHTS_VGG16", str(vgg16))
    monkeypatch.setenv("GAN_WEIGHTS_LPIPS", str(layers))
    return vgg16, layers, SampleSimilarityLPIPS("lpips-vgg16")


def pictures(count: int, size: int, channels: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


@pytest.mark.parametrize(("size", "channels"), [(16, 3), (37, 3), (24, 1)])
def test_it_is_torch_fidelitys(files: tuple[Path, Path, SampleSimilarityLPIPS], size: int, channels: int) -> None:
    a, b = pictures(18, size, channels, 0), pictures(18, size, channels, 1)  # more than one block
    b[3] = a[3]
    ours = find_lpips()
    assert ours is not None
    found = ours.distances(a, b)
    theirs = (torch.from_numpy(np.repeat(side, 3 // channels, 3).transpose(0, 3, 1, 2)) for side in (a, b))
    np.testing.assert_allclose(found, files[2](*theirs).double(), rtol=1e-4, atol=1e-7)
    assert found[3] == 0
    assert ours.label.startswith("vgg16-")


def test_other_weights_have_another_name_and_other_files_are_refused(
    files: tuple[Path, Path, SampleSimilarityLPIPS],
) -> None:
    before = find_lpips()
    linear = torch.load(files[1], weights_only=True)
    torch.save(linear | {"lin0.model.1.weight": torch.zeros(1, 64, 1, 1)}, files[1])
    after = find_lpips()
    assert before is not None
    assert after is not None
    assert before.label != after.label
    files[0].write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"hold no weights of LPIPS .*GAN_WEIGHTS_VGG16 and GAN_WEIGHTS_LPIPS"):
        find_lpips()


def test_without_weights_there_is_none_and_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", None)
    for name in ("VGG16", "LPIPS"):
        monkeypatch.delenv(f"GAN_WEIGHTS_{name}", raising=False)
    assert find_lpips() is None
