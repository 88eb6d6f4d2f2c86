"""The network trained on images without labels: what it is asked for, and whether its distance orders what is worse."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ganlib.data import Dataset
from ganlib.errors import UserError
from ganlib.evaluation.distances import frechet_distance
from ganlib.evaluation.extractors import InstanceExtractor, extractor_for
from ganlib.evaluation.instances import TEMPERATURE, InstanceNetwork, instance_loss, train_instances
from ganlib.evaluation.statistics import FeatureStatistics
from ganlib.files import file_digest
from ganlib.networks.base import ImageShape


@pytest.fixture(scope="module")
def digits(digits16: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The digits, whose labels nobody looks at, in a copy of their own."""
    path = tmp_path_factory.mktemp("instances") / digits16.path.name
    shutil.copytree(digits16.path, path)
    return Dataset.open(path)


@pytest.fixture(scope="module")
def extractor(digits: Dataset) -> InstanceExtractor:
    found = extractor_for(digits)
    assert isinstance(found, InstanceExtractor)
    return found


@pytest.fixture(scope="module")
def distance(digits: Dataset, extractor: InstanceExtractor) -> Callable[[np.ndarray], float]:
    """Of images to the training split, by the network."""
    train = digits.split("train")
    reference = FeatureStatistics.of(*extractor.features(train.take(np.arange(len(train)))))
    return lambda images: frechet_distance(FeatureStatistics.of(*extractor.features(images)), reference)


def test_two_views_of_an_image_are_to_be_alike_and_all_else_not() -> None:
    """Of n images at right angles to each other and m others: -log(e^(1/t) / (e^(1/t) + 2(n - 1) + m))."""
    alike = math.exp(1 / TEMPERATURE)
    views = torch.eye(6)[:3].repeat(2, 1) * torch.tensor([[1.0], [2], [3], [4], [5], [6]])  # lengths do not matter
    assert instance_loss(views, 3).item() == pytest.approx(-math.log(alike / (alike + 4)), rel=1e-5)
    worse = torch.eye(6)[3:]
    found = instance_loss(torch.cat([views, worse]), 3).item()
    assert found == pytest.approx(-math.log(alike / (alike + 4 + 3)), rel=1e-5)
    # Worse versions that cannot be told from their images.
    found = instance_loss(torch.cat([views, torch.eye(6)[:3]]), 3).item()
    assert found == pytest.approx(-math.log(alike / (2 * alike + 4 + 2)), rel=1e-5)


def test_it_is_trained_once_kept_with_the_dataset_and_the_same_every_time(digits16: Dataset, tmp_path: Path) -> None:
    labels: list[str] = []
    calls: list[tuple[int, int]] = []
    for name, seed in (("one", 0), ("two", 1)):
        shutil.copytree(digits16.path, tmp_path / name)
        dataset = Dataset.open(tmp_path / name)
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        calls.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ganlib.evaluation.instances.IMAGES", 640)
            train_instances(dataset, lambda done, total: calls.append((done, total)))
            assert calls[-1] == (640, 640)
            assert len(calls) == 10
            train_instances(dataset, lambda done, total: calls.append((done, total)))
        assert len(calls) == 10
        assert torch.equal(torch.get_rng_state(), before)
        labels.append(InstanceExtractor(dataset).label)
        assert labels[-1] == f"instances-{file_digest(dataset.path / 'instances.safetensors')[:8]}"
    assert labels[0] == labels[1]
    assert dataset.verify() == []
    weights = dataset.path / "instances.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match=f"{weights} has changed since it was written; remove it"):
        InstanceExtractor(dataset)
    (tmp_path / "one" / "instances.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"one/instances\.safetensors is not a network of this program; remove it"):
        InstanceExtractor(Dataset.open(tmp_path / "one"))


@pytest.mark.slow
def test_blur_noise_and_lost_digits_are_further_away_the_worse_they_are(
    digits: Dataset, distance: Callable[[np.ndarray], float]
) -> None:
    """Of the held-out digits; and real ones are nearest of all."""
    test = digits.split("test")
    assert test.labels is not None
    real = test.take(np.arange(len(test)))
    floor = distance(real)
    smooth = [gaussian_filter(real.astype(float), sigma, axes=(1, 2)) for sigma in (0.5, 1, 2)]
    draw = np.random.default_rng(0).normal(size=real.shape)
    rough = [real + 255 * sigma * draw for sigma in (0.02, 0.05, 0.1)]
    rows = {
        "blur": [distance(images.round().clip(0, 255).astype(np.uint8)) for images in smooth],
        "noise": [distance(images.round().clip(0, 255).astype(np.uint8)) for images in rough],
        "lost": [distance(real[test.labels >= lost]) for lost in (2, 5, 8)],
    }
    for name, found in rows.items():
        assert [floor, *found] == sorted([floor, *found]), (name, floor, found)
        assert found[-1] > 3 * floor, (name, floor, found)


@pytest.mark.parametrize("size", [8, 33, 64, 100, 150])
def test_it_takes_images_of_any_size(size: int) -> None:
    network = InstanceNetwork(ImageShape(size, size, 3)).eval()
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 128)
    # Patches of an image are images too.
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 128)


def test_of_large_images_the_finest_detail_is_seen() -> None:
    """A chessboard of single pixels averages to grey, and is not grey to the network."""
    network = InstanceNetwork(ImageShape(128, 128, 1)).eval()
    board = (torch.arange(128)[:, None] + torch.arange(128)) % 2 * 2.0 - 1
    with torch.no_grad():
        grey, chess = network(torch.zeros(1, 1, 128, 128)), network(board.view(1, 1, 128, 128))
    assert (grey - chess).abs().max() > 0.01
