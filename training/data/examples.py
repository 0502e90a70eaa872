"""Prompts, responses and what was said of them, as token ids."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from training.records import Conversation


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that awaits a response, as text and as the token ids that the policy sees."""

    prompt_id: str
    conversation: Conversation
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt with a complete response, EOS included."""

    prompt_id: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]

    @property
    def token_ids(self) -> tuple[int, ...]:
        return self.prompt_ids + self.response_ids

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.response_ids)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two responses to one prompt; `preference` is the probability that A is better, the rest is as in the record."""

    a: Example
    b: Example
    preference: float
    weight: float
    group: str = ""
    strength: float | None = None
    source: str = ""
    criteria: Mapping[str, float] = field(default_factory=dict)
    safe_a: bool | None = None
    safe_b: bool | None = None
