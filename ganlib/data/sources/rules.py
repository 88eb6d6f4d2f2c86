"""Domains drawn from captions by a rule."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ganlib.errors import UserError


class DomainRule:
    """{domain: words}: a record is in every domain of whose words (regular expressions, matched at word boundaries,
    without regard to case) one of its captions holds one. Raises UserError for words that are no regular expression.
    """

    def __init__(self, rule: Mapping[str, Sequence[str]]) -> None:
        self.names = list(rule)
        self._patterns = [self._compiled(domain, words) for domain, words in rule.items()]

    def domains(self, captions: Iterable[str]) -> tuple[int, ...] | None:
        """0 or 1 a domain, in the rule's order; None for a record in no domain, which is to be left out."""
        text = "\n".join(captions)
        found = tuple(int(pattern.search(text) is not None) for pattern in self._patterns)
        return found if any(found) else None

    def check(self, domains: Iterable[Sequence[int]], name: str) -> None:
        """Raise UserError unless every domain holds a record of these, the source's."""
        held = [any(column) for column in zip(*domains, strict=True)] or [False] * len(self.names)
        for domain, holds in zip(self.names, held, strict=True):
            if not holds:
                raise UserError(f"{name}: no caption puts a record into the domain {domain!r}; correct its words")

    @staticmethod
    def _compiled(domain: str, words: Sequence[str]) -> re.Pattern[str]:
        if not words:
            raise UserError(f"the domain {domain!r} has no words; give it those that its captions hold")
        for word in words:
            try:
                re.compile(word)
            except re.error as error:
                raise UserError(f"the domain {domain!r}: {word!r} is no regular expression ({error})") from error
        return re.compile(rf"\b(?:{'|'.join(f'(?:{word})' for word in words)})\b", re.IGNORECASE)
