"""A training on a line, watched."""

from __future__ import annotations

from collections.abc import Iterator

from ganlib.data.dataset import Dataset
from ganlib.data.sources.gaussians import GaussianMixture
from ganlib.errors import UserError
from ganlib.losses import OBJECTIVES
from ganlib.methods.noise_to_image import LatentConfig, NoiseToImageConfig
from ganlib.recipe import Recipe
from ganlib.theory.line import Line, Look, look
from ganlib.training.trainer import Trainer

UNIFORM = LatentConfig(dim=1, distribution="uniform")


def watch(recipe: Recipe, dataset: Dataset, truth: GaussianMixture, line: Line) -> Iterator[tuple[int, Look]]:
    """Trains `recipe` on `dataset`, drawn from `truth`, yielding (points seen, a look) at the start and at each tick.

    G is the one that samples are taken of, its moving average where the recipe keeps one. Raises UserError for a recipe
    that is not of one z, evenly spread, or whose D does not estimate p_data / (p_data + p_g).
    """
    method = recipe.method
    if not isinstance(method, NoiseToImageConfig) or recipe.data.points != 1 or method.latent != UNIFORM:
        raise UserError(
            "the theory is drawn for points on a line, made from one uniform z (data.points, method.latent)"
        )
    objective = OBJECTIVES[method.objective]
    if not objective.probability:
        able = ", ".join(name for name, one in OBJECTIVES.items() if one.probability)
        raise UserError(f"objective {method.objective!r} has no D that estimates p_data / (p_data + p_g): take {able}")
    trainer = Trainer(recipe, dataset)

    def now() -> Look:
        generator = trainer.average or trainer.method.generator
        return look(generator, trainer.method.discriminator, objective.reading, truth, line)

    yield trainer.progress.images, now()
    for tick in trainer.run():
        yield tick.images_seen, now()
