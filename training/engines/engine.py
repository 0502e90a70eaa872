"""What every engine can do, whoever's decoding it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from models.backbone import LanguageModel
from models.generation import NO_FILTERS, Filters, Response


@dataclass(frozen=True, slots=True)
class Sampling:
    """How responses are drawn: as `models.generation.sample_responses` has it."""

    max_new_tokens: int
    temperature: float
    batch_size: int = 128
    filters: Filters = NO_FILTERS
    stop: Sequence[str] = ()


class Engine(Protocol):
    """Samples from the weights that it was given last.

    `copies` says whether they are a copy, which can be stale; `exact` whether the log-probabilities that it gives are
    those of training in float32, to 1e-5.
    """

    @property
    def copies(self) -> bool: ...

    @property
    def exact(self) -> bool: ...

    @property
    def version(self) -> int | None:
        """Which weights it samples from, None before it has any."""

    def load(self, language_model: LanguageModel, version: int) -> None:
        """Sample from these weights from here on; raises `InputError` where it can't take them over."""

    def sample(self, prompts: Sequence[Sequence[int]], sampling: Sampling, *, seed: int) -> list[Response]:
        """One response per prompt, in order; the same ones for the same weights, prompts and seed."""
