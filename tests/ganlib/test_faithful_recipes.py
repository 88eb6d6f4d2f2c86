"""The faithful recipes hold their authors' values."""

from typing import Any

import pytest

from ganlib.recipe import Recipe

from .test_every_recipe import SHIPPED

FAITHFUL: dict[str, dict[str, Any]] = {
    "gan-mlp": {
        "method.objective": "non-saturating", "method.latent.dim": 100, "method.latent.distribution": "normal",
        "method.generator.widths": [1200, 1200], "method.discriminator.widths": [240, 240],
        "method.discriminator.pieces": 5, "method.discriminator.input_dropout": 0.2,
        "method.discriminator.hidden_dropout": 0.5, "train.batch": 100, "train.steps.noise": "shared",
        # Their discriminator's loss is the mean of its two halves, not their sum.
        "optim.generator.lr": 0.1, "optim.discriminator.lr": 0.1 / 2,
        "optim.generator.momentum": 0.5, "optim.discriminator.momentum": 0.5,
    },
    "mnist-large": {
        "train.batch": 256, "train.epochs": 50, "optim.generator.lr": 1e-4, "optim.discriminator.lr": 1e-4,
        "optim.generator.betas": [0.9, 0.999], "optim.discriminator.betas": [0.9, 0.999], "method.latent.dim": 100,
        "train.sample_every": 60_000, "train.checkpoint_every": 15 * 60_000,
    },
    "mnist-small": {
        "train.epochs": 30, "optim.generator.lr": 1e-4, "optim.discriminator.lr": 1e-4, "method.latent.dim": 100,
        "optim.generator.betas": [0.9, 0.999], "optim.discriminator.betas": [0.9, 0.999],
    },
    "dcgan-64": {
        "train.batch": 128, "optim.generator.lr": 2e-4, "optim.discriminator.lr": 2e-4, "data.size": 64,
        "optim.generator.betas": [0.5, 0.999], "optim.discriminator.betas": [0.5, 0.999], "method.generator.width": 64,
        "method.discriminator.width": 64, "method.latent.dim": 100, "train.sample_every": 500 * 128,
    },
    "avatars-48": {
        "train.batch": 64, "optim.generator.lr": 2e-4, "optim.discriminator.lr": 2e-4, "data.size": 48,
        "optim.generator.betas": [0.5, 0.999], "method.latent.distribution": "uniform", "method.latent.dim": 100,
        "train.steps.discriminator": 1, "train.steps.generator": 2, "train.steps.noise": "shared", "train.epochs": 60,
        "optim.discriminator.betas": [0.5, 0.999], "train.sample_epochs": [1, 5, 10, 20, 40, 60],
    },
    "wgan": {
        "train.batch": 64, "train.steps.discriminator": 5, "train.steps.generator": 1, "optim.generator.lr": 5e-5,
        "optim.discriminator.lr": 5e-5, "optim.generator.kind": "rmsprop", "optim.discriminator.kind": "rmsprop",
        "method.objective": "wasserstein", "method.penalty.kind": "clip", "method.penalty.bound": 0.01,
    },
    "wgan-gp": {
        "train.steps.discriminator": 5, "train.steps.generator": 1, "optim.generator.lr": 1e-4,
        "optim.discriminator.lr": 1e-4, "optim.generator.betas": [0, 0.9], "optim.discriminator.betas": [0, 0.9],
        "method.objective": "wasserstein", "method.penalty.kind": "gradient-penalty", "method.penalty.weight": 10,
        "method.penalty.every": 1, "method.discriminator.norm": "layer",
    },
    "mnist-encoder": {
        "train.batch": 256, "train.epochs": 50, "optim.generator.lr": 1e-4, "optim.discriminator.lr": 1e-4,
        "method.encoder.widths": [32, 64], "method.encoder.features": 128, "method.generator.kind": "mnist-large",
        "method.discriminator.kind": "mnist-large",
    },
    "cyclegan": {
        "data.size": 256, "train.batch": 1, "train.epochs": 200, "method.generator.width": 64,
        "method.generator.blocks": 9, "method.discriminator.width": 64, "method.discriminator.layers": 3,
        "method.discriminator.norm": "instance", "method.objective": "least-squares", "method.cycle": 10,
        "method.identity": 0.5, "method.pool": 50, "optim.generator.lr": 2e-4, "optim.discriminator.lr": 2e-4,
        "optim.generator.betas": [0.5, 0.999], "optim.discriminator.betas": [0.5, 0.999],
        "optim.generator.decay.kind": "linear", "optim.generator.decay.start": 0.5, "optim.generator.decay.floor": 0,
        "optim.discriminator.decay.kind": "linear", "optim.discriminator.decay.start": 0.5,
    },
    "stargan": {
        "data.size": 128, "data.domains": 5, "method.generator.width": 64, "method.generator.blocks": 6,
        "method.discriminator.width": 64, "method.discriminator.layers": 6, "method.objective": "wasserstein",
        "method.penalty.kind": "gradient-penalty", "method.penalty.weight": 10, "method.classification": 1,
        "method.reconstruction": 10, "train.steps.discriminator": 5, "train.steps.generator": 1,
        "optim.generator.lr": 1e-4, "optim.discriminator.lr": 1e-4, "optim.generator.betas": [0.5, 0.999],
        "optim.discriminator.betas": [0.5, 0.999], "optim.generator.decay.kind": "linear",
        "optim.generator.decay.start": 0.5, "optim.generator.decay.floor": 0,
    },
    "pix2pix": {
        "data.size": 256, "train.batch": 1, "train.epochs": 200, "optim.generator.lr": 2e-4,
        "optim.discriminator.lr": 2e-4, "optim.generator.betas": [0.5, 0.999], "method.generator.kind": "unet",
        "optim.discriminator.betas": [0.5, 0.999], "method.generator.width": 64, "method.generator.depth": 0,
        "method.generator.dropout": 0.5, "method.discriminator.width": 64, "method.discriminator.layers": 3,
        "method.l1": 100, "method.adversarial": 1, "data.augment.jitter_crop": 286 / 256, "data.augment.mirror": True,
    },
    "gan-cls": {
        "data.size": 64, "data.channels": 3, "train.batch": 64, "train.epochs": 600, "optim.generator.lr": 2e-4,
        "optim.discriminator.lr": 2e-4, "optim.generator.betas": [0.5, 0.999],
        "optim.discriminator.betas": [0.5, 0.999], "method.text.dim": 1024, "method.short": 128,
        "method.latent.dim": 100, "method.latent.distribution": "normal", "method.matching": "concatenation",
        "method.generator.kind": "dcgan", "method.discriminator.kind": "dcgan", "method.objective": "non-saturating",
        "method.penalty.kind": "none",
    },
    "gawwn": {
        "data.size": 128, "data.channels": 3, "train.batch": 16, "optim.generator.lr": 2e-4,
        "optim.discriminator.lr": 2e-4, "optim.generator.betas": [0.5, 0.999],
        "optim.discriminator.betas": [0.5, 0.999], "method.where": "boxes", "method.text.dim": 1024,
        "method.short": 128, "method.latent.dim": 100, "method.latent.distribution": "normal",
        "method.generator.map": 16, "method.generator.local": "masked", "method.discriminator.map": 16,
        "method.discriminator.local": "masked", "method.discriminator.norm": "batch",
        "method.discriminator.projection": False, "method.objective": "non-saturating", "method.penalty.kind": "none",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FAITHFUL)
def test_a_faithful_recipe_has_its_authors_values(name: str) -> None:
    """Those of SYSTEMS.md, typed from there, and of C1 and C2 from the papers that it names."""
    flat = Recipe.load(SHIPPED[name]).flat()
    assert {field: flat[field] for field in FAITHFUL[name]} == FAITHFUL[name]
    assert flat["optim.ema_half_life"] == 0
