"""The published generator: MLflow runs this file, with `ganlib` beside it, wherever the model is loaded or served.

Request: rows of `count` (1 to 1024 images) and `seed` (0 to 2^63 - 1), together at most 1024 images. A generator told
the class takes `label` too, the class of all images of its row, in every row or in none; without it the classes
come in turn, image i of class i mod k. Response: one row an image, in the order of the request: `image` (a PNG in
base64), the row's `seed`, and `index` (0 to count - 1). A seed stands for one endless sequence of images: the same seed
(and label) gives the same images, whatever the count.
"""

import base64
import io
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext
from PIL import Image

from ganlib.sampling import MAX_SEED, load_sampler

MAX_IMAGES = 1024


class Generator(PythonModel):
    def load_context(self, context: PythonModelContext) -> None:
        self._sampler = load_sampler(Path(context.artifacts["checkpoint"]))

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Columns `count`, `seed`, perhaps `label` in, int64 as the signature has them; `image`, `seed`, `index` out.

        Raises MlflowException, which the server answers with status 400 and its text.
        """
        counts, seeds = model_input["count"].tolist(), model_input["seed"].tolist()
        labels = model_input["label"].tolist() if "label" in model_input else [None] * len(counts)
        requests = list(zip(counts, seeds, labels, strict=True))
        for count, seed, label in requests:
            if not 1 <= count <= MAX_IMAGES:
                raise MlflowException.invalid_parameter_value(f"count is {count}; it has to be 1 to {MAX_IMAGES}")
            if not 0 <= seed <= MAX_SEED:
                raise MlflowException.invalid_parameter_value(f"seed is {seed}; it has to be 0 to {MAX_SEED}")
            if label is not None:
                self._check_label(label)
        total = sum(counts)
        if total > MAX_IMAGES:
            raise MlflowException.invalid_parameter_value(f"{total} images; a request may ask for {MAX_IMAGES} in all")
        rows = [
            (_png(image), seed, index)
            for count, seed, label in requests
            for index, image in enumerate(self._sampler.sample(count, seed, labels=_repeated(label, count)))
        ]
        return pd.DataFrame(rows, columns=["image", "seed", "index"])

    def _check_label(self, label: int) -> None:
        recipe = self._sampler.recipe
        if "label" not in recipe.method.needs:
            raise MlflowException.invalid_parameter_value("this generator knows no classes; leave the label out")
        if not 0 <= label < recipe.data.classes:
            raise MlflowException.invalid_parameter_value(
                f"label is {label}; it has to be 0 to {recipe.data.classes - 1}"
            )


def _repeated(label: int | None, count: int) -> list[int] | None:
    return None if label is None else [label] * count


def _png(image: np.ndarray) -> str:
    """uint8 [H, W, C], C of 1 or 3, as a PNG in base64."""
    file = io.BytesIO()
    Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


mlflow.models.set_model(Generator())
