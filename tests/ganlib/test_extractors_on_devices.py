"""Extractors on a device of one's choice: all that they compute with goes there, and says there what it says here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ganlib.data import Dataset, Preparation, open_source, prepare_dataset
from ganlib.evaluation.classifier import ClassifierExtractor, train_classifier
from ganlib.evaluation.extractor import NetworkExtractor
from ganlib.evaluation.extractors import extractor_for
from ganlib.evaluation.instances import train_instances
from ganlib.evaluation.random_network import RandomExtractor
from ganlib.networks.base import ImageShape
from ganlib.precision import exact
from tests.random_inception import random_inception

FEATURES = {"classifier": 128, "instances": 128, "random": 448, "inception": 2048}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """With judges of a few steps: whether they know digits is nothing to this."""
    into = tmp_path_factory.mktemp("data")
    dataset = prepare_dataset(open_source("digits"), Preparation(size=16, channels=1), into, "digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ganlib.evaluation.classifier.IMAGES", 512)
        patch.setattr("ganlib.evaluation.instances.IMAGES", 128)
        dataset = train_classifier(dataset)
        train_instances(dataset)
    return dataset


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(random_inception().state_dict(), path)
    return path


@pytest.fixture(params=FEATURES)
def extractor(
    request: pytest.FixtureRequest, digits: Dataset, inception_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> NetworkExtractor:
    monkeypatch.setenv("GAN_WEIGHTS_INCEPTION", str(inception_weights))
    return extractor_for(digits, request.param)


def test_nothing_stays_behind(extractor: NetworkExtractor) -> None:
    """Of tensors without numbers, which no GPU is needed for, PyTorch checks shapes and devices as of all others."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        images = torch.zeros(3, 16, 16, 1, dtype=torch.uint8, device="cuda")
        if not torch.cuda.is_available():  # with a GPU, torch says it in other words, or moves what is small itself
            with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
                extractor.look(images)
        features, logits = extractor.to("cuda").look(images)
    assert features.shape == (3, FEATURES[extractor.name])
    assert features.device.type == "cuda"
    assert logits is None or logits.device.type == "cuda"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_says_what_a_cpu_does(extractor: NetworkExtractor) -> None:
    images = np.random.default_rng(0).integers(0, 256, (600, 16, 16, 1), dtype=np.uint8)
    features, probabilities = extractor.features(images)
    there, said = extractor.to("cuda").features(images)
    np.testing.assert_allclose(there, features, rtol=1e-4, atol=1e-5 * float(np.abs(features).max()))
    if probabilities is not None:
        assert said is not None
        np.testing.assert_allclose(said, probabilities, atol=1e-4)


def test_blocks_of_any_size_have_the_same_features(digits: Dataset) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 1), dtype=np.uint8)
    for extractor in (RandomExtractor(ImageShape(16, 16, 1)), ClassifierExtractor(digits)):
        whole, probabilities = extractor.features(images)
        extractor.block = 7
        parts, said = extractor.features(images)
        np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)
        assert (said is None) == (probabilities is None)
        if said is not None and probabilities is not None:
            np.testing.assert_allclose(said, probabilities, atol=1e-5)
            np.testing.assert_allclose(said.sum(1), 1)


def test_only_a_gpu_has_products_that_are_rounded() -> None:
    before = torch.backends.cudnn.allow_tf32
    with exact("cpu"):
        assert torch.backends.cudnn.allow_tf32 == before
    with exact("cuda"):
        assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.enabled
    assert torch.backends.cudnn.allow_tf32 == before
