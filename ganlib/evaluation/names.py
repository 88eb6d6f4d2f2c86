"""The names of metrics: what was measured and by which judge, so that two numbers of one name can be compared.

A metric that a judge has a part in is `fid/classifier-1a2b3c4d`, or `modes/covered/classifier-1a2b3c4d`: behind what
was measured stands the judge's label, its name and the first digits of the digest of what it is. That is an extractor,
and its weights above all; of points, which are their own features, the density that they should be of. Another slash
may follow, and a class or a domain. A person writes `fid/classifier`, or where one judge alone says such a thing
`modes/covered`; what is meant by that is decided here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ganlib.errors import UserError

DIGITS = 8
"""Hex digits of a digest that a label has."""
_LABELLED = re.compile(rf"^((?:[^/]+/){{1,2}}?)([^/]+)-([0-9a-f]{{{DIGITS}}})(?=/|$)")
"""What was measured, with its slash; the judge's name; the digits."""
_UNTAKEN = re.compile(r"[^\w.\- :/]")
"""What MLflow takes in no name of a metric."""


def label_of(name: str, digest: str) -> str:
    """`classifier-1a2b3c4d`, of a judge's name and the SHA-256, in hex, of what it is."""
    return f"{name}-{digest[:DIGITS]}"


def recordable(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics under names that MLflow takes: what it does not of a class's or a domain's, as of `C++`, becomes _.

    Of two that come to one name the later has a number behind it.
    """
    found: dict[str, float] = {}
    for metric, value in metrics.items():
        name = plainest = _UNTAKEN.sub("_", metric)
        number = 2
        while name in found:
            name, number = f"{plainest}_{number}", number + 1
        found[name] = value
    return found


def plain(metric: str) -> str:
    """`fid_class/classifier-1a2b3c4d/7` as a person writes it: `fid_class/classifier/7`."""
    return _LABELLED.sub(r"\1\2", metric)


def bare(metric: str) -> str:
    """What was measured, whoever judged: of `modes/covered/classifier-1a2b3c4d` `modes/covered`, of `fid_class/E/7`
    `fid_class/7`."""
    found = _LABELLED.match(metric)
    return metric if found is None else found[1].removesuffix("/") + metric[found.end() :]


def beside(metric: str, what: str) -> str:
    """The name of what goes with a metric: for "se" `fid_se/E` with `fid/E`, `modes/kl_se/E` with `modes/kl/E`,
    `paired_se/l1` with `paired/l1`, `sharpness_se` with `sharpness`."""
    found = _LABELLED.match(metric)
    head = metric.partition("/")[0] if found is None else found[1].removesuffix("/")
    return f"{head}_{what}{metric[len(head) :]}"


def judge_of(metric: str) -> str:
    """The digits of the judge's digest in a metric's name; none, "", where it has no label."""
    found = _LABELLED.match(metric)
    return found[3] if found else ""


def judged_by(metrics: Iterable[str], name: str) -> bool:
    """Whether any of the metrics is by the judge of that name."""
    return any(found is not None and found[2] == name for found in map(_LABELLED.match, metrics))


def meant(metric: str, known: Iterable[str]) -> list[str]:
    """Which of the `known` names a person means who writes `metric`, sorted: that name, and all that are it but for
    the digest, or but for the judge."""
    return sorted(name for name in set(known) if metric in (name, plain(name), bare(name)))


def metric_value(metrics: Mapping[str, float], metric: str) -> float:
    """The one value that a person means who writes `metric`. Raises UserError where there is none or more than one."""
    names = meant(metric, metrics)
    if len(names) > 1:
        raise UserError(f"{metric} may be {' or '.join(names)}, which cannot be compared; write the one that is meant")
    if not names:
        raise UserError(f"there is no metric {metric}; there are: {', '.join(sorted(metrics)[:20])}")
    return metrics[names[0]]
