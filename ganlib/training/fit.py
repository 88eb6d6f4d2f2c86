"""Whether a recipe can be trained on a dataset."""

from __future__ import annotations

from ganlib.data.dataset import Dataset
from ganlib.errors import UserError
from ganlib.recipe import Recipe


def require_fit(recipe: Recipe, dataset: Dataset) -> None:
    """Raises UserError where the recipe cannot be trained on the dataset: other images, or columns that are missing."""
    if tuple(dataset.image_shape) != tuple(recipe.image):
        made, asked = ("x".join(map(str, shape)) for shape in (dataset.image_shape, recipe.image))
        raise UserError(
            f"dataset {dataset.name} holds {made} images and recipe {recipe.name} wants {asked}; "
            f"prepare it again with data.size={recipe.data.size} data.channels={recipe.data.channels}"
        )
    columns = dataset.columns
    there = {
        "label": len(columns.class_names or ()),
        "domains": len(columns.domain_names or ()),
        "keypoints": len(columns.keypoint_names or ()),
        "captions": int(columns.captions),
        "box": int(columns.boxes),
        "partner": int(columns.partner),
    }
    for need in sorted(recipe.method.needs):
        if not there[need]:
            raise UserError(f"recipe {recipe.name} needs the column {need!r}, which dataset {dataset.name} has not")
    for need, field_name in (("label", "classes"), ("domains", "domains"), ("keypoints", "keypoints")):
        wanted, found = getattr(recipe.data, field_name), there[need]
        if wanted and wanted != found:
            raise UserError(
                f"dataset {dataset.name} has {found} {field_name} and recipe {recipe.name} is for {wanted}; "
                f"say data.{field_name}={found}"
            )
    if recipe.method.one_domain and not dataset.exclusive_domains:
        raise UserError(
            f"recipe {recipe.name} needs each image in one domain, and in dataset {dataset.name} some are in several "
            "or in none; prepare it with a domain_rule or folders that part them"
        )
