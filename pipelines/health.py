"""The health of a run as its folder tells it: verdicts, the tags that say them in MLflow, and the advice applied."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ganlib.errors import UserError
from ganlib.health import Change, Verdict, amended, diagnose, fatal, summary
from pipelines.journal import read_metrics
from pipelines.run_folder import RunFolder
from pipelines.tracking import HEALTH_TAG

if TYPE_CHECKING:
    from ganlib.recipe import Recipe

VERDICTS_TAG = "health.verdicts"
"""The tag of the verdicts whole, as JSON, the gravest that it has room for; HEALTH_TAG has their names alone."""

TAG_LENGTH = 8000
"""MLflow's limit, in characters; what is longer it cuts off wherever that is, and cut JSON is none."""


def verdicts_of(run: RunFolder) -> list[Verdict]:
    """The verdicts on a run so far, the gravest first; of one that took over another's weights, on these alone.

    Raises UserError where its recipe cannot be read.
    """
    since, metrics = run.weights_since, read_metrics(run.path)
    if since:
        own = {name: [point for point in points if point[0] > since] for name, points in metrics.items()}
        metrics = {name: points for name, points in own.items() if points}
    return diagnose(metrics, run.recipe())


def health_tags(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """MLflow tags of verdicts, the gravest first; a later set replaces an earlier one."""
    whole = [verdict.as_json() for verdict in verdicts]
    while len(text := json.dumps(whole, separators=(",", ":"), allow_nan=False)) > TAG_LENGTH:
        whole.pop()
    return {HEALTH_TAG: summary(verdicts), VERDICTS_TAG: text}


def reason_to_stop(run: RunFolder, verdicts: Sequence[Verdict]) -> str | None:
    """One line for the person whose run is stopped; None where nothing severe is certain enough."""
    verdict = fatal(verdicts)
    if verdict is None:
        return None
    return (
        f"stopped at {verdict.images[1]:,} images because of {verdict.name}: {verdict.says} (confidence "
        f"{verdict.confidence:.2f}, train.stop_when_unhealthy); `gan health {run.name}` says more, and "
        f"`gan train --from {run.name} --apply-advice` starts the amended run"
    )


def advised(run: RunFolder) -> tuple[Recipe, list[Change]]:
    """The recipe of `run` with what its health advises, and the changes. Raises UserError where there is none."""
    verdicts = verdicts_of(run)
    recipe, changes = amended(run.recipe(), verdicts)
    if not changes:
        raise UserError(
            f"there is no advice to apply to run {run.name}: {summary(verdicts)}; `gan health {run.name}` says more"
        )
    return recipe, changes
