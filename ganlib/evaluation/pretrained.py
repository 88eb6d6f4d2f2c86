"""Networks that others trained on the photographs of the internet, as torch-fidelity runs them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ganlib.errors import UserError
from ganlib.evaluation.extractor import NetworkExtractor, in_colour, tensors_digest
from ganlib.evaluation.weights import OTHERS, PublishedWeights

CLIP = "clip-vit-b-32"
_CLIP_SHA256 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
CLIP_WEIGHTS = PublishedWeights(
    "clip",
    f"{CLIP}-{_CLIP_SHA256}.pt",
    f"https://openaipublic.azureedge.net/clip/models/{_CLIP_SHA256}/ViT-B-32.pt",
    _CLIP_SHA256,
)
DINOV2 = "dinov2-vit-l-14"


class _Pretrained(NetworkExtractor):
    """An extractor of torch-fidelity's, which resizes (TensorFlow 1's bilinear) and normalises by itself."""

    takes_floats = False
    block = 32

    def __init__(self, network: Any, digest: str):
        self.network, self.digest = network, digest

    def look(self, images: Tensor) -> tuple[Tensor, None]:
        return self.network(in_colour(images).permute(0, 3, 1, 2).contiguous())[0], None

    def _move(self) -> None:
        self.network.to(self.device)


class ClipExtractor(_Pretrained):
    """CLIP's image embedding, 512 numbers of ViT-B/32 (Radford et al. 2021, arXiv 2103.00020), which FID is less easily
    deceived by than by ImageNet's classes (Kynkaanniemi et al. 2023, arXiv 2203.06026)."""

    name = "clip"

    def __init__(self) -> None:
        from torch_fidelity.feature_extractor_clip import FeatureExtractorCLIP

        path, digest = CLIP_WEIGHTS.find()
        try:
            super().__init__(FeatureExtractorCLIP(CLIP, ["clip"], feature_extractor_weights_path=str(path)), digest)
        except (RuntimeError, KeyError, ValueError) as error:
            raise UserError(
                f"{path} holds no weights of CLIP ({type(error).__name__}); remove it, or give another with "
                f"{CLIP_WEIGHTS.variable}"
            ) from error


class DinoExtractor(_Pretrained):
    """DINOv2's embedding, 1,024 numbers of ViT-L/14 (Oquab et al. 2023, arXiv 2304.07193), by which distances follow
    people's judgement best (Stein et al. 2023, arXiv 2306.04675). Network and weights come by torch.hub."""

    name = "dinov2"

    def __init__(self) -> None:
        from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

        try:
            network = FeatureExtractorDinoV2(DINOV2, ["dinov2"])
        except (OSError, RuntimeError, ImportError) as error:
            raise UserError(
                f"DINOv2 cannot be fetched by torch.hub ({' '.join(str(error).split())[:200]}): copy "
                f"{torch.hub.get_dir()} from a machine where it could, or {OTHERS}"
            ) from error
        super().__init__(network, tensors_digest(network.model.state_dict()))
