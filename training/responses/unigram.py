"""What anybody could say of responses without knowing a model: how often each token comes."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Self

from training.data.examples import Example


class Unigram:
    """Tokens by their frequency alone, a share being left to those that never came.

    Smoothed after Witten and Bell 1991, method C: with N tokens of T kinds, what is new has the chance T / (N + T).
    """

    def __init__(self, counts: Counter[int], vocabulary: int) -> None:
        self._counts = counts
        self._total = counts.total() + len(counts)
        unseen = max(1, vocabulary - len(counts))
        self._unseen_nats = math.log(self._total * unseen / max(1, len(counts)))

    @classmethod
    def of(cls, examples: Sequence[Example], vocabulary: int) -> Self:
        """Fitted to the responses' tokens, their ends included; `vocabulary` is how many tokens there are."""
        return cls(Counter(token for example in examples for token in example.response_ids), vocabulary)

    def nats(self, example: Example) -> float:
        """Minus the log-probability of a response, its end included."""
        return sum(
            math.log(self._total / self._counts[token]) if token in self._counts else self._unseen_nats
            for token in example.response_ids
        )
