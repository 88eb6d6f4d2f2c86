"""The published generator: MLflow runs this file, with `ganlib` beside it, wherever the model is loaded or served.

Request: rows of `count` (1 to 1024 images, 1 where it is left out) and `seed` (0 to 2^63 - 1, 0 where it is left out),
together at most 1024 images, and of what the generator is told of all images of the row: `label`, `text`, `domain`,
`box`, `keypoints`, `image` (see `ganlib.served.told_by_row`). Which of these it takes, and which it has to be told, is
its method's; a generator that takes the class and is not told any has the classes come in turn, image i of class i mod
k. Response: one row an image, in the order of the request: `image` (a PNG in base64), the row's `seed`, and `index` (0
to count - 1). A seed stands for one endless sequence of images: the same seed (told the same) gives the same images,
whatever the count.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from ganlib.errors import UserError
from ganlib.methods.base import SampleRequest
from ganlib.sampling import MAX_SEED, checked, load_sampler
from ganlib.served import COLUMNS, in_base64, told_by_row, whole_number

MAX_IMAGES = 1024


class Generator(PythonModel):
    def load_context(self, context: PythonModelContext) -> None:
        self._sampler = load_sampler(Path(context.artifacts["checkpoint"]))
        self._domain_names = list((context.model_config or {}).get("domain_names", ()))

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Columns of the signature in, those that are given; `image`, `seed`, `index` out.

        Raises MlflowException, which the server answers with status 400 and its text.
        """
        try:
            asked = self._requests(model_input)
            rows = [
                (in_base64(image), request["seed"], index)
                for request in asked
                for index, image in enumerate(self._sampler.sample(**request))
            ]
        except UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return pd.DataFrame(rows, columns=["image", "seed", "index"])

    def _requests(self, model_input: pd.DataFrame) -> list[dict[str, Any]]:
        """The arguments of `Sampler.sample`, a row each, all of them seen to before the first image is made."""
        rows = model_input.to_dict("records")
        if not rows:
            raise UserError(f"the request asks for nothing; its rows have some of count, seed, {', '.join(COLUMNS)}")
        requests = []
        for number, row in enumerate(rows, 1):
            try:
                requests.append(self._request({column: value for column, value in row.items() if _is_given(value)}))
            except UserError as error:
                raise UserError(f"row {number}: {error}" if len(rows) > 1 else str(error)) from error
        total = sum(request["count"] for request in requests)
        if total > MAX_IMAGES:
            raise UserError(f"{total} images; a request may ask for {MAX_IMAGES} in all")
        return requests

    def _request(self, row: dict[Any, Any]) -> dict[str, Any]:
        count = whole_number("count", row.get("count", 1), 1, MAX_IMAGES)
        seed = whole_number("seed", row.get("seed", 0), 0, MAX_SEED)
        recipe = self._sampler.recipe
        told = told_by_row(row, recipe, self._domain_names)
        checked(SampleRequest(1, **{name: _repeated(value, 1) for name, value in told.items()}), recipe)
        return {"count": count, "seed": seed, **{name: _repeated(value, count) for name, value in told.items()}}


def _is_given(value: Any) -> bool:
    """Whether a cell holds anything: pandas fills columns that some rows do not have."""
    return value is not None and not (isinstance(value, float) and np.isnan(value))


def _repeated(value: Any, count: int) -> Any:
    """The same of each image: arrays [count, ...], a tuple of what is no array."""
    return np.repeat(value[None], count, 0) if isinstance(value, np.ndarray) else (value,) * count


mlflow.models.set_model(Generator())
