"""Texts for people that stand in tables, away from where they are shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sentence:
    """`template` is a phrase, and `named` is filled into it, counts by the rules of the reader's language."""

    template: str
    named: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.template % self.named


def phrase(text: str) -> str:
    """`text` as it is, marked for the catalogues; whoever shows it translates it."""
    return text
