"""Inception against torch-fidelity's, at the same random weights: its parts, and the whole way from pixels to FID."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from ganlib.errors import UserError
from ganlib.evaluation.distances import frechet_distance, inception_score
from ganlib.evaluation.inception import InceptionExtractor, clean_bicubic, fold, tf1_bilinear
from ganlib.evaluation.statistics import FeatureStatistics
from ganlib.files import file_digest
from tests.random_inception import at_random, random_inception

from .test_evaluation import fidelity


@pytest.fixture(scope="module")
def theirs() -> FeatureExtractorInceptionV3:
    return random_inception()


@pytest.fixture(scope="module")
def weights(theirs: FeatureExtractorInceptionV3, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(theirs.state_dict(), path)
    return path


@pytest.fixture
def named(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GAN_WEIGHTS_INCEPTION", str(weights))
    return weights


def pictures(count: int, seed: int, size: int = 48) -> np.ndarray:
    """uint8 [count, size, size, 3]: smooth colours with noise on them."""
    draw = np.random.default_rng(seed)
    coarse = torch.from_numpy(draw.normal(128, 60 + 20 * seed, (count, 3, 4, 4)))
    smooth = F.interpolate(coarse, (size, size), mode="bilinear").numpy() + draw.normal(0, 12, (count, 3, size, size))
    return smooth.clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1).copy()


@pytest.mark.slow
def test_the_whole_way_from_pixels_is_torch_fidelitys(theirs: FeatureExtractorInceptionV3, named: Path) -> None:
    extractor = InceptionExtractor()
    assert extractor.label == f"inception-{file_digest(named)[:8]}"
    ours, expected = [], []
    for seed in (0, 1):
        images = pictures(6, seed)
        features, probabilities = extractor.features(images)
        with torch.no_grad():
            found, logits = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
        assert features.shape == (6, 2048)
        assert features.dtype == np.float64
        assert probabilities is not None
        np.testing.assert_allclose(features, found.numpy(), rtol=1e-4, atol=1e-5 * float(found.max()))
        # As a generator gives them, in [-1, 1].
        between = extractor.features((images[:2] / np.float32(127.5) - 1).astype(np.float32))[0]
        np.testing.assert_allclose(between, features[:2], rtol=1e-3, atol=1e-4 * float(found.max()))
        np.testing.assert_allclose(probabilities, torch.softmax(logits.double(), 1).numpy(), rtol=1e-4)
        ours.append(FeatureStatistics.of(features, probabilities))
        expected.append(found.double().numpy())
    distance = frechet_distance(*ours)
    assert distance > 1e-3 * float(np.trace(ours[0].covariance))
    assert distance == pytest.approx(fidelity(*expected), rel=1e-4)
    assert inception_score(ours[0]) > 1


@pytest.mark.parametrize("shape", [(32, 32), (64, 48), (299, 299), (400, 310)])
def test_the_resize_is_tensorflows(shape: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    planes = torch.from_numpy(images.transpose(0, 3, 1, 2)).float()
    expected = interpolate_bilinear_2d_like_tensorflow1x(planes, size=(299, 299), align_corners=False)
    np.testing.assert_allclose(tf1_bilinear(torch.from_numpy(images)), (expected - 128) / 128, atol=2e-6)


@pytest.mark.parametrize("size", [32, 400])
def test_the_clean_resize_is_the_antialiased_bicubic_filter_unrounded(size: int) -> None:
    """Torch's own of that name has the same coefficients."""
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    planes = torch.from_numpy(images.transpose(0, 3, 1, 2)).double()
    expected = F.interpolate(planes, (299, 299), mode="bicubic", antialias=True)
    assert expected.min() < -10
    expected = expected.clamp(0, 255)
    assert not np.allclose(expected, expected.round(), atol=0.01)
    np.testing.assert_allclose(clean_bicubic(torch.from_numpy(images)), (expected - 128) / 128, atol=1e-4)


def test_the_clean_resize_has_a_name_of_its_own_at_the_same_weights(named: Path) -> None:
    clean = InceptionExtractor("inception-clean")
    said = hashlib.sha256(f"{file_digest(named)} cut".encode()).hexdigest()
    assert clean.label == f"inception-clean-{said[:8]}"
    assert clean.knows_classes is False


def test_a_batch_norm_folds_into_its_convolution() -> None:
    torch.manual_seed(0)
    layer = BasicConv2d(5, 7, kernel_size=(1, 3), padding=(0, 1)).eval()
    at_random(layer)
    x = torch.randn(2, 5, 8, 8)
    weight, bias = fold({f"x.{name}": value for name, value in layer.state_dict().items()}, "x")
    with torch.no_grad():
        expected = layer(x)
    np.testing.assert_allclose(F.relu(F.conv2d(x, weight, bias, 1, (0, 1))), expected, rtol=1e-4, atol=1e-5)


def test_a_file_of_anything_else_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_WEIGHTS_INCEPTION", str(tmp_path / "x.pth"))
    (tmp_path / "x.pth").write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"x\.pth holds no weights of torch-fidelity's Inception"):
        InceptionExtractor()
    torch.save({"fc.weight": torch.zeros(1008, 2048)}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"x\.pth holds no weights of torch-fidelity's Inception"):
        InceptionExtractor()
