"""Prompts, responses and what was said of them, as token ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training.records import (
    Conversation,
)


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


def pack_examples(examples: Sequence[Example]) -> dict[str, Tensor]:
    """Samples of prompts in turn, for a checkpoint."""
    flat = [token for example in examples for token in example.response_ids]
    return {
        "samples.tokens": torch.tensor(flat, dtype=torch.int32),
        "samples.lengths": torch.tensor([len(example.response_ids) for example in examples], dtype=torch.int32),
    }


def unpack_examples(tensors: Mapping[str, Tensor], prompts: Sequence[Prompt]) -> list[Example]:
    """The samples that `pack_examples` packed; sample i answers prompt i, counted round and round."""

    parts = tensors["samples.tokens"].split(tensors["samples.lengths"].tolist())
    chosen = [prompts[index % len(prompts)] for index in range(len(parts))]
    return [
        Example(prompt.prompt_id, prompt.token_ids, tuple(part.tolist()))
        for prompt, part in zip(chosen, parts, strict=True)
    ]
