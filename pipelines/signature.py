"""MLflow's signature of a request to a published generator, and of the answer.

It names every column that any generator takes, for MLflow drops those that it does not name without a word to who asks:
so a generator that is told what it does not take can say so. What a generator has to be told is required.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganlib.methods.base import MethodConfig
from ganlib.served import COLUMNS

if TYPE_CHECKING:
    from mlflow.models import ModelSignature


def signature_of(method: MethodConfig) -> ModelSignature:
    """`count` and `seed` are optional, and what the generator may do without."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType, Array

    # MLflow's whole numbers refuse a column that only some rows have; what is none is for the generator to say.
    number = AnyType()
    types: dict[str, DataType | Array | AnyType] = {
        "label": number,
        "text": DataType.string,
        "domain": DataType.string,
        "box": Array(DataType.double),
        "keypoints": Array(Array(DataType.double)),
        "image": DataType.string,
    }
    told = [ColSpec(types[column], column, required=name in method.wants) for column, name in COLUMNS.items()]
    chance = [ColSpec(number, name, required=False) for name in ("count", "seed")]
    answer = [("image", DataType.string), ("seed", DataType.long), ("index", DataType.long)]
    return ModelSignature(Schema([*chance, *told]), Schema([ColSpec(kind, name) for name, kind in answer]))
