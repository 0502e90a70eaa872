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
    earlier_turns: tuple[tuple[int, int], ...] = ()
    """Where the assistant's turns stand in the prompt, if they are learnt too."""

    @property
    def token_ids(self) -> tuple[int, ...]:
        return self.prompt_ids + self.response_ids

    @property
    def predicted_turns(self) -> list[bool]:
        """Whether the assistant said a token in a turn that is learnt, for each but the first."""
        turns = (*self.earlier_turns, (len(self.prompt_ids), len(self)))
        said = {place for start, stop in turns for place in range(start, stop)}
        return [place in said for place in range(1, len(self))]

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
