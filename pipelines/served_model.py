"""The published generator: MLflow runs this file, with `ganlib` beside it, wherever the model is loaded or served.

Request: rows of `count` (1 to 1024 images) and `seed` (0 to 2^63 - 1), together at most 1024 images. Response: one row
an image, in the order of the request: `image` (a PNG in base64), the row's `seed`, and `index` (0 to count - 1). A seed
stands for one endless sequence of images: the same seed gives the same images, whatever the count.
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
        """Columns `count` and `seed` in, int64 as the signature has them; columns `image`, `seed`, `index` out.

        Raises MlflowException, which the server answers with status 400 and its text.
        """
        requests = list(zip(model_input["count"].tolist(), model_input["seed"].tolist(), strict=True))
        for count, seed in requests:
            if not 1 <= count <= MAX_IMAGES:
                raise MlflowException.invalid_parameter_value(f"count is {count}; it has to be 1 to {MAX_IMAGES}")
            if not 0 <= seed <= MAX_SEED:
                raise MlflowException.invalid_parameter_value(f"seed is {seed}; it has to be 0 to {MAX_SEED}")
        total = sum(count for count, _ in requests)
        if total > MAX_IMAGES:
            raise MlflowException.invalid_parameter_value(f"{total} images; a request may ask for {MAX_IMAGES} in all")
        rows = [
            (_png(image), seed, index)
            for count, seed in requests
            for index, image in enumerate(self._sampler.sample(count, seed))
        ]
        return pd.DataFrame(rows, columns=["image", "seed", "index"])


def _png(image: np.ndarray) -> str:
    """uint8 [H, W, C], C of 1 or 3, as a PNG in base64."""
    file = io.BytesIO()
    Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


mlflow.models.set_model(Generator())
