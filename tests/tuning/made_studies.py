"""Studies made by hand, without training: what a trial comes to is a function of its values, `loss`."""

import math
from typing import Any

import numpy as np

from tuning.distributions import parse_distribution
from tuning.record import Mutation, Reading, Study, Trial

SPACE = {
    "optim.generator.lr": "log(1e-05, 0.1)",
    "optim.discriminator.lr": "log(1e-05, 0.1)",
    "optim.*.betas": "choice([0.0, 0.9], [0.5, 0.999], [0.9, 0.999])",
    "train.steps.discriminator": "int(1, 5)",
    "method.penalty.kind": "choice(none, r1)",
    "method.penalty.gamma": "log(0.01, 10)",
}
RECIPE = {
    "name": "made",
    "optim": {side: {"lr": 1e-3, "betas": [0.5, 0.999]} for side in ("generator", "discriminator")},
    "train": {"steps": {"discriminator": 1, "generator": 1}, "images": 27_000},
    "method": {"penalty": {"kind": "r1", "gamma": 1.0}},
}
RUNGS = [1_000, 3_000, 9_000, 27_000]


def empty(**changes: Any) -> Study:
    values: dict[str, Any] = {
        "name": "made-asha", "recipe": RECIPE, "dataset": "digits-0123456789ab", "space": SPACE, "search": "random",
        "scheduler": "asha", "metric": "fid/classifier-1a2b3c4d", "seed": 7, "trials_wanted": 40, "rungs": RUNGS,
        "began": 1_000.0,
    }  # fmt: skip
    return Study(**{**values, **changes})


def drawn(number: int, space: dict[str, str] = SPACE) -> dict[str, Any]:
    """Values for a trial; without a penalty no weight of it."""
    chance = np.random.default_rng(number)
    values = {path: parse_distribution(text, path).draw(chance) for path, text in space.items()}
    if values.get("method.penalty.kind") == "none":
        del values["method.penalty.gamma"]
    return values


def loss(values: dict[str, Any], images: int) -> float:
    """Least, 5, at rates of 1e-3, and with more images."""
    generator, discriminator = (math.log10(values[f"optim.{side}.lr"]) + 3 for side in ("generator", "discriminator"))
    return 5 * math.exp(generator**2 + 0.5 * discriminator**2 + 2_000 / images)


def searched(count: int = 40) -> Study:
    """A trial goes on while its loss is below a bound, as by halving; some diverge, one fails, two have finals."""
    study = empty(trials_wanted=count)
    for number in range(count):
        values = drawn(number)
        began = study.began + 20 * number
        trial = Trial(number=number, values=values, seed=0, began=began, run=f"run-{number}")
        study.trials.append(trial)
        for place, images in enumerate(RUNGS):
            value = loss(values, images)
            if values["optim.generator.lr"] > 0.03:
                trial.status, trial.says = "unhealthy", f"training diverged before {images} images"
                break
            seconds = images / 500
            trial.readings.append(
                Reading(images=images, seconds=seconds, value=value, error=0.02 * value, at=began + seconds)
            )
            if place < 3 and value > 400 / 3**place:
                trial.status, trial.says = "stopped", f"stopped by asha at {images:,} images"
                break
        else:
            trial.status = "finished"
        trial.ended = began + (trial.readings[-1].seconds if trial.readings else 1)
    study.trials[4].status, study.trials[4].says = "failed", "its process was lost"
    good = sorted((t for t in study.trials if t.status == "finished"), key=lambda t: t.readings[-1].value)[:2]
    for finalist in good:
        for seed in (11, 12):
            again = finalist.model_copy(deep=True, update={"repeats": finalist.number, "seed": seed})
            again.number, again.began = len(study.trials), study.began + 1_000 + seed
            for reading in again.readings:
                reading.value *= 1.0 + 0.01 * seed / 12
                reading.at = again.began + reading.seconds
            study.trials.append(again)
    study.best, study.ended = good[0].number, study.began + 1_100
    return study


def population() -> Study:
    """Of eight trials, of which the worst takes over the best's weights at every rung, its rates changed."""
    space = {path: SPACE[path] for path in list(SPACE)[:4]}
    rungs = [4_000 * place for place in range(1, 9)]
    study = empty(name="made-pbt", scheduler="pbt", space=space, rungs=rungs, trials_wanted=8)
    study.trials = [Trial(number=n, values=drawn(n, space), seed=0, began=study.began) for n in range(8)]
    now = [trial.values for trial in study.trials]
    for place, images in enumerate(rungs):
        for trial in study.trials:
            value = loss(now[trial.number], images)
            at = study.began + 30 * place + trial.number
            trial.readings.append(Reading(images=images, seconds=images / 500, value=value, at=at))
        ranked = sorted(study.trials, key=lambda trial: trial.readings[-1].value)
        if place + 1 < len(rungs):
            best, worst = ranked[0], ranked[-1]
            factor = 1.25 if place % 2 else 0.8
            now[worst.number] = {
                **now[best.number],
                "optim.generator.lr": now[best.number]["optim.generator.lr"] * factor,
            }
            worst.mutations.append(Mutation(images=images, values=now[worst.number], weights_of=best.number))
    for trial in study.trials:
        trial.status, trial.ended = "finished", study.began + 300
    study.best, study.ended = ranked[0].number, study.began + 300
    return study
