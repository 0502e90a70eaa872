"""What was erased is taken out of values that hold a copy of it: examples of runs, lines of their files."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Fields of records that hold words of ours, which a short text may well be the same as.
NO_TEXTS = frozenset({"role", "split", "source", "group", "phase"})


@dataclass(frozen=True)
class Erased:
    """Texts without the blanks around them, and the ids of prompts of which nothing may be left."""

    prompt_ids: frozenset[str]
    texts: frozenset[str]

    def is_all_of(self, value: Any) -> bool:
        """Whether the value is a record of an erased prompt."""
        return isinstance(value, Mapping) and str(value.get("prompt_id")) in self.prompt_ids


def redacted(value: Any, erased: Erased) -> Any:
    """The value without records of erased prompts, and with nothing in place of each erased text."""
    if isinstance(value, str):
        return "" if value.strip() in erased.texts else value
    if isinstance(value, Mapping):
        return {name: inner if name in NO_TEXTS else redacted(inner, erased) for name, inner in value.items()}
    if isinstance(value, list):
        return [redacted(inner, erased) for inner in value if not erased.is_all_of(inner)]
    return value
