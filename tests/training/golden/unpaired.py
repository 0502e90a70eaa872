"""Responses that were judged by themselves, in the order in which two programs learn from them.

Needs torch and transformers alone, so that the oracle's environment can read it too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.training.golden.judgements import JUDGEMENTS

BATCH = len(JUDGEMENTS)
LEARNING_RATE = 3e-3
RATES = (1.0, 1.0, 0.75, 0.25)
"""Of the steps: a cosine's of four after a warm-up of one."""


@dataclass(frozen=True)
class Verdict:
    prompt: Sequence[int]
    response: Sequence[int]
    """With EOS at its end."""
    desirable: bool


def _verdict(step: int, place: int, label: str) -> Verdict:
    judged = JUDGEMENTS[(place + step // 2) % BATCH]
    response = judged.rejected if (place + step) % 2 else judged.chosen
    return Verdict(JUDGEMENTS[place].prompt, response, label == "D")


# A row for each step, of which one knows a single kind. A prompt is there once in each.
_LABELS = ("DUDDUD", "DDDDDD", "UDUDDD", "UUDUDU")
VERDICTS = tuple(
    _verdict(step, place, label) for step, labels in enumerate(_LABELS) for place, label in enumerate(labels)
)


@dataclass(frozen=True)
class Variant:
    """Settings in TRL's words and in ours."""

    theirs: Mapping[str, Any] = field(default_factory=dict)
    ours: Mapping[str, Any] = field(default_factory=dict)


VARIANTS = {
    "plain": Variant({}, {"desirable_weight": 1.0, "undesirable_weight": 1.0}),
    "balanced": Variant({"undesirable_weight": 2.0}, {}),
    "weighted": Variant(
        {"desirable_weight": 0.4, "undesirable_weight": 1.7, "beta": 0.7},
        {"desirable_weight": 0.4, "undesirable_weight": 1.7, "beta": 0.7},
    ),
    "apo_zero_unpaired": Variant(
        {"loss_type": "apo_zero_unpaired"},
        {"loss": "apo_zero_unpaired", "desirable_weight": 1.0, "undesirable_weight": 1.0},
    ),
}
