"""Checkpoints of tiny untrained methods, published, and their models asked for images."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ganlib.recipe import Recipe
from ganlib.training.checkpoint import Progress, Snapshot
from pipelines.publish import publish
from pipelines.tracking import mlflow_client, open_run

DATASET = "0123456789abcdef" * 4


def write_checkpoint(folder: Path, seed: int, classes: int = 0) -> Path:
    """A checkpoint of a tiny untrained method, 16x16x1, that is told one of so many classes if there are any."""
    condition = {"kind": "embedding", "dim": 8} if classes else {"kind": "none"}
    recipe = Recipe.parse(
        {
            "name": "tiny",
            "data": {"size": 16, "channels": 1, "classes": classes},
            "method": {
                "generator": {"kind": "convnet", "width": 4},
                "discriminator": {"kind": "convnet", "width": 4},
                "latent": {"dim": 8},
                "condition": condition,
            },
            "optim": {
                "generator": {"kind": "adam", "lr": 1e-3},
                "discriminator": {"kind": "adam", "lr": 1e-3},
                "ema_half_life": 100,
            },
            "train": {"batch": 4, "images": 100},
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        method, average = recipe.method.build(recipe.shape), recipe.method.build(recipe.shape).generator
    progress = Progress(images=100, rounds=25)
    snapshot = Snapshot.take(recipe, progress, DATASET, method.generator, average, method.discriminator, {}, {})
    return snapshot.write(folder)


def published_and_loaded(checkpoint: Path, name: str, store: str, folder: Path, **told: Any) -> Any:
    """The model that `publish` makes of the checkpoint, told so, as MLflow loads it from the registry."""
    import mlflow

    run = open_run(store, "tests", name, {}, name)
    made = publish(checkpoint, name, DATASET, {"fid/x": 1.0}, "fid/x", store, run, **told)
    version = mlflow_client(store).get_model_version(made.name, made.version)
    files = mlflow.artifacts.download_artifacts(version.source, dst_path=str(folder), tracking_uri=store)
    return mlflow.pyfunc.load_model(files)


def request(*rows: tuple[int, int]) -> Any:
    import pandas as pd

    return pd.DataFrame(rows, columns=["count", "seed"])


def decoded(image: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(image, validate=True))) as opened:
        assert opened.format == "PNG"
        return np.asarray(opened)
