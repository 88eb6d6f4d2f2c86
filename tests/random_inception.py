"""Torch-fidelity's Inception at random weights, for want of a network to fetch the real ones."""

from unittest import mock

import torch
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3


def random_inception() -> FeatureExtractorInceptionV3:
    """The network, giving features and unbiased logits, the same every time."""
    nothing = mock.patch.object(FeatureExtractorInceptionV3, "load_state_dict")
    with mock.patch.object(torch, "load"), nothing:  # it reads weights as it is made
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path="none"
        )
    at_random(network)
    return network


def at_random(network: nn.Module) -> None:
    """Weights through which signals neither die nor grow, from one seed."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            elif isinstance(module, nn.BatchNorm2d):
                for values in (module.weight, module.running_var):
                    values.uniform_(0.8, 1.2, generator=generator)
                for values in (module.bias, module.running_mean):
                    values.uniform_(-0.2, 0.2, generator=generator)
            elif isinstance(module, nn.Linear):
                module.weight.normal_(0, 0.02, generator=generator)
