"""The names of metrics: what was measured and by whose features, so that two numbers of one name can be compared.

A metric taken of features is `fid/classifier-1a2b3c4d`: behind the first slash stands the extractor's label, its name
and the first digits of the digest of what it is (its weights above all). Another slash may follow, and a class or a
domain. A person writes `fid/classifier`; what is meant by that is decided here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ganlib.errors import UserError

DIGITS = 8
"""Hex digits of a digest that a label has."""
_LABELLED = re.compile(rf"^([^/]+/[^/]+)-([0-9a-f]{{{DIGITS}}})(?=/|$)")


def label_of(name: str, digest: str) -> str:
    """`classifier-1a2b3c4d`, of an extractor's name and the SHA-256, in hex, of what it is."""
    return f"{name}-{digest[:DIGITS]}"


def plain(metric: str) -> str:
    """`fid_class/classifier-1a2b3c4d/7` as a person writes it: `fid_class/classifier/7`."""
    return _LABELLED.sub(r"\1", metric)


def judge_of(metric: str) -> str:
    """The digits of the extractor's digest in a metric's name; none, "", where it has no label."""
    found = _LABELLED.match(metric)
    return found[2] if found else ""


def judged_by(metrics: Iterable[str], name: str) -> bool:
    """Whether any of the metrics is of the features of the extractor of that name."""
    return any(judge_of(metric) and plain(metric).split("/")[1] == name for metric in metrics)


def meant(metric: str, known: Iterable[str]) -> list[str]:
    """Which of the `known` names a person means who writes `metric`, sorted: that name, and all that are it but for
    the digest."""
    return sorted(name for name in set(known) if metric in (name, plain(name)))


def metric_value(metrics: Mapping[str, float], metric: str) -> float:
    """The one value that a person means who writes `metric`. Raises UserError where there is none or more than one."""
    names = meant(metric, metrics)
    if len(names) > 1:
        raise UserError(f"{metric} may be {' or '.join(names)}, which cannot be compared; write the one that is meant")
    if not names:
        raise UserError(f"there is no metric {metric}; there are: {', '.join(sorted(metrics)[:20])}")
    return metrics[names[0]]
