"""CLIP and DINOv2 by torch-fidelity, at small random weights; and what is said where theirs cannot be had."""

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_clip import CLIPVisual
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from ganlib.errors import UserError
from ganlib.evaluation.pretrained import ClipExtractor, DinoExtractor
from ganlib.files import file_digest

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 1), dtype=np.uint8)


class MeanColour(nn.Module):
    """[n, 3, 224, 224] -> [n, 3], in place of DINOv2."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) * self.scale


class Published(nn.Module):
    """A CLIP with one small layer, as it is stored: with a part for texts, which images do not need."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = CLIPVisual(16, 32, 1, 64, 16).visual
        self.text_projection = nn.Parameter(torch.zeros(8, 16))

    def forward(self, x: Tensor) -> Tensor:
        return self.visual(x) + 0 * self.text_projection.sum()


def test_clip_comes_from_a_file_of_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    small = Published().eval().half().float()  # it is kept in half precision
    path = tmp_path / "clip.pt"
    torch.jit.save(torch.jit.trace(small, torch.zeros(1, 3, 32, 32)), path)
    monkeypatch.setenv("GAN_WEIGHTS_CLIP", str(path))
    extractor = ClipExtractor()
    assert extractor.label == f"clip-{file_digest(path)[:8]}"
    features, probabilities = extractor.features(IMAGES)
    grey = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2)).float()
    resized = interpolate_bilinear_2d_like_tensorflow1x(grey, size=(32, 32), align_corners=False) / 255
    middle, spread = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # as it was trained
    normal = (resized - torch.tensor(middle).view(3, 1, 1)) / torch.tensor(spread).view(3, 1, 1)
    with torch.no_grad():
        np.testing.assert_allclose(features, small(normal).double(), rtol=1e-3, atol=1e-4)
    assert probabilities is None
    path.write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"clip\.pt holds no weights of CLIP"):
        ClipExtractor()


def test_dinov2_sees_grey_as_three_channels_of_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "load", lambda repository, name: MeanColour())
    extractor = DinoExtractor()
    # The digest is of the weights, however they came.
    assert extractor.digest == DinoExtractor().digest
    grey = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2)).float()
    mean = interpolate_bilinear_2d_like_tensorflow1x(grey, size=(224, 224), align_corners=False).mean((1, 2, 3))
    channels = zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (1, 2, 3), strict=True)  # ImageNet's
    expected = torch.stack([scale * (mean / 255 - middle) / spread for middle, spread, scale in channels], 1)
    np.testing.assert_allclose(extractor.features(IMAGES)[0], expected, rtol=1e-4)


def test_without_a_network_dinov2_says_what_else_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(repository: str, name: str) -> nn.Module:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "load", refuse)
    with pytest.raises(UserError, match=r"DINOv2 cannot be fetched .*no route to host.*instances or random"):
        DinoExtractor()
